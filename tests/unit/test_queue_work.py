"""queue.work: graceful stop, back-off, heartbeats, lost leases, a server that is away."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agentmem
from agentmem import Closed, Job, LeaseLost, Memory, OutcomeUnknown, Queue, Unavailable
from agentmem.retry import Backoff
from agentmem.testing.support import eventually
from tests.unit.dict_repository import DictRepository

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Iterator[Memory]:
    with agentmem.connect(repository) as memory:
        before = set(threading.enumerate())
        yield memory
        eventually(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def queue(memory: Memory) -> Queue:
    return memory.queue("jobs", lease=60)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "agentmem")
    return caplog


def started(queue: Queue, handler: Callable[[Job], object], **options: Any) -> tuple[threading.Event, Any]:
    """Work in a thread; the event that stops it, and a function that waits for the end and gives the answer."""
    stop = threading.Event()
    answers: list[Any] = []

    def live() -> None:
        try:
            answers.append(queue.work(handler, stop=stop, **options))
        except BaseException as error:  # noqa: BLE001 - handed on
            answers.append(error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()

    def ended() -> Any:
        thread.join(30)
        assert not thread.is_alive()
        return answers[0]

    return stop, ended


def test_it_works_until_the_queue_is_empty(queue: Queue) -> None:
    queue.put_many(range(50))
    seen: list[int] = []
    assert queue.work(lambda job: seen.append(job.value), until_empty=True) == 50
    assert sorted(seen) == list(range(50))
    assert sum(queue.counts()) == 0


def test_what_a_handler_puts_is_worked_on_too(queue: Queue) -> None:
    queue.put(3)

    def handler(job: Job) -> None:
        for _ in range(2 * (job.value > 0)):
            queue.put(job.value - 1)

    assert queue.work(handler, threads=3, until_empty=True) == 1 + 2 + 4 + 8


def test_as_many_handlers_run_at_once_as_there_are_threads(queue: Queue) -> None:
    queue.put_many(range(8))
    together = threading.Barrier(4)
    assert queue.work(lambda job: together.wait(20), threads=4, until_empty=True) == 8


def test_nothing_is_claimed_that_no_thread_is_free_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Queue.claim
    running, scouting, finished, go_on = (threading.Event() for _ in range(4))

    def handler(job: Job) -> None:
        (running if job.value == "first" else finished).set()
        assert (scouting if job.value == "first" else go_on).wait(20)

    def claim_late(self: Queue, limit: int, **options: Any) -> list[Job]:
        """What a scout asks for two threads comes when the third, which had work, has claimed, too."""
        if limit == 2 and running.is_set() and not scouting.is_set():
            queue.put_many(range(9))
            scouting.set()
            assert finished.wait(20)
        return claim(self, limit, **options)

    monkeypatch.setattr(Queue, "claim", claim_late)
    queue.put("first")
    stop, ended = started(queue, handler, threads=3)
    eventually(lambda: queue.counts().leased >= 3)
    time.sleep(0.2)
    assert tuple(queue.counts()) == (6, 0, 0, 3, 0)
    stop.set()
    go_on.set()
    ended()


def test_an_ack_and_the_next_claim_are_one_round_trip(memory: Memory, repository: DictRepository) -> None:
    queue = memory.queue("jobs")
    queue.put_many(range(40))
    before = repository.calls["queues"]
    queue.work(lambda job: None, threads=1, until_empty=True)
    assert repository.calls["queues"] - before <= 40 + 4


def test_a_job_that_its_handler_settled_costs_one_more_claim_and_nothing_else(
    memory: Memory, repository: DictRepository
) -> None:
    queue = memory.queue("jobs")
    queue.put_many(range(40))
    before = repository.calls["queues"]
    queue.work(Job.ack, threads=1, until_empty=True)
    assert repository.calls["queues"] - before <= 2 * 40 + 4


def test_a_failure_is_logged_kept_and_tried_again_with_a_pause(queue: Queue, quiet: pytest.LogCaptureFixture) -> None:
    queue.put("a")
    calls: list[tuple[int, str | None]] = []

    def handler(job: Job) -> None:
        calls.append((job.attempts, job.error))
        if job.attempts < 3:
            raise LookupError(f"attempt {job.attempts}")

    assert queue.work(handler, until_empty=True, backoff=0.01) == 1
    assert calls == [(1, None), (2, "LookupError: attempt 1"), (3, "LookupError: attempt 2")]
    failures = [record for record in quiet.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in failures if record.exc_info] == ["attempt 1", "attempt 2"]
    assert {record.name for record in failures} == {"agentmem.worker"}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_whatever_is_raised_ends_among_the_dead_letters(memory: Memory, quiet: Any, error: BaseException) -> None:
    queue = memory.queue("jobs", max_attempts=2)
    queue.put("poison")
    queue.put("good")

    def handler(job: Job) -> None:
        if job.value == "poison":
            raise error

    assert queue.work(handler, threads=2, until_empty=True, backoff=0) == 1
    assert [(item.value, item.attempts) for item in queue.dead()] == [("poison", 2)]
    assert type(error).__name__ in str(queue.dead()[0].error)


def test_the_pause_after_a_failure_grows_up_to_a_limit() -> None:
    backoff = Backoff(1.0, 20.0)
    limits = [max(backoff.pause(failures) for _ in range(400)) for failures in range(1, 9)]
    for limit, bound in zip(limits, [1, 2, 4, 8, 16, 20, 20, 20], strict=True):
        assert bound * 0.8 < limit <= bound
    assert min(backoff.pause(5) for _ in range(400)) < 1
    assert backoff.pause(10**9) <= 20
    assert Backoff(0.0, 20.0).pause(7) == 0


@pytest.mark.parametrize("backoff", [1e6, 1e300])
def test_a_failed_item_waits_for_its_pause(queue: Queue, quiet: Any, backoff: float) -> None:
    queue.put("a")
    stop, ended = started(queue, lambda job: 1 / 0, backoff=backoff, longest_backoff=backoff)
    eventually(lambda: queue.counts().delayed == 1)
    stop.set()
    assert ended() == 0


def test_a_handler_may_settle_its_job_with_its_results(memory: Memory, queue: Queue, quiet: Any) -> None:
    queue.put_many(range(20))

    def handler(job: Job) -> None:
        with memory.transaction() as tx:
            tx.put(f"result/{job.value}", job.value)
            tx.enqueue("next", job.value)
            tx.ack(job)
        assert (job.is_settled, job.is_lost) == (True, False)

    assert queue.work(handler, until_empty=True) == 20
    assert (memory.count("result/*"), memory.queue("next").counts().ready) == (20, 20)
    assert quiet.records == []


def test_a_handler_may_nack_or_bury_its_job(queue: Queue, quiet: Any) -> None:
    queue.put_many(["nack", "bury"])

    def handler(job: Job) -> None:
        if job.value == "bury":
            job.bury(error="hopeless")
        elif job.attempts == 1:
            job.nack()

    assert queue.work(handler, until_empty=True) == 3
    assert [item.error for item in queue.dead()] == ["hopeless"]
    assert quiet.records == []


# Heartbeats and leases.


def test_heartbeats_keep_the_lease_of_a_slow_handler(queue: Queue, quiet: Any) -> None:
    queue.put("slow")
    ends = []

    def handler(job: Job) -> None:
        ends.append(job.leased_until)
        time.sleep(1.4)
        ends.append(job.leased_until)
        assert queue.claim() == []

    assert queue.work(handler, lease=1, threads=1, until_empty=True) == 1
    assert ends[1] > ends[0]
    assert quiet.records == []


def test_a_handler_learns_that_its_lease_is_lost(queue: Queue, quiet: pytest.LogCaptureFixture) -> None:
    queue.put("a")
    learned = []

    def handler(job: Job) -> None:
        queue.purge()
        eventually(lambda: job.is_lost)
        with pytest.raises(LeaseLost):
            job.extend()
        learned.append(job.is_lost)

    assert queue.work(handler, lease=0.3, threads=1, until_empty=True) == 1
    assert learned == [True]
    assert "its lease is over" in quiet.text


def test_one_lost_lease_does_not_end_the_heartbeats_of_others(queue: Queue, quiet: Any) -> None:
    queue.put_many(["lost", "kept"])
    lost = threading.Event()

    def handler(job: Job) -> None:
        if job.value == "lost":
            # Settled behind the worker's back.
            copy = Job("jobs", _item(job), lambda body, key: body, place=job._place, settling=queue)
            copy.ack()
            eventually(lambda: job.is_lost)
            lost.set()
        else:
            assert lost.wait(20)
            time.sleep(0.7)
            job.ack()

    assert queue.work(handler, lease=0.9, threads=2, until_empty=True) == 2


def _item(job: Job) -> Any:
    class Copied:
        def __getattr__(self, name: str) -> Any:
            return getattr(job, name, None)

    return Copied()


# Stopping.


@pytest.mark.parametrize("grace", [30, 10**400, 1e300])
def test_a_stop_lets_running_handlers_finish(queue: Queue, grace: float) -> None:
    queue.put_many(range(10))
    running, go_on = threading.Barrier(3), threading.Event()

    def handler(job: Job) -> None:
        running.wait(20)
        assert go_on.wait(20)

    stop, ended = started(queue, handler, threads=2, grace=grace)
    running.wait(20)
    stop.set()
    time.sleep(0.2)
    go_on.set()
    assert ended() == 2
    assert tuple(queue.counts()) == (8, 0, 0, 0, 0)


def test_an_idle_crew_stops_soon(queue: Queue) -> None:
    stop, ended = started(queue, print)
    time.sleep(0.1)
    start = time.monotonic()
    stop.set()
    assert ended() == 0
    assert time.monotonic() - start < 10


def test_a_stop_that_was_set_before_claims_nothing(queue: Queue) -> None:
    queue.put_many(range(50))
    stop = threading.Event()
    stop.set()
    assert queue.work(lambda job: time.sleep(0.05), threads=2, stop=stop) == 0
    assert {item.attempts for item in queue.peek(50)} == {0}
    assert queue.counts().ready == 50


def test_what_was_claimed_and_not_begun_is_given_back(
    memory: Memory, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.put_many(range(4))
    memory.queue("jobs", max_attempts=1).put("last chance", priority=1)
    stop = threading.Event()
    seen: list[object] = []
    claim = Queue.claim

    def stopping(self: Queue, *arguments: Any, **options: Any) -> list[Job]:
        jobs = claim(self, 3, **options)
        stop.set()
        time.sleep(0.5)
        return jobs

    monkeypatch.setattr(Queue, "claim", stopping)
    assert queue.work(lambda job: seen.append(job.value), threads=3, stop=stop) == 1
    assert seen == ["last chance"]
    assert tuple(queue.counts()) == (4, 0, 0, 0, 0)


def test_a_handler_that_does_not_end_is_left_behind(queue: Queue, quiet: pytest.LogCaptureFixture) -> None:
    queue.put("a")
    running, go_on = threading.Event(), threading.Event()

    def handler(job: Job) -> None:
        running.set()
        go_on.wait(30)

    stop, ended = started(queue, handler, grace=0.1)
    assert running.wait(20)
    stop.set()
    assert ended() == 0
    assert "left behind" in quiet.text
    assert queue.counts().leased == 1
    go_on.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("agentmem-worker")])
    assert queue.counts().leased == 1


INTERRUPTED = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import agentmem
from tests.unit.dict_repository import DictRepository
queue = agentmem.connect(DictRepository()).queue("jobs")
queue.put_many(range(9))
def handler(job):
    os.write(1, b"running\\n")
    time.sleep(0.5)
    os.write(1, b"finished\\n")
try:
    queue.work(handler, threads=2)
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), tuple(queue.counts()), flush=True)
"""


