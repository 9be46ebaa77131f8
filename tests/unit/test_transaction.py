"""Transactions: snapshots, previews, one commit with checks, conflicts (R16)."""

# ruff: noqa: PT012 - a transaction raises at the end of its block, which has several statements

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agentmem import (
    MISSING,
    Closed,
    CounterOverflow,
    InvalidArgument,
    InvalidOperation,
    InvalidTTL,
    Memory,
    NamespaceError,
    Transaction,
    VersionConflict,
)
from agentmem.entries import Record
from agentmem.moments import from_microseconds, microseconds
from tests.unit.dict_repository import DictRepository


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    memory = Memory(repository)
    memory.put_many({"a": 1, "b": 2, "o": {"x": 1}, "l": [1]})
    repository.calls.clear()
    return memory


def test_r16_a_commit_is_one_batch_with_the_checks_in_front(memory: Memory, repository: DictRepository) -> None:
    with memory.transaction() as tx:
        tx.put("sum", tx.get("a") + tx.get("b"))
        tx.increment("a", 10)
        tx.delete("b")
        assert repository.calls == {"fetch": 2}
    assert repository.calls == {"fetch": 2, "apply": 1}
    assert memory.get_many(["sum", "a", "b"]) == {"sum": 3, "a": 11}
    assert [(result.key, result.entry is not None) for result in tx.results] == [
        ("sum", True),
        ("a", True),
        ("b", False),
    ]
    assert [result.value for result in tx.results[1:]] == [11, True]


READS: dict[str, Callable[[Transaction], Any]] = {
    "get": lambda tx: tx.get("a"),
    "entry": lambda tx: tx.entry("a"),
    "exists": lambda tx: tx.exists("a"),
    "get_many": lambda tx: tx.get_many(["a", "b"]),
    "pop": lambda tx: tx.pop("a"),
}
RIVALS: dict[str, Callable[[Memory], Any]] = {
    "put": lambda m: m.put("a", 1),
    "touch": lambda m: m.touch("a", 60),
    "delete": lambda m: m.delete("a"),
    "replace": lambda m: [m.delete("a"), m.put("a", 1)],
}


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_r16_what_was_read_and_then_changed_is_a_conflict(
    memory: Memory, read: Callable[[Transaction], Any], rival: Callable[[Memory], Any]
) -> None:
    tx = memory.transaction()
    with pytest.raises(VersionConflict) as caught, tx:
        read(tx)
        rival(memory)
        tx.put("written", 1)
    assert caught.value is tx.conflict
    assert caught.value.key == "a"
    assert caught.value.current == memory.entry("a")
    assert not memory.exists("written")
    assert tx.results == []


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_r16_what_was_absent_and_then_appeared_is_a_conflict(
    memory: Memory, read: Callable[[Transaction], Any]
) -> None:
    memory.delete("a")
    with pytest.raises(VersionConflict), memory.transaction() as tx:
        read(tx)
        memory.put("a", 1)
        tx.put("written", 1)
    assert not memory.exists("written")


def test_r16_a_transaction_that_only_reads_proves_that_its_reads_hold_together(memory: Memory) -> None:
    with pytest.raises(VersionConflict), memory.transaction() as tx:
        tx.get("a")
        memory.put_many({"a": 5, "b": 6})
        tx.get("b")
    with memory.transaction() as tx:
        assert (tx.get("a"), tx.get("b")) == (5, 6)


def test_a_transaction_without_reads_and_writes_makes_no_call(memory: Memory, repository: DictRepository) -> None:
    with memory.transaction() as tx:
        pass
    assert tx.results == []
    assert not repository.calls


def test_r16_writes_without_reads_do_not_conflict(memory: Memory) -> None:
    with memory.transaction() as tx:
        tx.increment("a")
        tx.append("l", 2)
        memory.increment("a")
        memory.append("l", 3)
    assert memory.get_many(["a", "l"]) == {"a": 3, "l": [1, 3, 2]}


def test_reading_again_gives_the_same_snapshot_from_one_call(memory: Memory, repository: DictRepository) -> None:
    with pytest.raises(VersionConflict), memory.transaction() as tx:
        first = tx.entry("a")
        memory.put("a", 99)
        assert tx.entry("a") == first
        assert tx.get_many(["a", "b", "none"]) == {"a": 1, "b": 2}
        assert (tx.get("b"), tx.exists("none"), tx.get("none", MISSING)) == (2, False, MISSING)
        assert repository.calls == {"fetch": 2, "apply": 1}


def test_reads_see_the_transactions_own_writes(memory: Memory) -> None:
    with memory.transaction() as tx:
        tx.increment("a", 4)
        tx.append("l", 2, 3, limit=2)
        tx.merge("o", {"x": None, "y": 2})
        tx.touch("b", 60)
        tx.put("new", [1], metadata={"by": "me"})
        assert tx.get_many(["a", "l", "o", "new"]) == {"a": 5, "l": [2, 3], "o": {"y": 2}, "new": [1]}
        assert tx.entry("new").metadata == {"by": "me"}  # type: ignore[union-attr]
        assert tx.entry("b").expires_at is not None  # type: ignore[union-attr]
        tx.append("new", 2)
        tx.delete("a")
        assert (tx.get("new"), tx.exists("a"), tx.pop("b"), tx.pop("b", 0)) == ([1, 2], False, 2, 0)
        tx.increment("a")
        assert tx.get("a") == 1
    assert memory.get_many(["a", "b", "l", "o", "new"]) == {"a": 1, "l": [2, 3], "o": {"y": 2}, "new": [1, 2]}


