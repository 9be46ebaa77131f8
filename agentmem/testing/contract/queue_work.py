"""R36, R38: `queue.work` on the real thing; its every corner is tested above the waist."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from agentmem.handle import repository_of
from agentmem.operations import Enqueue, Increment, Operation, Put
from agentmem.queue_port import Exchange, Settle
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.contract.queue_base import QueueContract
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.jobs import Job
    from agentmem.memory import Memory

WORK = (
    "import time\n"
    "queue = memory.queue('jobs', lease=1)\n"
    "def handle(job):\n"
    "    time.sleep(0.02)\n"
    "    with memory.transaction() as tx:\n"
    "        tx.increment(f'done/{job.value}')\n"
    "        tx.ack(job)\n"
    "    memory.increment('turns')\n"
    "queue.work(handle, threads=3, until_empty=True)\n"
)


class QueueWork(QueueContract):
    """Crews of threads."""

    def test_r36_a_crew_does_each_item_once(self, memory: Memory, queue: Queue) -> None:
        for n in range(120):
            queue.put(n, group=f"g{n % 7}" if n % 3 else None, priority=n % 2)

        def handle(job: Job) -> None:
            memory.increment(f"done/{job.value}")

        assert queue.work(handle, threads=6, until_empty=True) == 120
        assert [entry.value for entry in memory.items("done/")] == [1] * 120
        assert sum(queue.counts()) == 0

    def test_r36_what_a_handler_returns_is_done_with_the_ack(self, memory: Memory, queue: Queue) -> None:
        """Both or neither, also where the lease was lost meanwhile, or another queue is named."""
        queue.put_many(range(30))
        done = memory.queue("done")

        def handle(job: Job) -> list[Operation]:
            if job.value == 7 and job.attempts == 1:
                repository_of(memory).queues.exchange("default", Exchange([Settle("jobs", job.id, job.fence, "nack")]))
            return [Increment("count"), Enqueue("done", job.value), Put(f"results/{job.value}", job.attempts)]

        assert queue.work(handle, threads=4, until_empty=True) == 31
        assert (memory.get("count"), memory.get("results/7"), done.counts().ready) == (30, 2, 30)
        assert sum(queue.counts()) == 0

    def test_r36_several_crews_share_the_work(self, memory: Memory, queue: Queue) -> None:
        queue.put_many(range(90))

        def crew(index: int) -> int:
            return queue.work(lambda job: memory.increment(f"done/{job.value}"), threads=2, until_empty=True)

        assert sum(run_threads(3, crew)) == 90
        assert {entry.value for entry in memory.items("done/")} == {1}

    def test_r36_heartbeats_keep_the_leases_of_slow_handlers(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=1).put_many(range(4))

        def handle(job: Job) -> None:
            end = job.leased_until
            eventually(lambda: repository_of(memory).server_time() > end)
            assert not job.is_lost

        assert queue.work(handle, lease=1, threads=4, until_empty=True) == 4
        assert queue.counts().dead == 0

    def test_r38_a_crew_tries_again_and_gives_up(
        self, memory: Memory, queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        memory.queue("jobs", max_attempts=3).put_many(range(6))
        tried = []

        def handle(job: Job) -> None:
            tried.append(job.value)
            if job.value % 2:
                raise LookupError(job.value)

        assert queue.work(handle, threads=3, until_empty=True, backoff=0.02) == 3
        assert sorted(tried) == [0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5]
        assert [(item.value, item.error) for item in queue.dead()] == [(n, f"LookupError: {n}") for n in (1, 3, 5)]
        caplog.clear()

    def test_r36_a_crew_that_waits_gets_what_is_put_and_stops_when_told(self, queue: Queue) -> None:
        stop = threading.Event()
        seen: list[int] = []

        def work(index: int) -> int:
            if index:
                return queue.work(lambda job: seen.append(job.value), threads=2, stop=stop)
            for n in range(10):
                queue.put(n)
                time.sleep(0.01)
            eventually(lambda: len(seen) == 10)
            stop.set()
            return 0

        assert run_threads(2, work) == [0, 10]
        assert sorted(seen) == list(range(10))

    def test_r36_a_crew_that_is_killed_leaves_its_work_to_others(self, memory: Memory, queue: Queue, url: str) -> None:
        memory.queue("jobs", max_attempts=3).put_many(range(150))
        crews = [start(url, WORK) for _ in range(2)]
        eventually(lambda: memory.get("turns", 0) > 10, timeout=60)
        crews[0].kill()
        assert finish(crews)[1] == 0
        assert [entry.value for entry in memory.items("done/")] == [1] * 150
        assert sum(queue.counts()) == 0
