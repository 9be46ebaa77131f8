"""What handlers of queue.work return: operations are applied in the step that acks their job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

import agentmem
from agentmem import (
    Ack,
    Check,
    Enqueue,
    Increment,
    InvalidArgument,
    Job,
    Memory,
    OutcomeUnknown,
    Put,
    Queue,
    Unavailable,
)
from tests.unit.dict_repository import DictRepository


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Iterator[Memory]:
    with agentmem.connect(repository) as memory:
        yield memory


@pytest.fixture
def queue(memory: Memory) -> Queue:
    return memory.queue("jobs", lease=60, max_attempts=2)


def yielding(job: Job) -> Iterator[Any]:
    yield Increment("done")
    yield Put(f"results/{job.value}", job.attempts)


async def asynchronous(job: Job) -> None:
    raise AssertionError(f"nothing awaits {job!r}")


def unawaited(job: Job) -> object:
    return asynchronous(job)


async def asynchronously_yielding(job: Job) -> AsyncIterator[Any]:
    yield Increment("done")


RETURNED: dict[str, Callable[[Job], object]] = {
    "a list": lambda job: list(yielding(job)),
    "a tuple": lambda job: tuple(yielding(job)),
    "a generator": yielding,
}


@pytest.mark.parametrize("handler", RETURNED.values(), ids=RETURNED)
def test_operations_are_applied_with_the_ack(
    memory: Memory, queue: Queue, repository: DictRepository, handler: Callable[[Job], object]
) -> None:
    queue.put_many(range(10))
    before = repository.calls["queues"]
    assert queue.work(handler, threads=1, until_empty=True) == 10
    assert repository.calls["queues"] - before <= 2 * 10 + 4
    assert (memory.get("done"), memory.count("results/*"), sum(queue.counts())) == (10, 10, 0)


def test_one_operation_need_not_be_in_a_list(memory: Memory, queue: Queue) -> None:
    queue.put_many(range(3))
    assert queue.work(lambda job: Enqueue("next", job.value), until_empty=True) == 3
    assert memory.queue("next").counts().ready == 3


@pytest.mark.parametrize("returned", [None, 1, "text", [], [1], {"a": 1}, [None]], ids=repr)
def test_anything_else_is_ignored(queue: Queue, returned: object) -> None:
    queue.put(1)
    assert queue.work(lambda job: returned, until_empty=True) == 1
    assert sum(queue.counts()) == 0


#: What is refused, and how it is told.
REFUSED: dict[str, tuple[Callable[[Job], object], str]] = {
    "a check that fails": (lambda job: [Put("a", 1), Check("missing", 1)], "VersionConflict"),
    "something else beside": (lambda job: [Put("a", 1), "text"], "InvalidArgument"),
    "a bad key": (lambda job: [Put("a", 1), Put("", 1)], "InvalidKey"),
    "the ack as well": (lambda job: [Put("a", 1), Ack(job)], "InvalidArgument: a job is settled once"),
    "a generator of something else": (lambda job: (each for each in [Put("a", 1), 2]), "InvalidArgument"),
    "a generator that raises": (lambda job: (1 / each for each in [0]), "ZeroDivisionError"),
    "a coroutine": (unawaited, "InvalidArgument: the handler returned a coroutine"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_a_failure_and_nothing_is_done(
    memory: Memory, queue: Queue, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    handler, told = REFUSED[name]
    queue.put(1)
    assert queue.work(handler, until_empty=True, backoff=0) == 0
    [item] = queue.dead()
    assert (item.error or "").startswith(told)
    assert list(memory.keys()) == []
    assert "the handler failed" in caplog.text


@pytest.mark.parametrize("handler", [None, "review", asynchronous, asynchronously_yielding, partial(asynchronous)])
def test_what_is_no_handler_is_refused_before_anything_is_claimed(queue: Queue, handler: Any) -> None:
    queue.put(1)
    with pytest.raises(InvalidArgument, match=r"^handler must "):
        queue.work(handler, until_empty=True)
    assert [item.attempts for item in queue.peek()] == [0]


def test_operations_come_too_late_for_a_job_that_the_handler_settled(
    memory: Memory, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put(1)

    def handler(job: Job) -> list[Put]:
        job.ack()
        return [Put("a", 1)]

    assert queue.work(handler, until_empty=True) == 0
    assert (sum(queue.counts()), memory.exists("a")) == (0, False)
    assert "would come too late" in caplog.text


def test_operations_of_a_lost_job_are_not_done(memory: Memory, queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.put(1)

    def handler(job: Job) -> list[Put]:
        queue.purge()
        return [Put("a", 1)]

    assert queue.work(handler, until_empty=True) == 1
    assert not memory.exists("a")
    assert "was not settled" in caplog.text


@pytest.mark.parametrize(
    "fault", [(Unavailable("away"), False), (OutcomeUnknown("lost"), False), (OutcomeUnknown("lost"), True)], ids=repr
)
def test_operations_are_done_once_whatever_is_lost(
    memory: Memory, queue: Queue, repository: DictRepository, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    error, is_done = fault
    queue.put_many(range(12))
    exchange = repository.queues.exchange
    count = [0]

    def failing(partition: str, step: Any) -> Any:
        count[0] += 1
        fails = count[0] % 3 == 0
        if is_done or not fails:
            done = exchange(partition, step)
        if fails:
            raise error
        return done

    monkeypatch.setattr(repository.queues, "exchange", failing)
    assert queue.work(yielding, threads=2, until_empty=True) == 12
    assert (memory.get("done"), memory.count("results/*"), sum(queue.counts())) == (12, 12, 0)
