"""What the parts about queues share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.testing.contract.base import Contract
from agentmem.testing.support import SHORT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.coordination.queue import Queue
    from agentmem.jobs import Job
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class QueueContract(Contract):
    """The base of every part about queues: use `queue` in tests, and `memory` for the handle that it is of."""

    @pytest.fixture
    def queue(self, harness: Harness, memory: Memory) -> Iterator[Queue]:
        """An empty queue; the books of the store must be in order after the test."""
        if not harness.queues:
            pytest.skip("this backend has no work queues")
        yield memory.queue("jobs", lease=3600)
        assert memory.check() == []


def one(queue: Queue) -> Job:
    """Claim what must be there."""
    [job] = queue.claim()
    return job


def lapse(queue: Queue, limit: int = 1) -> list[Job]:
    """Claim items, and return when their leases have ended."""
    before = queue.counts().leased
    jobs = queue.claim(limit, lease=SHORT)
    eventually(lambda: queue.counts().leased <= before)
    return jobs


def values(jobs: list[Job]) -> list[object]:
    """What was put, in the order of the claim."""
    return [job.value for job in jobs]


def drained(queue: Queue) -> list[object]:
    """Claim and ack one by one until nothing is ready; the values in that order."""
    found: list[object] = []
    while jobs := queue.claim():
        found += values(jobs)
        queue.ack(*jobs)
    return found
