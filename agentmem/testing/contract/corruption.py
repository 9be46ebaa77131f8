"""R10: an entry that cannot be decoded is an error of its own, and of nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import CorruptEntry
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

#: Calls that need the broken value, and must say so.
NEEDING: dict[str, Callable[[Memory], Any]] = {
    "get": lambda memory: memory.get("b"),
    "get_many": lambda memory: memory.get_many(["a", "b", "c"]),
    "entry": lambda memory: memory.entry("b").value,  # type: ignore[union-attr]
    "search": lambda memory: [entry.value for entry in memory.search("b")],
    "items": lambda memory: [entry.value for entry in memory.items("b")],
    "increment": lambda memory: memory.increment("b"),
    "append": lambda memory: memory.append("b", 1),
    "merge": lambda memory: memory.merge("b", {"a": 1}),
    "update": lambda memory: memory.update("b", lambda value: value),
    "transaction": lambda memory: memory.run(lambda tx: tx.get("b")),
}


class Corruption(Contract):
    """What foreign hands have broken."""

    @pytest.fixture
    def broken(self, memory: Memory, harness: Harness) -> Memory:
        """Three entries of which the second cannot be decoded."""
        memory.put_many({"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}})
        harness.corrupt("default", "b")
        return memory

    @pytest.mark.parametrize("call", NEEDING.values(), ids=NEEDING)
    def test_r10_what_needs_the_value_raises_with_its_key(self, broken: Memory, call: Callable[[Memory], Any]) -> None:
        version = broken.entry("b").version  # type: ignore[union-attr]
        with pytest.raises(CorruptEntry, match="b") as caught:
            call(broken)
        assert caught.value.key == "b"
        assert broken.entry("b").version == version  # type: ignore[union-attr]

    def test_r10_a_listing_of_others_goes_on(self, broken: Memory) -> None:
        assert list(broken.keys()) == broken.children() == ["a", "b", "c"]
        assert [entry.key for entry in broken.search()] == ["a", "b", "c"]
        assert [entry.value for entry in broken.search() if entry.key != "b"] == [{"n": 1}, {"n": 3}]
        assert [entry.key for entry in broken.items()] == ["a", "b", "c"]
        assert (broken.count(), broken.stats().entries) == (3, 3)
        assert broken.get_many(["a", "c"]) == {"a": {"n": 1}, "c": {"n": 3}}

    def test_r10_to_filters_it_has_no_fields(self, broken: Memory) -> None:
        assert [entry.key for entry in broken.search(where={"n": {"$gte": 1}})] == ["a", "c"]
        assert [entry.key for entry in broken.search(where={"n": {"$ne": 1}})] == ["b", "c"]
        assert [entry.key for entry in broken.search(where={"$not": {"n": 1}})] == ["b", "c"]
        assert [entry.key for entry in broken.search(where={"n": {"$exists": False}})] == ["b"]
        assert broken.count(where={"n": {"$lt": 10}}) == 2
        assert broken.delete_matching("*", where={"n": {"$lt": 10}}) == 2
        assert list(broken.keys()) == ["b"]

    def test_r10_its_existence_is_no_secret(self, broken: Memory) -> None:
        assert broken.exists("b")
        entry = broken.entry("b")
        assert entry is not None
        assert entry.version > 0
        assert entry.created_at <= entry.updated_at
        assert broken.touch("b", 60)

    def test_r10_it_can_be_replaced(self, broken: Memory) -> None:
        version = broken.entry("b").version  # type: ignore[union-attr]
        entry = broken.put("b", "whole", if_version=version)
        assert entry.version > version
        assert broken.get("b") == "whole"
        assert broken.check() == []

    def test_r10_it_can_be_removed(self, broken: Memory, harness: Harness) -> None:
        assert broken.delete("b")
        broken.put("b", 1)
        harness.corrupt("default", "b")
        assert broken.delete_many(["b"]) == 1
        broken.put("b", 1)
        harness.corrupt("default", "b")
        assert broken.clear() == 3

    def test_r10_pop_says_what_it_cannot_return(self, broken: Memory) -> None:
        with pytest.raises(CorruptEntry) as caught:
            broken.pop("b")
        assert caught.value.key == "b"

    def test_r10_a_scope_names_it_relatively(self, memory: Memory, harness: Harness) -> None:
        memory.put("in/b", 1)
        harness.corrupt("default", "in/b")
        with pytest.raises(CorruptEntry) as caught:
            memory.scoped("in/").get("b")
        assert caught.value.key == "b"

    def test_r10_a_batch_that_needs_it_leaves_nothing(self, broken: Memory) -> None:
        def add(tx: Any) -> None:
            tx.put("new", 1)
            tx.append("b", 1)

        with pytest.raises(CorruptEntry):
            broken.run(add)
        assert list(broken.keys()) == ["a", "b", "c"]

    def test_r10_check_reports_it(self, broken: Memory, harness: Harness) -> None:
        broken.partition("other").put("x", 1)
        harness.corrupt("other", "x")
        problems = {(problem.kind, problem.partition, problem.key) for problem in broken.check()}
        assert problems == {("corrupt_value", "default", "b"), ("corrupt_value", "other", "x")}

    def test_r10_threads_are_told_alike(self, broken: Memory) -> None:
        def read(index: int) -> str:
            try:
                return str(broken.get("b"))
            except CorruptEntry as error:
                return error.key

        assert run_threads(8, read) == ["b"] * 8
