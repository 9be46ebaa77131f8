"""What the handle makes of single writes and batches, over a repository that keeps to the port."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from agentmem import (
    MISSING,
    Append,
    Check,
    CorruptEntry,
    Delete,
    Entry,
    Increment,
    InvalidOperation,
    InvalidValue,
    Memory,
    Merge,
    Put,
    Touch,
    TypeCodec,
    Unavailable,
    VersionConflict,
)
from agentmem.commands import Command, Outcome
from agentmem.testing.support import run_threads
from tests.unit.dict_repository import DictRepository

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return Memory(repository)


class Terse(DictRepository):
    """Sends no body back after a put, as the port allows."""

    def apply(self, partition: str, commands: Any) -> list[Outcome]:
        outcomes = super().apply(partition, commands)
        return [o._replace(record=o.record and o.record._replace(body=None)) for o in outcomes]


def test_r11_what_put_returns_is_independent_of_the_callers_object() -> None:
    memory = Memory(Terse())
    value = {"steps": [1]}
    entry = memory.put("a", value, metadata=MappingProxyType({"owner": "me"}))
    many = memory.put_many({"b": value})["b"]
    (result,) = memory.apply([Put("c", value)])
    value["steps"].append(2)
    assert entry.value == many.value == result.value.value == {"steps": [1]}
    assert (entry.body, entry.metadata) == ('{"steps":[1]}', {"owner": "me"})


def test_r13_a_conflict_carries_the_current_entry_and_costs_one_call(
    memory: Memory, repository: DictRepository
) -> None:
    first = memory.put("a", {"v": 1})
    repository.calls.clear()
    with pytest.raises(VersionConflict) as caught:
        memory.put("a", 2, if_version=first.version + 1)
    assert caught.value.current == first
    assert isinstance(caught.value.current, Entry)
    assert caught.value.current.value == {"v": 1}
    assert repository.calls == {"apply": 1}


def test_r09_missing_tells_no_entry_from_a_stored_null(memory: Memory) -> None:
    memory.put("null", None)
    assert memory.get("null", MISSING) is None
    assert memory.get("none", MISSING) is MISSING
    assert memory.pop("null", MISSING) is None
    assert memory.pop("null", MISSING) is MISSING
    assert repr(MISSING) == "MISSING"


def test_r15_put_many_in_chunks_is_many_batches_in_order(memory: Memory, repository: DictRepository) -> None:
    mapping = {f"k{number}": number for number in range(7)}
    entries = memory.put_many(mapping, chunk=3)
    assert repository.calls["apply"] == 3
    assert {key: entry.value for key, entry in entries.items()} == mapping
    assert list(entries) == list(mapping)
    assert memory.put_many({}) == {}
    assert repository.calls["apply"] == 3


def test_r15_a_failed_chunk_leaves_those_before_it(memory: Memory, repository: DictRepository) -> None:
    seen: list[int] = []
    apply = repository.apply

    def second_fails(partition: str, commands: list[Command]) -> list[Outcome]:
        seen.append(len(commands))
        if len(seen) == 2:
            raise Unavailable("away")
        return apply(partition, commands)

    repository.apply = second_fails  # type: ignore[assignment, method-assign]
    with pytest.raises(Unavailable):
        memory.put_many(dict.fromkeys("abcde", 0), chunk=2)
    assert seen == [2, 2]
    assert list(memory.keys()) == ["a", "b"]


def test_r15_delete_many_counts_the_living_once(memory: Memory, repository: DictRepository) -> None:
    memory.put_many({"a": 1, "b": None})
    repository.calls.clear()
    assert memory.delete_many(iter(["a", "b", "a", "c"])) == 2
    assert repository.calls == {"apply": 1}
    assert memory.delete_many([]) == 0
    assert repository.calls == {"apply": 1}


def test_apply_answers_each_operation_as_its_method_does(memory: Memory) -> None:
    memory.put("old", 1)
    results = memory.apply(
        [
            Put("p", 1),
            Increment("n", 2, initial=3),
            Append("l", 1, 2),
            Merge("o", {"a": 1}),
            Touch("p", 60),
            Touch("none", 60),
            Delete("old"),
            Check("old", None),
        ]
    )
    put, number, length, merged, touched, missed, deleted, checked = (result.value for result in results)
    assert (put.value, number, length, merged.value) == (1, 5, 2, {"a": 1})
    assert (touched, missed, deleted, checked) == (True, False, True, None)
    assert [result.entry and result.entry.key for result in results] == ["p", "n", "l", "o", "p", None, None, None]
    assert memory.apply([]) == []


def test_pop_of_what_cannot_be_decoded_removes_it(memory: Memory, repository: DictRepository) -> None:
    memory.put("a", 1)
    repository.spoil("a")
    with pytest.raises(CorruptEntry):
        memory.pop("a")
    assert not memory.exists("a")


def test_r16_update_gives_private_copies(memory: Memory) -> None:
    default: list[int] = []
    memory.update("a", lambda value: [value.append(1) or 2, *value], default=default)
    memory.update("a", lambda value: value + value)
    assert default == []
    assert memory.get("a") == [2, 1, 2, 1]


def test_r16_update_tries_again_after_a_conflict(memory: Memory) -> None:
    memory.put("a", 1, ttl=60, metadata={"owner": "me"})
    rivals = iter([5, 7])

    def add(value: int) -> int:
        for rival in rivals:
            memory.put("a", rival, ttl=60, metadata={"owner": "rival"})
            break
        return value + 1

    entry = memory.update("a", add)
    assert (entry.value, entry.metadata) == (8, {"owner": "rival"})
    assert entry.expires_at is not None


def test_r16_update_gives_up_with_the_last_conflict(memory: Memory) -> None:
    calls: list[int] = []
    memory.put("a", 0)

    def overtaken(value: int) -> int:
        calls.append(value)
        memory.put("a", value + 1)
        return -1

    with pytest.raises(VersionConflict) as caught:
        memory.update("a", overtaken, attempts=3)
    assert calls == [0, 1, 2]
    assert caught.value.current.value == 3


def test_r16_update_of_an_absent_key_is_put_if_absent(memory: Memory) -> None:
    with pytest.raises(InvalidOperation, match="no entry to update"):
        memory.update("a", str)

    def slow(value: str) -> str:
        if not memory.exists("a"):
            memory.put("a", "rival")
        return value + "!"

    assert memory.update("a", slow, default="mine").value == "rival!"


def test_r16_a_conflict_of_the_users_own_is_not_retried(memory: Memory) -> None:
    calls = []

    def function(value: int) -> int:
        calls.append(value)
        memory.put("other", 1, if_version=1)
        return value

    memory.put("a", 1)
    with pytest.raises(VersionConflict, match="other"):
        memory.update("a", function)
    assert calls == [1]


def test_r14_updates_by_threads_are_exact(memory: Memory) -> None:
    run_threads(8, lambda _: [memory.update("n", lambda n: n + 1, default=0, attempts=1000) for _ in range(25)])
    assert memory.get("n") == 200


@pytest.fixture
def tagged(repository: DictRepository) -> Memory:
    return Memory(repository, codec=TypeCodec())


def test_r07_a_codec_serves_every_method(tagged: Memory) -> None:
    tagged.put("a", {"at": NOON})
    tagged.append("l", NOON, Decimal("1.5"))
    assert tagged.get("a") == tagged.get_many(["a"])["a"] == {"at": NOON}
    assert [entry.value for entry in tagged.search()] == [{"at": NOON}, [NOON, Decimal("1.5")]]
    assert tagged.pop("l") == [NOON, Decimal("1.5")]
    assert tagged.update("a", lambda value: value | {"n": 1}).value == {"at": NOON, "n": 1}
    assert [entry.value for entry in tagged.items()] == [{"at": NOON, "n": 1}]


def test_r14_merge_replaces_an_object_by_what_the_codec_makes_of_it(tagged: Memory, repository: DictRepository) -> None:
    tagged.put("a", {"at": {"x": 1}, "keep": 1, "drop": 2})
    entry = tagged.merge("a", {"at": NOON, "drop": None})
    assert entry.value == {"at": NOON, "keep": 1}
    assert tagged.merge("new", {"at": NOON}).value == {"at": NOON}
    repository.calls.clear()
    assert tagged.merge("a", {"keep": 2}).value == {"at": NOON, "keep": 2}
    assert repository.calls == {"fetch": 1, "apply": 1}


def test_r14_merge_with_a_codec_refuses_as_without(tagged: Memory) -> None:
    tagged.put("l", [1])
    with pytest.raises(InvalidOperation, match="'l'"):
        tagged.merge("l", {"at": NOON})
    for patch in ({"at": NOON}, {"n": 1}):
        with pytest.raises(InvalidValue, match="codec"):
            tagged.apply([Merge("o", patch)])
    with pytest.raises(InvalidValue):
        tagged.merge("o", 5)  # type: ignore[arg-type]


class Wrapping:
    """A codec that stores everything as an object."""

    def to_json(self, value: Any) -> Any:
        return {"wrapped": value}

    def from_json(self, tree: Any) -> Any:
        return tree["wrapped"]


def test_append_refuses_a_codec_that_stores_lists_as_something_else(repository: DictRepository) -> None:
    memory = Memory(repository, codec=Wrapping())
    assert memory.put("a", [1]).body == '{"wrapped":[1]}'
    with pytest.raises(InvalidValue, match="codec"):
        memory.append("a", 2)


def test_r32_no_lock_of_the_handle_is_held_while_user_code_runs(memory: Memory) -> None:
    def function(value: int) -> int:
        worker = threading.Thread(target=memory.put, args=("other", 1))
        worker.start()
        worker.join(10)
        assert not worker.is_alive()
        return value + 1

    assert memory.update("a", function, default=0).value == 1
    assert memory.get("other") == 1
