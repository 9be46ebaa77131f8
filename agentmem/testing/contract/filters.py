"""R25: `where` means the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.filter_table import ALL, DOCUMENTS, FOUND
from agentmem.testing.support import LONG, eventually

if TYPE_CHECKING:
    from agentmem.memory import Memory


def found(memory: Memory, where: dict[Any, Any], **query: Any) -> set[str]:
    """The keys that a filter finds."""
    return {entry.key for entry in memory.search(where=where, limit=1000, **query)}


class Filters(Contract):
    """One evaluator's answers, also where a server evaluates."""

    @pytest.fixture
    def documents(self, memory: Memory) -> Memory:
        """The memory with the documents of the table."""
        for key, value in DOCUMENTS.items():
            memory.put(key, value, metadata={"owner": key[0]} if key[0].isalpha() else None)
        return memory

    def test_r25_filters_find_what_the_table_says(self, documents: Memory) -> None:
        wrong = {repr(where): found(documents, where) ^ keys for where, keys in FOUND}
        assert {where: difference for where, difference in wrong.items() if difference} == {}

    def test_r25_count_says_the_same(self, documents: Memory) -> None:
        wrong = {repr(where): documents.count(where=where) - len(keys) for where, keys in FOUND}
        assert {where: difference for where, difference in wrong.items() if difference} == {}

    def test_r25_negation_finds_the_rest(self, documents: Memory) -> None:
        wrong = {repr(where): found(documents, {"$not": where}) ^ (ALL - keys) for where, keys in FOUND if where}
        assert {where: difference for where, difference in wrong.items() if difference} == {}

    def test_r25_patterns_and_filters_both_hold(self, documents: Memory) -> None:
        assert found(documents, {"n": {"$gt": 0}}, pattern="o*") == {"one", "one.0"}
        assert found(documents, {"n": {"$gt": 0}}, pattern="ten") == {"ten"}
        assert found(documents, {"n": 9}, pattern="t*") == set()

    def test_r25_delete_matching_removes_what_search_finds(self, documents: Memory) -> None:
        for where, keys in FOUND[:40:3]:
            documents.put_many(DOCUMENTS)
            assert documents.delete_matching("*", where=where) == len(keys), where
            assert set(documents.keys()) == ALL - keys, where

    def test_r25_pitfall_nine_is_less_than_ten(self, memory: Memory) -> None:
        memory.put_many({"nine": {"n": 9}, "ten": {"n": 10}, "hundred": {"n": 100}})
        assert found(memory, {"n": {"$gt": 10}}) == {"hundred"}
        assert found(memory, {"n": {"$lt": 10}}) == {"nine"}

    def test_r25_a_filter_holds_before_pages_are_cut(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:03}": {"hit": number % 50 == 49} for number in range(500)})
        page = memory.search(where={"hit": True}, limit=10)
        assert ([entry.key for entry in page], page.cursor) == ([f"key/{n:03}" for n in range(49, 500, 50)], None)

    def test_r25_the_entrys_own_times(self, memory: Memory) -> None:
        old = memory.put("old", 1, ttl=LONG)
        eventually(lambda: memory.put("new", 1).updated_at > old.updated_at)
        new = memory.put("new", 1, ttl=2 * LONG)
        moment = old.updated_at
        assert found(memory, {"@updated_at": {"$gt": moment}}) == {"new"}
        assert found(memory, {"@updated_at": moment}) == {"old"}
        assert found(memory, {"@updated_at": {"$lte": moment.isoformat()}}) == {"old"}
        assert found(memory, {"@created_at": {"$gte": old.created_at}}) == {"old", "new"}
        assert found(memory, {"@updated_at": {"$in": [new.updated_at, moment]}}) == {"old", "new"}
        assert found(memory, {"@updated_at": {"$ne": moment}}) == {"new"}
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert found(memory, {"@updated_at": {"$gt": tomorrow}}) == set()

    def test_r25_the_entrys_expiry(self, memory: Memory) -> None:
        soon = memory.put("soon", 1, ttl=60)
        memory.put("late", 1, ttl=LONG)
        memory.put("never", 1)
        assert soon.expires_at is not None
        assert found(memory, {"@expires_at": {"$exists": True}}) == {"soon", "late"}
        assert found(memory, {"@expires_at": {"$lte": soon.expires_at}}) == {"soon"}
        assert found(memory, {"@expires_at": {"$gt": soon.expires_at}}) == {"late"}
        assert found(memory, {"@expires_at": None}) == {"never"}
        assert found(memory, {"@expires_at": {"$ne": soon.expires_at}}) == {"late", "never"}

    def test_r25_the_entrys_version(self, memory: Memory) -> None:
        first = memory.put("first", 1)
        eventually(lambda: memory.put("second", 1).version > first.version)
        second = memory.put("second", 1)
        assert found(memory, {"@version": first.version}) == {"first"}
        assert found(memory, {"@version": {"$gt": first.version}}) == {"second"}
        assert found(memory, {"@version": {"$in": [first.version, second.version]}}) == {"first", "second"}

    def test_r25_metadata_in_depth(self, memory: Memory) -> None:
        memory.put("a", 1, metadata={"owner": "x", "tags": ["t", "u"], "n": {"m": 2**53 + 1}, "nul": "\x00"})
        memory.put("b", {"owner": "x"})
        assert found(memory, {"@metadata.owner": "x"}) == {"a"}
        assert found(memory, {"@metadata.tags": {"$contains": "u"}}) == {"a"}
        assert found(memory, {"@metadata.n.m": {"$gt": 2**53}}) == {"a"}
        assert found(memory, {"@metadata.nul": "\x00"}) == {"a"}
        assert found(memory, {"@metadata.owner": {"$ne": "x"}}) == {"b"}

    def test_r25_integers_are_compared_exactly(self, memory: Memory) -> None:
        numbers = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**30, 10**30 + 1, -(2**53) - 1]
        memory.put_many({str(number): {"n": number} for number in numbers})
        for number in numbers:
            assert found(memory, {"n": number}) == {str(number)}
            assert found(memory, {"n": {"$lt": number}}) == {str(other) for other in numbers if other < number}

    def test_r25_decimals_are_compared_as_they_are_written(self, memory: Memory) -> None:
        memory.put_many({"a": {"n": 0.1}, "b": {"n": 0.30000000000000004}, "c": {"n": 1e-300}, "d": {"n": 1.5e300}})
        assert found(memory, {"n": 0.1}) == {"a"}
        assert found(memory, {"n": 0.3}) == set()
        assert found(memory, {"n": {"$gt": 0.3}}) == {"b", "d"}
        assert found(memory, {"n": {"$lt": 0.1}}) == {"c"}
        assert found(memory, {"n": {"$gt": 10**300}}) == {"d"}

    def test_r25_a_thousand_operands(self, memory: Memory) -> None:
        memory.put_many({f"key/{number}": {"n": number} for number in range(50)})
        assert len(found(memory, {"n": {"$in": list(range(40, 2000))}})) == 10
        assert len(found(memory, {"n": {"$nin": list(range(40, 2000))}})) == 40
        assert len(found(memory, {"$or": [{"n": number} for number in range(100)]})) == 50

    def test_r25_operands_are_data(self, memory: Memory) -> None:
        hostile = ["' OR 1=1 --", '"]}', "$.n", "%", "\\", "'; DROP TABLE memory_entries; --", "{}", "*", ":p", "%(p)s"]
        memory.put_many({f"key/{n}": {"s": text, text: n} for n, text in enumerate(hostile)})
        for number, text in enumerate(hostile):
            assert found(memory, {"s": text}) == {f"key/{number}"}
            assert found(memory, {(text,): number}) == {f"key/{number}"}
            assert f"key/{number}" in found(memory, {"s": {"$contains": text}})
            assert f"key/{number}" in found(memory, {"s": {"$startswith": text}})
