"""Threads that work on a queue: `queue.work(handler)`.

Idle threads take turns, as in Schmidt and others, "Leader/Followers", 2000: one of them at a time, the scout, asks the
server for as many items as there are idle threads, and waits there; the others wait for it. A thread that has finished
an item acks it and claims the next in one round trip. So nothing is claimed that no thread is free for.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from agentmem.coordination.handling import step_of
from agentmem.errors import AgentMemError, LeaseLost, OutcomeUnknown, Unavailable
from agentmem.retry import AWAY, Backoff

if TYPE_CHECKING:
    from datetime import timedelta

    from agentmem.coordination.queue import Queue
    from agentmem.jobs import Job

T = TypeVar("T")

logger = logging.getLogger("agentmem.worker")

_LOOK_SECONDS: Final = 0.1
"""How often the calling thread looks at `stop`."""
_WAIT_SECONDS: Final = 1.0
"""How long a scout waits at the server before it looks whether to stop."""
_SHORT_WAIT_SECONDS: Final = 0.2
"""The same where it has to find out whether the queue is empty."""


class Crew:
    """The threads of one call of `work`, and what they share.

    Args:
        queue: where the work is.
        handler: what to do with a job.
        threads: how many handlers run at the same time.
        lease: of claims and heartbeats.
        until_empty: whether to end when nothing is left but dead items.
        backoff: for items whose handler raised.
    """

    def __init__(
        self,
        queue: Queue,
        handler: Callable[[Job], object],
        *,
        threads: int,
        lease: timedelta,
        until_empty: bool,
        backoff: Backoff,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._lease = lease
        self._until_empty = until_empty
        self._backoff = backoff
        self._turn = threading.Condition()
        self._jobs: deque[Job] = deque()  # claimed, and not begun
        self._held: set[Job] = set()  # claimed, and not settled
        self._idle = 0
        self._promised = 0  # idle threads that claims under way are for
        self._is_scouting = False
        self._returned = 0
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._ends = [threading.Event() for _ in range(threads)]

    def work(self, stop: threading.Event | None, grace_seconds: float) -> int:
        """Run the threads until they end or are told to; see Queue.work."""
        if stop is not None and stop.is_set():
            return 0
        threads = [
            threading.Thread(target=self._live, args=(end,), name=f"agentmem-worker-{number}", daemon=True)
            for number, end in enumerate(self._ends, 1)
        ]
        heart = threading.Thread(target=self._beat, name="agentmem-heartbeat", daemon=True)
        try:
            for thread in (heart, *threads):
                thread.start()
            self._watch(stop)
        finally:
            self._stop()
            self._leave(threads, heart, grace_seconds)
        if self._failures:
            raise self._failures[0]
        return self._returned

    # The calling thread.

    def _watch(self, stop: threading.Event | None) -> None:
        # Not a join with a time-out: interrupted there, CPython 3.11 takes the thread for ended (python/cpython#90882).
        for end in self._ends:
            while not end.wait(_LOOK_SECONDS):
                if stop is not None and stop.is_set():
                    return

    def _stop(self) -> None:
        self._stopping.set()
        with self._turn:
            self._turn.notify_all()

    def _leave(self, threads: list[threading.Thread], heart: threading.Thread, grace_seconds: float) -> None:
        started = [(thread, end) for thread, end in zip(threads, self._ends, strict=True) if thread.ident is not None]
        deadline = time.monotonic() + grace_seconds
        try:
            for _, end in started:
                end.wait(max(0.0, deadline - time.monotonic()))
        finally:
            self._abandoned.set()
        for thread, end in started:
            if end.is_set():
                thread.join()
        if heart.ident is not None:
            heart.join()
        left = sum(not end.is_set() for _, end in started)
        if left:
            logger.warning("%d handlers still run after %s s and are left behind", left, grace_seconds)

    # The workers.

    def _live(self, end: threading.Event) -> None:
        try:
            job = self._next()
            while job is not None:
                job = self._after(job) if self._run(job) else self._next()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._fail(error)
        finally:
            end.set()

    def _fail(self, error: BaseException) -> None:
        if not self._abandoned.is_set():
            self._failures.append(error)
        self._stop()

    def _run(self, job: Job) -> bool:
        """Run the handler, and do what it returns; tell whether the job is still to be acked."""
        try:
            step = step_of(self._handler(job), job, self._queue._gateway)
            if step is not None:
                self._settle(job, step)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its job's failure
            self._has_failed(job, error)
            return False
        with self._turn:
            self._returned += 1
        if step is None and not job.is_settled:
            return True
        self._let_go(job)
        return False

    def _has_failed(self, job: Job, error: BaseException) -> None:
        logger.error("the handler failed at %r", job, exc_info=error)
        if not job.is_settled:
            self._settle(job, lambda: job.nack(delay=self._backoff.pause(job.attempts), error=error))
        self._let_go(job)

    def _after(self, done: Job) -> Job | None:
        """Ack a job, and get the next."""
        with self._turn:
            limit = 0 if self._jobs or self._stopping.is_set() else self._free()
        if not limit:
            self._settle(done, done.ack)
            self._let_go(done)
        else:
            self._hand_out(self._exchange(done, limit), limit, done)
        return self._next()

    def _exchange(self, done: Job, limit: int) -> list[Job]:
        """Ack and claim in one round trip, or where that goes wrong one after the other."""
        request_id = uuid.uuid4().hex
        try:
            return self._queue.ack_and_claim([done], limit, lease=self._lease, request_id=request_id)
        except (Unavailable, OutcomeUnknown, LeaseLost) as error:
            if isinstance(error, LeaseLost):
                self._log_lost(done)
            else:
                self._settle(done, done.ack)
        return self._claim(limit, request_id)

    def _next(self) -> Job | None:
        """Wait for a job to begin; None for the end."""
        while True:
            with self._turn:
                self._idle += 1
                while self._is_provided_for() and not self._jobs and not self._stopping.is_set():
                    self._turn.wait()
                self._idle -= 1
                job = self._jobs.popleft() if self._jobs else None
                if job is None and self._stopping.is_set():
                    return None
                self._is_scouting = self._is_scouting or job is None
                limit = 0 if job else self._free()
            if job is None:
                self._scout(limit)
            elif not self._stopping.is_set() or job.attempts == job.max_attempts:
                # After a stop nothing is begun, but given back on its last attempt it would be dead.
                return job
            else:
                self._settle(job, job.nack)
                self._let_go(job)

    def _scout(self, limit: int) -> None:
        jobs: list[Job] = []
        try:
            jobs = self._claim(limit, uuid.uuid4().hex, 0.0 if self._until_empty else _WAIT_SECONDS)
            if self._until_empty and not jobs:
                jobs = self._claim_or_end(limit)
        finally:
            with self._turn:
                self._is_scouting = False
            self._hand_out(jobs, limit)

    def _claim_or_end(self, limit: int) -> list[Job]:
        """Nothing can be claimed now: end where nothing else is left, or wait for it."""
        if not self._persist(lambda: self._queue.counts().open > 0, default=True):
            self._stop()  # after which nothing is claimed
        return self._claim(limit, uuid.uuid4().hex, _SHORT_WAIT_SECONDS)

    # Where one thread finishes while another scouts, both would claim for all who are idle, and what is too much would
    # wait here, behind slow handlers, while other processes have nothing to do. So a claim under way is for certain
    # idle threads, and no other claim is for them.

    def _is_provided_for(self) -> bool:
        """Whether an idle thread need not scout."""
        return self._is_scouting or self._idle <= self._promised

    def _free(self) -> int:
        """How many to claim: one for the calling thread, and the others that nothing is claimed for; they are now."""
        others = max(0, self._idle - self._promised)
        self._promised += others
        return 1 + others

    def _hand_out(self, jobs: list[Job], limit: int, done: Job | None = None) -> None:
        with self._turn:
            self._promised -= limit - 1
            self._held.difference_update([done] if done else [])
            self._held.update(jobs)
            self._jobs.extend(jobs)
            self._turn.notify_all()

    def _let_go(self, job: Job) -> None:
        with self._turn:
            self._held.discard(job)

    # Calls that a server which is away for a while only delays.

    def _claim(self, limit: int, request_id: str, wait: float = 0.0) -> list[Job]:
        return self._persist(
            lambda: self._queue.claim(limit, lease=self._lease, request_id=request_id, wait=wait), default=[]
        )

    def _persist(self, call: Callable[[], T], default: T) -> T:
        """Call until there is an answer; `default` after a stop."""
        failures = 0
        while not self._stopping.is_set():
            try:
                return call()
            except (Unavailable, OutcomeUnknown) as error:
                failures += 1
                self._pause(failures, error, self._stopping)
        return default

    def _settle(self, job: Job, call: Callable[[], None]) -> None:
        """Settle a job; a lease that is lost is only logged, for the item is somebody else's then, or will be."""
        failures = 0
        while not job.is_lost and not self._abandoned.is_set():
            try:
                return call()
            except LeaseLost:
                break
            except (Unavailable, OutcomeUnknown) as error:
                failures += 1
                self._pause(failures, error, self._abandoned)
        self._log_lost(job)
        return None

    def _pause(self, failures: int, error: Unavailable | OutcomeUnknown, end: threading.Event) -> None:
        if isinstance(error, Unavailable) and not error.retryable:
            raise error
        logger.warning("the queue %r does not answer, trying again: %s", self._queue.name, error)
        end.wait(AWAY.pause(failures))

    def _log_lost(self, job: Job) -> None:
        logger.warning("%r was not settled, or by a call whose reply was lost: its lease is over", job)

    # The heartbeat.

    def _beat(self) -> None:
        third = self._lease.total_seconds() / 3
        pause = third
        try:
            while not self._abandoned.wait(pause):
                pause = third if self._extend() else min(third, 0.1 + AWAY.pause(1))
        except AgentMemError as error:
            self._fail(error)

    def _extend(self) -> bool:
        """Extend the leases of all jobs in hand; False where the server does not answer."""
        with self._turn:
            jobs = [job for job in self._held if not job.is_settled and not job.is_lost]
        while jobs:
            try:
                self._queue.extend(*jobs, lease=self._lease)
                return True
            except LeaseLost as error:
                jobs = [job for job in jobs if job.id not in error.items]
            except (Unavailable, OutcomeUnknown) as error:
                logger.warning("the leases of %d jobs were not extended, trying again: %s", len(jobs), error)
                return False
        return True
