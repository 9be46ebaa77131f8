"""Work queues with leases: what producers and workers hold. `memory.queue(name)` gives one."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from agentmem import arguments, translate
from agentmem.coordination.queue_care import MAX_LIMIT, QueueCare
from agentmem.errors import InvalidArgument, OutcomeUnknown, PoolTimeout, Unavailable
from agentmem.jobs import Job, Queued, losing, settling
from agentmem.keys import validate_name
from agentmem.queue_port import Claim, Exchange, Item, Settle, Verb
from agentmem.retry import Backoff
from agentmem.ttl import MAX_TTL_MS, Duration, duration_ms


class Queue(QueueCare):
    """A queue of JSON values: put, claim under a lease, ack; in one partition, under one name.

    A queue is there when something is put into it. Every method is one atomic step of the server, safe from any number
    of threads and processes, and returns when its effect is as durable as the backend was configured to be (R17). The
    server's clock decides (R21). An item is delivered at least once, and exactly once as long as no worker dies, loses
    its lease or misses an error; with the results in the same step as the ack (`memory.apply`, `memory.transaction`)
    they appear exactly once whatever happens.

    Besides what each method lists, all may raise Unavailable, Closed, and ConfigurationError where the backend has no
    work queues; those that change something OutcomeUnknown.

    Attributes:
        name: relative to the handle.
        lease_ms: how long a claim lasts unless it says otherwise.
        max_attempts: after so many claims an item that is put here is dead; None for any number.
    """

    # Producers.

    def put(
        self,
        value: Any,
        *,
        delay: Duration = 0,
        priority: int = 0,
        dedup_key: str | None = None,
        group: str | None = None,
    ) -> Queued:
        """Put a value into the queue.

        Args:
            value: JSON, as in `memory.put`.
            delay: seconds or a timedelta; so long nobody can claim it.
            priority: higher ones are claimed first; -1,000 to 1,000.
            dedup_key: while an item of this key is in the queue and not dead, putting another one does nothing. Text of
                1 to 1,024 bytes.
            group: the items of a group are worked on one after the other, in the order in which they were put, whatever
                their priorities. Text of 1 to 1,024 bytes.

        Returns:
            The id of the item that is in the queue now, and whether it is this one.

        Raises:
            InvalidValue, ValueTooLarge, InvalidKey, InvalidArgument: refused before any I/O.
        """
        return self.put_many([value], delay=delay, priority=priority, dedup_key=dedup_key, group=group)[0]

    def put_many(
        self,
        values: Iterable[Any],
        *,
        delay: Duration = 0,
        priority: int = 0,
        dedup_key: str | None = None,
        group: str | None = None,
    ) -> list[Queued]:
        """Put several values into the queue in one atomic step, as `put` does; any number of them.

        With a `dedup_key` only the first can go in.
        """
        puts = [
            translate.enqueue(
                self._scope,
                self.name,
                value,
                delay=delay,
                priority=priority,
                dedup_key=dedup_key,
                group=group,
                max_attempts=self.max_attempts,
            )
            for value in arguments.several("values", values)
        ]
        if not puts:
            self._gateway.check_open()
            return []
        return [Queued(*put) for put in self._gateway.exchange(Exchange(puts=puts)).puts]

    # Workers.

    def claim(
        self,
        limit: int = 1,
        *,
        lease: Duration | None = None,
        request_id: str | None = None,
        wait: float = 0.0,
    ) -> list[Job]:
        """Lease items that are ready: the highest priority first, then the oldest.

        The claim counts as an attempt: so an item that kills its workers ends among the dead letters. When the lease
        ends without an ack the item can be claimed by others, or is dead when its attempts are used up.

        When the server's reply is lost the claim is repeated once, with the same request id, so that nothing stays
        leased that nobody knows of (R18).

        Args:
            limit: how many at most; up to 1,000.
            lease: how long they are nobody else's; left out, the queue's.
            request_id: while any item is leased by an earlier claim of this id, those are given again, with the same
                fences and ends, and no others. Left out, a new one. Text of 1 to 1,024 bytes.
            wait: so many seconds to wait for an item, without polling.

        Returns:
            The jobs, in the order of the claim; none if nothing was ready in time.

        Raises:
            InvalidArgument, InvalidKey: refused before any I/O.
        """
        claim = self._claim(limit, lease, request_id)
        deadline = time.monotonic() + _seconds("wait", wait)
        while True:
            jobs = self._jobs(_twice(lambda: self._gateway.exchange(Exchange(claim=claim)).items))
            left = deadline - time.monotonic()
            if jobs or left <= 0:
                return jobs
            self._gateway.call(self._gateway.queues.wait, self._scope.partition, self._path, left)

    def ack(self, *jobs: Job) -> None:
        """Remove claimed items: they are done.

        After OutcomeUnknown it may be repeated: it raises LeaseLost if the first one was applied.

        Raises:
            LeaseLost: the lease of one or more ended or went to another holder; `items` has their ids. Nothing was
                changed.
            InvalidArgument: no job, one of another queue, or the same one twice.
        """
        self._settle("ack", jobs)

    def nack(self, *jobs: Job, delay: Duration = 0, error: object = None) -> None:
        """Give claimed items back; one whose attempts are used up is dead.

        Args:
            jobs: any number of them.
            delay: seconds or a timedelta; so long nobody can claim them.
            error: an exception or a text; what is left of it after 4,096 bytes is kept with the items, for people.

        Raises:
            LeaseLost, InvalidArgument: as `ack`.
        """
        self._settle("nack", jobs, delay_ms=duration_ms("delay", delay, least_ms=0), error=error)

    def bury(self, *jobs: Job, error: object = None) -> None:
        """Make claimed items dead: no attempt would help. Arguments and errors as `nack`."""
        self._settle("bury", jobs, error=error)

    def extend(self, *jobs: Job, lease: Duration | None = None) -> None:
        """Let the leases of claimed items end later; or sooner, for they count from now.

        Args:
            jobs: any number of them; they know the new end afterwards.
            lease: how long from now; left out, the queue's.

        Raises:
            LeaseLost, InvalidArgument: as `ack`.
        """
        settles = self._settles("extend", jobs, delay_ms=self._lease_ms(lease))
        with losing(jobs):
            ends = self._gateway.exchange(Exchange(settles)).ends if settles else []
        for job, end in zip(jobs, ends, strict=True):
            job._set("leased_until", end)

    def ack_and_claim(
        self,
        jobs: Iterable[Job],
        limit: int = 1,
        *,
        lease: Duration | None = None,
        request_id: str | None = None,
    ) -> list[Job]:
        """Ack some jobs and claim others in one atomic step and one round trip. Does not wait.

        After OutcomeUnknown `ack` the jobs and `claim` with the same request id: LeaseLost of the first says that this
        call was applied, and the second then gives what it claimed.

        Raises:
            LeaseLost: as `ack`; nothing was claimed either.
            InvalidArgument, InvalidKey: as `ack` and `claim`.
        """
        done = arguments.several("jobs", jobs)
        step = Exchange(self._settles("ack", done), claim=self._claim(limit, lease, request_id))
        with settling(done):
            items = self._gateway.exchange(step).items
        return self._jobs(items)

    def work(
        self,
        handler: Callable[[Job], object],
        *,
        threads: int = 4,
        lease: Duration | None = None,
        stop: threading.Event | None = None,
        until_empty: bool = False,
        backoff: float = 1.0,
        longest_backoff: float = 300.0,
        grace: float = 30.0,
    ) -> int:
        """Work on the queue in threads until told to stop: claim, run the handler, ack. Blocks.

        A handler that returns has done its job, which is acked, unless the handler settled it itself, as part of a
        transaction with its results. Operations that it returns (agentmem.operations: one, a list, a tuple, or what a
        generator yields) are applied together with the ack in one atomic step, so its results are there exactly once
        whatever happens; where they are refused, by a failed check for instance, the handler has failed. So has a
        handler that returns what would have to be awaited. Anything else that it returns is ignored.

        One that raises has failed: the job is nacked with a growing pause, or dead when its attempts are used up, the
        error is logged under `agentmem` and kept with the item. While handlers run a thread extends their leases at
        every third of their length. Where a lease is lost nevertheless, `job.is_lost` says so, and what the handler
        then does about the job is refused.

        A server that is away for a while is waited for. No claims are made once `stop` is set or Ctrl-C pressed, what
        was claimed and not begun is given back, and handlers that run may finish.

        Args:
            handler: called with each Job, from several threads at once; no `async def`.
            threads: how many handlers run at the same time.
            lease: how long a job of a worker that died stays with it; left out, the queue's.
            stop: set it, from a signal handler or another thread, to end the work; looked at ten times a second.
            until_empty: return when the queue holds nothing but dead items. What is delayed, or leased by others, is
                waited for.
            backoff: the longest pause after the first failure of an item, in seconds; doubles with each further one.
                The pause is drawn evenly from zero up to it.
            longest_backoff: where the doubling ends.
            grace: so many seconds running handlers have after a stop. What still runs then is left behind in a daemon
                thread, its lease extended no more; otherwise no thread outlives the call.

        Returns:
            How many handlers returned.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, after the stop in good order; a second one ends the grace.
            AgentMemError: what is no matter of waiting, such as Closed; after a stop in good order.
            InvalidArgument: refused before any I/O.
        """
        from agentmem.coordination.handling import handler_of
        from agentmem.coordination.worker import Crew

        crew = Crew(
            self,
            handler_of(handler),
            threads=arguments.whole("threads", threads, most=MAX_LIMIT),
            lease=timedelta(milliseconds=self._lease_ms(lease)),
            until_empty=arguments.flag("until_empty", until_empty),
            backoff=Backoff(_seconds("backoff", backoff), _seconds("longest_backoff", longest_backoff)),
        )
        self._gateway.check_open()
        return crew.work(stop, _seconds("grace", grace))

    # The way to the port.

    def _lease_ms(self, lease: Duration | None) -> int:
        return self.lease_ms if lease is None else duration_ms("lease", lease)

    def _claim(self, limit: int, lease: Duration | None, request_id: str | None) -> Claim:
        chosen = uuid.uuid4().hex if request_id is None else validate_name(request_id, "request id")
        return Claim(self._path, arguments.whole("limit", limit, most=MAX_LIMIT), self._lease_ms(lease), chosen)

    def _jobs(self, items: Iterable[Item]) -> list[Job]:
        place = (self._scope.partition, self._path)
        return [Job(self.name, item, self._scope.decode, place=place, settling=self) for item in items]

    def _settles(self, verb: Verb, jobs: Iterable[Job], *, delay_ms: int = 0, error: object = None) -> list[Settle]:
        settles = []
        for job in jobs:
            settles.append(translate.settle(self._scope, job, verb, delay_ms=delay_ms, error=error))
            if settles[-1].queue != self._path:
                raise InvalidArgument(f"job {job.id} is of the queue {job.queue!r}, not of {self.name!r}")
        return settles

    def _settle(self, verb: Verb, jobs: tuple[Job, ...], *, delay_ms: int = 0, error: object = None) -> None:
        settles = self._settles(verb, jobs, delay_ms=delay_ms, error=error)
        if not settles:
            self._gateway.check_open()
            return
        with settling(jobs):
            self._gateway.exchange(Exchange(settles))


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidArgument(f"{name} must be a number of seconds of at least 0, not {value!r}")
    return float(min(value, MAX_TTL_MS / 1000))  # no delay may be longer, and no thread could wait for much longer


def _twice(claim: Callable[[], list[Item]]) -> list[Item]:
    """Claim, and once more when it is unknown what became of it: the request id makes the second harmless."""
    try:
        return claim()
    except PoolTimeout:
        # Nothing was sent, and the wait for a connection has been long enough.
        raise
    except (OutcomeUnknown, Unavailable) as error:
        if isinstance(error, Unavailable) and not error.retryable:
            raise
    return claim()
