"""memory.run: a function in a transaction, once more after a conflict, and only then (R16)."""

from __future__ import annotations

import pytest

from agentmem import Memory, Transaction, Unavailable, VersionConflict
from agentmem.testing.support import run_threads
from tests.unit.dict_repository import DictRepository


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    memory = Memory(repository)
    memory.put_many({"a": 1, "b": 2})
    return memory


def test_r16_run_tries_again_and_returns_what_the_function_returns(memory: Memory) -> None:
    calls = []

    def function(tx: Transaction) -> int:
        calls.append(value := tx.get("a"))
        if len(calls) < 3:
            memory.put("a", value + 1)
        tx.put("a", value * 100)
        return value

    assert memory.run(function) == 3
    assert calls == [1, 2, 3]
    assert memory.get("a") == 300


def test_r16_run_tries_again_after_a_conflict_inside_of_the_function(memory: Memory) -> None:
    calls = []

    def function(tx: Transaction) -> None:
        calls.append(1)
        tx.put("lock", "mine", if_absent=True)
        if len(calls) == 1:
            memory.put("lock", "rival")
        tx.get("lock")

    with pytest.raises(VersionConflict):
        memory.run(function, attempts=2)
    memory.delete("lock")
    assert len(calls) == 2
    memory.run(function)
    assert memory.get("lock") == "mine"


def test_r16_run_gives_up_with_the_last_conflict(memory: Memory) -> None:
    def function(tx: Transaction) -> None:
        memory.put("a", tx.get("a") + 1)

    with pytest.raises(VersionConflict) as caught:
        memory.run(function, attempts=3)
    assert caught.value.current.value == 4


def test_r16_run_does_not_retry_what_is_not_its_own(memory: Memory, repository: DictRepository) -> None:
    calls = []

    def foreign(tx: Transaction) -> None:
        calls.append(1)
        memory.put("b", 1, if_version=1)

    with pytest.raises(VersionConflict):
        memory.run(foreign)
    with pytest.raises(ZeroDivisionError):
        memory.run(lambda tx: 1 / 0)
    repository.calls.clear()
    repository.fail(1)
    with pytest.raises(Unavailable):
        memory.run(lambda tx: tx.put("a", 1))
    assert (len(calls), repository.calls) == (1, {"apply": 1})


def test_r16_threads_move_between_accounts_and_lose_nothing(memory: Memory) -> None:
    def move(index: int) -> None:
        source, target = ("a", "b") if index % 2 else ("b", "a")

        def function(tx: Transaction) -> None:
            tx.put(source, tx.get(source) - 1)
            tx.put(target, tx.get(target) + 1)

        for _ in range(20):
            memory.run(function, attempts=1000)

    run_threads(6, move)
    assert memory.get("a") + memory.get("b") == 3