def test_a_preview_has_private_copies(memory: Memory) -> None:
    with memory.transaction() as tx:
        value = {"x": [1]}
        tx.put("v", value)
        value["x"].append(2)
        tx.get("v")["x"].append(3)
        tx.get("l").append(4)
        assert (tx.get("v"), tx.get("l")) == ({"x": [1]}, [1])
    assert memory.get("v") == {"x": [1]}


def test_r21_a_preview_does_not_ask_our_clock_whether_an_entry_lives() -> None:
    past = microseconds(datetime(2020, 1, 1, tzinfo=UTC))

    class Slow(DictRepository):
        """Its clock is years behind ours, so what lives there expired long ago here."""

        def _begin(self, method: str) -> int:
            super()._begin(method)
            return past

    memory = Memory(Slow())
    memory.put("n", 5, ttl=60)
    with memory.transaction() as tx:
        tx.increment("n")
        assert tx.get("n") == 6
        assert tx.entry("n").expires_at == from_microseconds(past + 60_000_000)  # type: ignore[union-attr]
    assert memory.get("n") == 6


def test_a_write_that_the_value_does_not_bear_fails_at_each_look_and_at_the_commit(memory: Memory) -> None:
    with pytest.raises(InvalidOperation) as caught, memory.scoped("a").transaction() as tx:
        memory.put("ab", "text")
        tx.increment("b")
        for _ in range(2):
            with pytest.raises(InvalidOperation) as looked:
                tx.get("b")
            assert looked.value.key == "b"
    assert caught.value.key == "b"


def test_r14_an_overflow_shows_in_the_preview(memory: Memory) -> None:
    with pytest.raises(CounterOverflow), memory.transaction() as tx:
        tx.increment("a", 2**63 - 1)
        tx.get("a")
    assert memory.get("a") == 1


def test_r13_expectations_hold_at_the_commit(memory: Memory) -> None:
    version = memory.put("a", 1).version
    with memory.transaction() as tx:
        tx.put("a", 2, if_version=version)
        tx.put("new", 1, if_absent=True)
        tx.delete("b", if_version=memory.put("b", 1).version)
    for write in (lambda tx: tx.put("a", 3, if_version=version), lambda tx: tx.put("a", 3, if_absent=True)):
        with pytest.raises(VersionConflict), memory.transaction() as tx:
            tx.put("written", 1)
            write(tx)
    assert memory.get_many(["a", "written"]) == {"a": 2}


def test_r16_check_speaks_of_the_state_before_the_transactions_writes(memory: Memory) -> None:
    version = memory.put("a", 1).version
    with memory.transaction() as tx:
        tx.put("a", 2)
        tx.check("a", version)
        tx.check("none", None)
    assert len(tx.results) == 1
    with pytest.raises(VersionConflict, match="none"), memory.transaction() as tx:
        tx.check("a", memory.put("a", 3).version)
        memory.put("none", 1)
        tx.check("none", None)


def test_an_exception_in_the_block_writes_nothing(memory: Memory, repository: DictRepository) -> None:
    with pytest.raises(KeyError), memory.transaction() as tx:
        tx.put("written", 1)
        raise KeyError
    assert not repository.calls
    assert tx.results == []


REFUSED: dict[str, tuple[type[Exception], Callable[[Transaction], Any]]] = {
    "namespace": (NamespaceError, lambda tx: tx.put("b", 1)),
    "ttl": (InvalidTTL, lambda tx: tx.touch("ab", 0)),
    "append": (InvalidArgument, lambda tx: tx.append("ab")),
    "get_many": (InvalidArgument, lambda tx: tx.get_many("ab")),
    "check": (InvalidArgument, lambda tx: tx.check("ab", True)),
}


@pytest.mark.parametrize(("error", "call"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused_in_the_block(error: type[Exception], call: Callable[[Transaction], Any]) -> None:
    with Memory(DictRepository(), namespace="a").transaction() as tx, pytest.raises(error):
        call(tx)


USES: dict[str, Callable[[Transaction], Any]] = {
    **READS,
    "get_many of none": lambda tx: tx.get_many([]),
    "put": lambda tx: tx.put("a", 1),
    "delete": lambda tx: tx.delete("a"),
    "increment": lambda tx: tx.increment("a"),
    "append": lambda tx: tx.append("l", 1),
    "merge": lambda tx: tx.merge("o", {}),
    "touch": lambda tx: tx.touch("a", 1),
    "check": lambda tx: tx.check("a", None),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_transaction_is_used_in_its_block_only(memory: Memory, use: Callable[[Transaction], Any]) -> None:
    tx = memory.transaction()
    with pytest.raises(Closed, match="inside"):
        use(tx)
    with tx:
        pass
    with pytest.raises(Closed):
        use(tx)
    with pytest.raises(Closed, match="once"), tx:
        pass


def test_r32_no_call_is_made_for_previews(memory: Memory, repository: DictRepository) -> None:
    with memory.transaction() as tx:
        for number in range(100):
            tx.append("new", number)
            assert len(tx.get("new")) == number + 1
        assert repository.calls == {"fetch": 1}


def test_a_record_of_the_repository_is_not_changed_by_previews(memory: Memory) -> None:
    before = memory.entry("a")
    with pytest.raises(RuntimeError), memory.transaction() as tx:
        tx.increment("a")
        tx.get("a")
        raise RuntimeError
    assert memory.entry("a") == before
    assert issubclass(Record, tuple)
