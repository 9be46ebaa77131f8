"""R15: writes by several names are all or nothing, in order, and of any size."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.entries import Entry
from agentmem.errors import AgentMemError, InvalidOperation, InvalidValue, VersionConflict
from agentmem.operations import Append, Check, Delete, Increment, Merge, Operation, Put, Touch
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, expire, run_threads, snapshot

if TYPE_CHECKING:
    from agentmem.memory import Memory

#: Operations that fail on the store of the test that runs them, each with its error.
FAILURES: dict[str, tuple[Operation, type[AgentMemError]]] = {
    "check of a wrong version": (Check("number", 1), VersionConflict),
    "check of absence": (Check("number", None), VersionConflict),
    "check of a missing key": (Check("missing", 7), VersionConflict),
    "put if_absent": (Put("number", 2, if_absent=True), VersionConflict),
    "put if_version": (Put("number", 2, if_version=1), VersionConflict),
    "delete if_version": (Delete("text", if_version=1), VersionConflict),
    "increment of text": (Increment("text"), InvalidOperation),
    "append to a number": (Append("number", 1), InvalidOperation),
    "merge into a list": (Merge("list", {"a": 1}), InvalidOperation),
    "increment past int64": (Increment("number", by=2**63 - 1), InvalidOperation),
    "a value that is none": (Put("z", {1: 2}), InvalidValue),
}


class Batches(Contract):
    """put_many, delete_many, get_many and apply."""

    def test_r15_put_many_and_get_many(self, memory: Memory) -> None:
        values = {f"key/{n}": {"n": n} for n in range(50)}
        entries = memory.put_many(values, ttl=LONG)
        assert {key: entry.value for key, entry in entries.items()} == values
        assert all(entry == memory.entry(key) for key, entry in entries.items())
        assert all(entry.expires_at is not None for entry in entries.values())
        assert memory.get_many([*values, "absent", "key/0"]) == values

    def test_r15_nothing_to_do_does_nothing(self, memory: Memory) -> None:
        assert memory.put_many({}) == {}
        assert memory.get_many([]) == {}
        assert memory.delete_many([]) == 0
        assert memory.apply([]) == []
        assert memory.count() == 0

    def test_r15_any_iterable_will_do(self, memory: Memory) -> None:
        memory.apply(Put(key, 1) for key in "abc")
        assert memory.get_many(key for key in "abc") == {"a": 1, "b": 1, "c": 1}
        assert memory.delete_many({"a": 1}.keys() | {"b"}) == 2

    def test_r15_delete_many_counts_each_living_key_once(self, memory: Memory) -> None:
        memory.put_many({"a": 1, "b": 2, "c": 3})
        expire(memory, "dead")
        assert memory.delete_many(["a", "b", "a", "absent", "dead", "b"]) == 2
        assert list(memory.keys()) == ["c"]

    def test_r15_results_are_those_of_the_methods(self, memory: Memory) -> None:
        memory.put_many({"gone": 1, "kept": 2})
        writes: list[Operation] = [
            Put("put", {"a": 1}),
            Increment("count", by=2, initial=40),
            Append("list", 1, 2, 3, limit=2),
        ]
        others: list[Operation] = [
            Merge("put", {"b": 2}),
            Delete("gone"),
            Delete("absent"),
            Touch("kept", LONG),
            Touch("absent", LONG),
        ]
        results = memory.apply([*writes, *others, Check("absent", None)])
        values = [result.value for result in results]
        assert isinstance(values[0], Entry)
        assert values[0].value == {"a": 1}
        assert values[3] == memory.entry("put")
        assert values[1:3] + values[4:] == [42, 2, True, False, True, False, None]
        assert [result.key for result in results[:4]] == ["put", "count", "list", "put"]
        has_entry = [result.entry is not None for result in results]
        assert has_entry == [True, True, True, True, False, False, True, False, False]

    def test_r15_entries_of_results_are_what_was_stored(self, memory: Memory) -> None:
        results = memory.apply([Put("a", 1), Increment("b"), Append("c", 1), Merge("d", {"x": 1})])
        assert [result.entry for result in results] == list(memory.items())

    def test_r15_operations_on_one_key_apply_in_order(self, memory: Memory) -> None:
        memory.apply([Put("a", 1), Increment("a", 5), Put("b", 1), Delete("b"), Put("c", 1), Delete("c"), Put("c", 2)])
        assert memory.get_many(["a", "b", "c"]) == {"a": 6, "c": 2}
        results = memory.apply(
            [Delete("a"), Delete("a"), Check("a", None), Put("a", [], if_absent=True), Append("a", 1)]
        )
        assert [result.value for result in results[:2]] == [True, False]
        assert memory.get("a") == [1]

    def test_r15_pitfall_the_same_key_twice_in_a_batch(self, memory: Memory) -> None:
        results = memory.apply([Put("key", n) for n in range(30)])
        assert [result.value.value for result in results] == list(range(30))
        assert memory.get("key") == 29
        assert memory.count() == 1

    def test_r15_a_put_sees_the_expectations_of_its_batch(self, memory: Memory) -> None:
        first = memory.put("key", 1)
        with pytest.raises(VersionConflict) as caught:
            memory.apply([Put("key", 2), Put("key", 3, if_version=first.version)])
        assert caught.value.key == "key"
        assert memory.entry("key") == first

    @pytest.mark.parametrize(("failing", "error"), FAILURES.values(), ids=FAILURES)
    def test_r15_a_batch_that_fails_leaves_nothing(
        self, memory: Memory, failing: Operation, error: type[AgentMemError]
    ) -> None:
        memory.put_many({"number": 1, "text": "x", "list": [1], "object": {}, "doomed": 1})
        before = snapshot(memory)
        good: list[Operation] = [
            Put("number", 10),
            Put("new", 1),
            Delete("doomed"),
            Append("list", 2),
            Merge("object", {"a": 1}),
            Touch("object", 60),
        ]
        for place in (0, 3, len(good)):
            with pytest.raises(error):
                memory.apply([*good[:place], failing, *good[place:]])
            assert snapshot(memory) == before

    def test_r15_a_large_batch_that_fails_at_its_end_leaves_nothing(self, memory: Memory) -> None:
        memory.put("text", "x")
        before = snapshot(memory)
        puts: list[Operation] = [Put(f"key/{n:05}", n) for n in range(3000)]
        for failing in (Increment("text"), Check("text", 1), Put("text", 1, if_absent=True)):
            with pytest.raises(AgentMemError):
                memory.apply([*puts, failing])
            assert snapshot(memory) == before

    def test_r15_one_bad_value_refuses_put_many(self, memory: Memory) -> None:
        memory.put("a", 1)
        with pytest.raises(InvalidValue):
            memory.put_many({"a": 2, "b": 3, "c": float("nan")})
        assert memory.get_many(["a", "b", "c"]) == {"a": 1}

    def test_r15_check_compares_and_writes_nothing(self, memory: Memory) -> None:
        entry = memory.put("key", 1)
        memory.apply([Check("key", entry.version), Check("absent", None), Put("other", 1)])
        assert memory.entry("key") == entry
        assert memory.get("other") == 1
        expire(memory, "dead")
        memory.apply([Check("dead", None)])

    def test_r15_pitfall_opposite_orders_do_not_deadlock(self, memory: Memory) -> None:
        keys = [f"key/{n:02}" for n in range(40)]

        def write(index: int) -> None:
            mine = keys if index % 2 else keys[::-1]
            for turn in range(4):
                if turn % 2:
                    memory.apply([Increment(f"{key}/count") for key in mine])
                else:
                    memory.put_many(dict.fromkeys(mine, index))

        run_threads(8, write)
        assert set(memory.get_many(f"{key}/count" for key in keys).values()) == {16}
        assert len({memory.get(key) for key in keys}) == 1
        assert memory.check() == []

    def test_r15_no_reader_sees_half_a_batch(self, memory: Memory) -> None:
        keys = [f"key/{n:02}" for n in range(30)]
        memory.put_many(dict.fromkeys(keys, 0))
        done = threading.Event()

        def work(index: int) -> list[set[Any]]:
            if index == 0:
                for generation in range(1, 40):
                    memory.put_many(dict.fromkeys(keys if generation % 2 else keys[::-1], generation))
                done.set()
                return []
            seen = []
            while not done.is_set():
                seen.append(set(memory.get_many(keys).values()))
                seen.append({entry.value for entry in memory.search("key/*", limit=100)})
            return seen

        views = [view for thread in run_threads(4, work) for view in thread]
        assert {len(view) for view in views} <= {1}
        assert set(memory.get_many(keys).values()) == {39}

    def test_r15_puts_and_deletes_of_a_batch_appear_together(self, memory: Memory) -> None:
        memory.put("token/a", 1)
        done = threading.Event()

        def work(index: int) -> set[int]:
            if index == 0:
                for turn in range(60):
                    here, there = ("token/a", "token/b") if turn % 2 == 0 else ("token/b", "token/a")
                    memory.apply([Delete(here), Put(there, 1)])
                done.set()
                return {1}
            seen = {1}
            while not done.is_set():
                seen |= {memory.count("token/*"), len(memory.get_many(["token/a", "token/b"]))}
            return seen

        assert run_threads(3, work) == [{1}] * 3

    @pytest.mark.slow
    def test_r15_a_batch_of_100_000_entries(self, memory: Memory) -> None:
        values = {f"bulk/{n:06}": n for n in range(100_000)}
        entries = memory.put_many(values)
        assert len(entries) == 100_000
        assert memory.count("bulk/*") == 100_000
        # Beyond 65,535 names, more than a PostgreSQL statement takes parameters.
        some = [f"bulk/{n:06}" for n in range(20_000, 95_000)]
        got = memory.get_many(some)
        assert (len(got), sum(got.values())) == (75_000, sum(range(20_000, 95_000)))
        assert memory.delete_many(some) == 75_000
        assert sum(1 for _ in memory.keys("bulk/")) == 25_000
        assert memory.clear() == 25_000

    @pytest.mark.slow
    def test_r15_pitfall_more_operations_than_parameters(self, memory: Memory) -> None:
        results = memory.apply(
            [op for n in range(20_000) for op in (Put(f"key/{n}", n), Increment(f"key/{n}"), Append(f"list/{n}", n))]
        )
        assert len(results) == 60_000
        assert memory.get_many(["key/0", "key/19999", "list/19999"]) == {
            "key/0": 1,
            "key/19999": 20000,
            "list/19999": [19999],
        }
        assert memory.count() == 40_000
