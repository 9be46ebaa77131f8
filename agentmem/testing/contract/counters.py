"""R14: increment is atomic, exact, and refuses what it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import CounterOverflow, InvalidOperation, VersionConflict
from agentmem.operations import Increment, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, exactly, expire, run_threads, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

NO_NUMBERS: dict[str, Any] = {
    "text": "1",
    "null": None,
    "true": True,
    "false": False,
    "list": [1],
    "object": {"n": 1},
    "empty": "",
}


class Counters(Contract):
    """Numbers that many writers add to."""

    def test_r14_a_counter_starts_at_initial(self, memory: Memory) -> None:
        assert memory.increment("a") == 1
        assert memory.increment("b", 5, initial=10) == 15
        assert memory.increment("b", 5, initial=10) == 20
        assert memory.increment("c", 0, initial=7) == 7
        assert memory.get_many(["a", "b", "c"]) == {"a": 1, "b": 20, "c": 7}

    def test_r14_types_of_numbers(self, memory: Memory) -> None:
        steps: list[tuple[Any, Any, Any]] = [
            (1, 2, 3),
            (1, -2, -1),
            (1, 0, 1),
            (1, 0.5, 1.5),
            (1.5, 1, 2.5),
            (1.5, 0.5, 2.0),
            (1, 1.0, 2.0),
            (0.1, 0.2, 0.1 + 0.2),
            (-0.0, 0, 0.0),
            (2**53, 1, 2**53 + 1),
            (1e22, 1, 1e22),
            (5e-324, 5e-324, 1e-323),
        ]
        for start, by, expected in steps:
            memory.put("key", start)
            assert exactly(memory.increment("key", by)) == exactly(expected), (start, by)
            assert exactly(memory.get("key")) == exactly(expected), (start, by)

    def test_r14_a_number_of_a_subclass_counts_as_the_plain_one(self, memory: Memory) -> None:
        class Whole(int):
            """An int like an IntEnum's member."""

        class Real(float):
            """A float like NumPy's float64."""

            __repr__ = None  # type: ignore[assignment]  # whoever writes it as text is found out

        assert exactly(memory.increment("whole", Whole(2), initial=Whole(1))) == "3"
        assert exactly(memory.increment("whole", Whole(2))) == "5"
        assert exactly(memory.increment("real", Real(0.5), initial=Real(1))) == "1.5"
        assert memory.apply([Increment("real", Real(0.5)), Increment("whole", Whole(1))])[0].value == 2.0
        entry = memory.entry("whole")
        assert entry is not None
        assert memory.put("whole", 0, if_version=Whole(entry.version)).value == 0
        assert memory.append("list", 1, 2, 3, limit=Whole(2)) == 2
        assert list(memory.keys(limit=Whole(1))) == ["list"]
        assert len(memory.search(limit=Whole(2))) == 2

    def test_r14_the_ends_of_int64_can_be_reached(self, memory: Memory) -> None:
        memory.put_many({"up": INT64_MAX - 1, "down": INT64_MIN + 1})
        assert memory.increment("up") == INT64_MAX
        assert memory.increment("down", -1) == INT64_MIN
        assert memory.get_many(["up", "down"]) == {"up": INT64_MAX, "down": INT64_MIN}

    def test_r14_past_int64_the_counter_overflows_and_stays(self, memory: Memory) -> None:
        memory.put_many({"up": INT64_MAX, "down": INT64_MIN, "far": 2**70})
        before = snapshot(memory)
        for key, by in (("up", 1), ("down", -1), ("up", INT64_MAX), ("far", 1)):
            with pytest.raises(CounterOverflow) as caught:
                memory.increment(key, by)
            assert caught.value.key == key
            assert isinstance(caught.value, OverflowError)
        assert snapshot(memory) == before

    def test_r14_past_the_largest_float_too(self, memory: Memory) -> None:
        memory.put("key", 1.7e308)
        before = snapshot(memory)
        with pytest.raises(CounterOverflow):
            memory.increment("key", 1.7e308)
        assert snapshot(memory) == before

    @pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
    def test_r14_what_is_no_number_is_left_alone(self, memory: Memory, value: Any) -> None:
        memory.put("key", value, ttl=LONG, metadata={"owner": "x"})
        before = snapshot(memory)
        with pytest.raises(InvalidOperation) as caught:
            memory.increment("key")
        assert caught.value.key == "key"
        assert not isinstance(caught.value, CounterOverflow)
        with pytest.raises(InvalidOperation):
            memory.apply([Put("other", 1), Increment("key")])
        assert snapshot(memory) == before

    def test_r20_pitfall_increment_keeps_the_ttl(self, memory: Memory) -> None:
        first = memory.put("key", 1, ttl=LONG, metadata={"owner": "x"})
        memory.increment("key")
        second = memory.entry("key")
        assert second is not None
        assert (second.expires_at, second.created_at) == (first.expires_at, first.created_at)
        assert second.metadata == {"owner": "x"}
        assert second.version > first.version

    def test_r20_increment_can_set_the_ttl(self, memory: Memory) -> None:
        memory.increment("key", ttl=LONG)
        assert memory.entry("key").expires_at is not None  # type: ignore[union-attr]
        memory.increment("key", ttl=None)
        assert memory.entry("key").expires_at is None  # type: ignore[union-attr]

    def test_r22_a_counter_that_expired_starts_again(self, memory: Memory) -> None:
        expire(memory, "key", 41)
        assert memory.increment("key", initial=5) == 6
        assert memory.entry("key").expires_at is None  # type: ignore[union-attr]

    def test_r14_fifty_threads_count_exactly(self, memory: Memory) -> None:
        results = run_threads(50, lambda _: [memory.increment("counter") for _ in range(8)])
        assert memory.get("counter") == 400
        assert sorted(number for numbers in results for number in numbers) == list(range(1, 401))

    def test_r14_threads_count_exactly_by_every_way(self, memory: Memory) -> None:
        ways: list[Callable[[], Any]] = [
            lambda: memory.increment("counter"),
            lambda: memory.apply([Increment("counter"), Increment("other")]),
            lambda: memory.update("counter", lambda value: value + 1, attempts=1000),
            lambda: memory.run(lambda tx: tx.put("counter", tx.get("counter") + 1), attempts=1000),
        ]
        memory.put("counter", 0)
        run_threads(8, lambda index: [ways[index % 4]() for _ in range(10)])
        assert memory.get_many(["counter", "other"]) == {"counter": 80, "other": 20}
        assert memory.check() == []

    def test_r14_floats_are_exact_where_floats_are(self, memory: Memory) -> None:
        run_threads(10, lambda _: [memory.increment("sum", 0.25) for _ in range(8)])
        assert exactly(memory.get("sum")) == "20.0"

    def test_r14_an_overflow_in_a_batch_undoes_the_batch(self, memory: Memory) -> None:
        memory.put("key", INT64_MAX - 1)
        before = snapshot(memory)
        with pytest.raises(CounterOverflow):
            memory.apply([Increment("key"), Put("other", 1), Increment("key")])
        assert snapshot(memory) == before

    def test_r14_a_counter_seen_by_a_reader_never_falls(self, memory: Memory) -> None:
        memory.put("counter", 0)

        def work(index: int) -> bool:
            if index:
                return all(memory.increment("counter") for _ in range(20))
            seen = [memory.get("counter") for _ in range(60)]
            return seen == sorted(seen)

        assert all(run_threads(5, work))
        assert memory.get("counter") == 80

    def test_r14_a_counter_is_an_entry(self, memory: Memory) -> None:
        memory.increment("counter", 3)
        entry = memory.entry("counter")
        assert entry is not None
        assert entry.value == 3
        with pytest.raises(VersionConflict):
            memory.put("counter", 0, if_version=entry.version - 1)
        memory.put("counter", 0, if_version=entry.version)
        assert memory.increment("counter") == 1
