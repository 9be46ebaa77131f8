"""What type checkers see of the public names.

`make types` is half of the test: an `assert_type` that does not hold fails there, and so does a `type: ignore` over a
line that mypy lets pass. Here the same lines run, so what is promised to the checker is also what comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

import agentmem
from agentmem import (
    Ack,
    AgentMemError,
    Change,
    Codec,
    Entry,
    Fleet,
    InvalidArgument,
    InvalidKey,
    Job,
    Lease,
    Member,
    Memory,
    Page,
    Put,
    QTable,
    Queue,
    Queued,
    QueueItem,
    Result,
    Session,
    Stats,
    Watch,
)
from agentmem.transaction import Transaction
from agentmem.typed import TypedEntry, TypedMemory


class Note(BaseModel):
    text: str
    score: float = 0.0


@pytest.fixture
def memory() -> Iterator[Memory]:
    with agentmem.connect("sqlite://") as memory:
        assert_type(memory, Memory)
        yield memory


def test_a_handle(memory: Memory) -> None:
    assert_type(memory.put("note", {"text": "a"}), Entry)
    assert_type(memory.put_many({"b": 1}, ttl=60), dict[str, Entry])
    assert_type(memory.load((key, 1) for key in "ab"), int)
    assert_type(memory.entry("note"), Entry | None)
    assert_type(memory.exists("note"), bool)
    assert_type(memory.search("*"), Page[Entry])
    assert_type(memory.search("*")[0], Entry)
    assert_type(memory.search("*").cursor, str | None)
    assert_type(list(memory.keys()), list[str])
    assert_type(list(memory.items()), list[Entry])
    assert_type(memory.children(), list[str])
    assert_type(memory.count(), int)
    assert_type(memory.increment("n"), int | float)
    assert_type(memory.append("list", 1, "two"), int)
    assert_type(memory.merge("note", {"b": None}), Entry)
    assert_type(memory.update("n", lambda n: n + 1), Entry)
    assert_type(memory.touch("n", 60), bool)
    assert_type(memory.apply([Put("a", 1)]), list[Result])
    assert_type(memory.stats(), Stats)
    assert_type(memory.scoped("a/"), Memory)
    assert_type(memory.partition("other"), Memory)
    assert_type(memory.delete("n"), bool)
    assert_type(memory.delete_many(["a"]), int)
    assert_type(memory.clear(), int)


def test_a_queue(memory: Memory) -> None:
    queue = memory.queue("jobs", lease=60)
    assert_type(queue, Queue)
    assert_type(queue.put(1), Queued)
    assert_type(queue.put_many([1, 2], delay=0), list[Queued])
    [job, *others] = assert_type(queue.claim(2), list[Job])
    assert_type(job.id, int)
    assert_type(job.leased_until, datetime)
    assert_type(queue.ack_and_claim([job], 1), list[Job])
    assert_type(queue.peek(), list[QueueItem])
    assert_type(queue.redrive(), int)
    assert_type(queue.counts().dead, int)
    assert_type(memory.apply([Ack(one) for one in others]), list[Result])
    assert_type(memory.queues(), list[str])
    assert_type(queue.work(lambda job: job.bury(), until_empty=True), int)


def test_a_transaction(memory: Memory) -> None:
    with memory.transaction() as tx:
        assert_type(tx, Transaction)
        tx.put("a", 1)

    def add(tx: Transaction) -> int:
        tx.put("a", 2)
        return 2

    assert_type(memory.run(add), int)


def test_a_typed_handle(memory: Memory) -> None:
    notes = memory.typed(Note)
    assert_type(notes, TypedMemory[Note])
    assert_type(notes.put("a", Note(text="a")), TypedEntry[Note])
    assert_type(notes.get("a"), Note | None)
    assert_type(notes.get("b", "nothing"), Note | str)
    assert_type(notes.get_many(["a"]), dict[str, Note])
    assert_type(notes.update("a", lambda note: Note(text=note.text + "b")), TypedEntry[Note])
    page = notes.search("*", where={"score": {"$lt": 1}})
    assert_type(page, Page[TypedEntry[Note]])
    assert_type(page[0].value, Note)
    assert page[0].value.text == "ab"
    assert_type([entry.value.text for entry in notes.items()], list[str])
    assert_type(notes.pop("a"), Note | None)


def test_other_types_than_models(memory: Memory) -> None:
    assert_type(memory.typed(dict[str, int]), TypedMemory[dict[str, int]])
    assert_type(memory.typed(int | str), TypedMemory[Any])


def test_r07_a_codec_of_ones_own() -> None:
    class Complex:
        """Complex numbers as pairs."""

        def to_json(self, value: Any) -> Any:
            return [value.real, value.imag] if isinstance(value, complex) else value

        def from_json(self, tree: Any) -> Any:
            return complex(*tree)

    codec: Codec = Complex()
    with agentmem.connect("sqlite://", codec=codec) as memory:
        memory.put("root", 1 + 2j)
        assert memory.get("root") == 1 + 2j


def test_an_entry(memory: Memory) -> None:
    entry = memory.put("a", [1])
    assert_type(entry.key, str)
    assert_type(entry.version, int)
    assert_type(entry.metadata, dict[str, Any])
    assert_type(entry.body, str)
    error: AgentMemError = InvalidKey("")
    assert isinstance(error, ValueError)


def test_what_a_checker_refuses(memory: Memory) -> None:
    with pytest.raises(InvalidKey):
        memory.put(1, "value")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        memory.put("key", "value", 60)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument):
        memory.search(order="created")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        memory.increment("n", "1")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        memory.put("a", 1).value = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        memory.typed(Note).increment("n")  # type: ignore[attr-defined]
    with pytest.raises(agentmem.InvalidValue):
        memory.typed(Note).put("a", "text")  # type: ignore[arg-type]


def test_what_agents_coordinate_by(memory: Memory) -> None:
    assert_type(memory.lease("lock", 1), Lease)
    assert_type(memory.session("talk"), Session)
    assert_type(memory.qtable("orders"), QTable)
    assert_type(memory.fleet("crew"), Fleet)
    assert_type(memory.fleet("crew").register("analyst"), Member)
    assert_type(memory.watch(), Watch)
    memory.put("note", 1)
    assert_type(next(memory.watch("note").look()), Change)
