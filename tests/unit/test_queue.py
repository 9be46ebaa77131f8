"""What the handle of a queue adds to its port: jobs, errors, repetition; R36 to R39 as a whole are the contract's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import agentmem
from agentmem import (
    Ack,
    ConfigurationError,
    CorruptEntry,
    Enqueue,
    InvalidArgument,
    Job,
    LeaseLost,
    Memory,
    OutcomeUnknown,
    Put,
    Queued,
    TypeCodec,
)
from agentmem.queue_port import Exchange
from agentmem.testing.contract.untouchable import untouchable
from agentmem.translate import error_text
from agentmem.ttl import duration_ms
from tests.unit.dict_repository import DictRepository


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return agentmem.connect(repository)


def steps(repository: DictRepository, monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """The exchanges that are made from now on."""
    made: list[Exchange] = []
    exchange = repository.queues.exchange

    def noted(partition: str, step: Exchange) -> Any:
        made.append(step)
        return exchange(partition, step)

    monkeypatch.setattr(repository.queues, "exchange", noted)
    return made


def test_a_backend_without_queues_says_so() -> None:
    with agentmem.connect(untouchable()) as memory:
        queue = memory.queue("jobs")
        for call in (
            queue.claim,
            queue.counts,
            lambda: queue.put(1),
            memory.queues,
            lambda: memory.apply([Enqueue("jobs", 1)]),
        ):
            with pytest.raises(ConfigurationError, match="no work queues"):
                call()


def test_nothing_is_done_before_a_method_is_called(memory: Memory, repository: DictRepository) -> None:
    assert repr(memory.queue("jobs", lease=timedelta(minutes=2))) == "Queue('jobs', partition='default')"
    assert repr(memory.scoped("a/").queue("jobs")) == "Queue('jobs', partition='default')"
    assert not repository.calls


def test_a_job_is_immutable(memory: Memory) -> None:
    queue = memory.queue("jobs")
    queue.put({"n": 1})
    [job] = queue.claim()
    for name in ("id", "fence", "value", "leased_until", "is_lost", "is_settled"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(job, name, 1)
    assert repr(job) == "Job('jobs', id=1, {\"n\":1}, attempts=1)"
    assert job.value is job.value


def test_what_cannot_be_decoded_is_an_error_of_its_value_alone(memory: Memory) -> None:
    with agentmem.connect(agentmem.handle.repository_of(memory), codec=TypeCodec()) as typed:
        memory.queue("jobs").put({"$type": "nothing known", "value": 1})
        [job] = typed.queue("jobs").claim()
        with pytest.raises(CorruptEntry, match="nothing known") as caught:
            _ = job.value
        assert caught.value.key == "jobs#1"
        job.bury(error=caught.value)
        assert "CorruptEntry" in str(memory.queue("jobs").dead()[0].error)


def test_several_items_are_one_exchange(
    memory: Memory, repository: DictRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = memory.queue("jobs", lease=5)
    made = steps(repository, monkeypatch)
    queue.put_many(range(6))
    jobs = queue.claim(4)
    queue.extend(*jobs)
    queue.nack(*jobs[:2], delay=timedelta(milliseconds=5), error="no")
    queue.ack_and_claim(jobs[2:], 2, lease=7)
    assert [(len(step.settles), len(step.puts), step.claim is not None) for step in made] == [
        (0, 6, False), (0, 0, True), (4, 0, False), (2, 0, False), (2, 0, True),
    ]  # fmt: skip
    assert [settle.delay_ms for step in made for settle in step.settles] == [5000] * 4 + [5] * 2 + [0] * 2
    assert [step.claim.lease_ms for step in made if step.claim] == [5000, 7000]


def test_each_claim_has_a_request_id_of_its_own(
    memory: Memory, repository: DictRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = steps(repository, monkeypatch)
    queue = memory.queue("jobs")
    for _ in range(5):
        queue.claim()
    assert len({step.claim.request_id for step in made if step.claim}) == 5


def test_r39_a_reply_that_was_lost_after_the_claim_costs_no_item(
    memory: Memory, repository: DictRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = memory.queue("jobs")
    queue.put_many(range(4))
    exchange, lost = repository.queues.exchange, [True]

    def losing(partition: str, step: Exchange) -> Any:
        done = exchange(partition, step)
        if lost.pop() if lost else False:
            raise OutcomeUnknown("the reply was lost")
        return done

    monkeypatch.setattr(repository.queues, "exchange", losing)
    assert [(job.value, job.attempts) for job in queue.claim(2)] == [(0, 1), (1, 1)]
    assert queue.counts().leased == 2


def test_a_lost_lease_is_told_to_the_jobs_it_concerns(memory: Memory) -> None:
    queue = memory.queue("jobs")
    queue.put_many(range(3))
    jobs = queue.claim(3)
    jobs[1].ack()
    assert [job.is_settled for job in jobs] == [False, True, False]
    with pytest.raises(LeaseLost, match=r"item 2 in the queue 'jobs'") as caught:
        queue.nack(*jobs)
    assert caught.value.items == (2,)
    assert [job.is_lost for job in jobs] == [False, False, False]  # the second is settled, not lost
    queue.purge()
    with pytest.raises(LeaseLost, match="items 1, 3"):
        queue.extend(jobs[0], jobs[2])
    assert [job.is_lost for job in jobs] == [True, False, True]


def test_results_of_a_batch_without_queues_are_as_ever(memory: Memory, repository: DictRepository) -> None:
    assert [result.value.value for result in memory.apply([Put("a", 1), Put("b", 2)])] == [1, 2]
    assert repository.calls["queues"] == 0


def test_a_queue_of_what_was_put_by_name_is_the_same(memory: Memory) -> None:
    [result] = memory.apply([Enqueue("jobs", 1, max_attempts=None)])
    assert result.value == Queued(1, created=True)
    [job] = memory.queue("jobs").claim()
    assert isinstance(job, Job)
    assert job.max_attempts is None
    assert memory.apply([Ack(job)])[0].value is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, None),
        ("a\x00b\ud800", "a\N{REPLACEMENT CHARACTER}b?"),
        ("é" * 4096, "é" * 2048),
        ("x" + "é" * 4096, "x" + "é" * 2047),
        (KeyError("a"), "KeyError: 'a'"),
        (Unspeakable(), "Unspeakable: <its text could not be made: str() failed>"),
    ],
)
def test_an_error_becomes_a_text_that_every_backend_takes(error: object, text: str | None) -> None:
    assert error_text(error) == text


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [(0, 0), (0.0001, 1), (1, 1000), (0.07, 70), (timedelta(microseconds=1), 1), (timedelta(days=1), 86_400_000)],
)
def test_a_length_of_time_is_rounded_up_to_milliseconds(duration: Any, milliseconds: int) -> None:
    assert duration_ms("delay", duration, least_ms=0) == milliseconds


@pytest.mark.parametrize("bad", [-1, -1e-9, True, "1", float("nan"), float("inf"), timedelta(microseconds=-1), None])
def test_a_bad_length_of_time_is_refused_by_its_name(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^delay "):
        duration_ms("delay", bad, least_ms=0)