def test_ctrl_c_is_a_stop_in_good_order() -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["running\n"] * 2
        process.send_signal(signal.SIGINT)
        lines = process.communicate(timeout=60)[0].splitlines()
    assert lines == ["finished", "finished", "interrupted 1 (7, 0, 0, 0, 0)"]


# Errors.


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("lost")], ids=repr)
def test_a_server_that_is_away_is_waited_for(
    queue: Queue, repository: DictRepository, quiet: pytest.LogCaptureFixture, error: Exception
) -> None:
    queue.put_many(range(6))
    seen: list[int] = []

    def handler(job: Job) -> None:
        seen.append(job.value)
        if job.value % 2:
            repository.fail(3, error)

    assert queue.work(handler, threads=1, until_empty=True) == 6
    assert seen == list(range(6))
    assert "trying again" in quiet.text


def test_a_reply_that_is_lost_has_no_double_effect(
    queue: Queue, repository: DictRepository, monkeypatch: pytest.MonkeyPatch, quiet: Any
) -> None:
    queue.put_many(range(30))
    exchange = repository.queues.exchange
    count = [0]

    def losing(partition: str, step: Any) -> Any:
        done = exchange(partition, step)
        count[0] += 1
        if count[0] % 3 == 0:
            raise OutcomeUnknown("the reply was lost")
        return done

    monkeypatch.setattr(repository.queues, "exchange", losing)
    seen: list[int] = []
    assert queue.work(lambda job: seen.append(job.value), threads=3, until_empty=True) == 30
    assert sorted(seen) == list(range(30))
    assert sum(queue.counts()) == 0


@pytest.mark.parametrize("error", [Closed("closed"), Unavailable("for good", retryable=False)], ids=repr)
def test_what_is_no_matter_of_waiting_ends_the_work(queue: Queue, repository: DictRepository, error: Exception) -> None:
    queue.put_many(range(6))
    with pytest.raises(type(error)):
        queue.work(lambda job: repository.fail(9, error), threads=2, until_empty=True)
