"""R36, R38: threads and processes at one queue; workers that are killed, or stopped for longer than their lease."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from agentmem.errors import LeaseLost
from agentmem.testing.contract.processes import finish, in_a_fork, needs_fork, start
from agentmem.testing.contract.queue_base import QueueContract, drained, one
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory

DRAIN = (
    "from agentmem import Ack, Increment\n"
    "queue = memory.queue('jobs', lease=60)\n"
    "while queue.counts().open:\n"
    "    for job in queue.claim(3, wait=0.2):\n"
    "        memory.apply([Ack(job), Increment(f'done/{job.value}')])\n"
)

#: What a worker has done when it dies, each from the beginning.
STEPS = {
    "after the claim": "",
    "in the middle": "job.extend(lease=1); memory.put(f'begun/{job.value}', 1)\n",
    "before the ack": "memory.put(f'begun/{job.value}', 1); memory.put(f'result/{job.value}', 1)\n",
}
CLAIM_AND_DIE = "job, *others = memory.queue('jobs').claim(2, lease=1)\n{}os.kill(os.getpid(), signal.SIGKILL)\n".format

KEEP_WORKING = (
    "from agentmem import Ack, Increment\n"
    "queue = memory.queue('jobs', lease=0.3)\n"
    "while True:\n"
    "    for job in queue.claim(2, wait=0.2):\n"
    "        memory.apply([Increment(f'done/{job.value}'), Ack(job)])\n"
    "        memory.increment('turns')\n"
)

STOP = (
    "from agentmem import Ack, LeaseLost, Put\n"
    "[job] = memory.queue('jobs').claim(lease=0.5)\n"
    "memory.put('claimed', 1)\n"
    "os.kill(os.getpid(), signal.SIGSTOP)\n"
    "calls = [job.ack, job.nack, job.extend, job.bury, lambda: memory.apply([Put('result', 'late'), Ack(job)])]\n"
    "for call in calls:\n"
    "    try:\n"
    "        call()\n"
    "    except LeaseLost:\n"
    "        continue\n"
    "    sys.exit(3)\n"
    "sys.exit(0 if job.is_lost else 4)\n"
)


class QueueProcesses(QueueContract):
    """Exactly once without faults; with them nothing is lost, and attempts are bounded."""

    def test_r36_threads_get_each_item_exactly_once(self, queue: Queue) -> None:
        queue.put_many(range(300))

        def work(index: int) -> list[int]:
            mine = []
            while jobs := queue.claim(1 + index % 3):
                mine += [job.value for job in jobs]
                queue.ack(*jobs)
            return mine

        assert sorted(value for found in run_threads(8, work) for value in found) == list(range(300))
        assert sum(queue.counts()) == 0

    def test_r36_producers_and_workers_lose_nothing(self, queue: Queue) -> None:
        produced = threading.Event()
        left = [4]

        def work(index: int) -> list[int]:
            if index < 4:
                for n in range(30):
                    queue.put(index * 30 + n, priority=n % 3, group=f"g{n % 5}" if n % 2 else None)
                left[0] -= 1
                if left == [0]:
                    produced.set()
                return []
            mine = []
            jobs = queue.claim(2)
            while jobs or not produced.is_set() or sum(queue.counts()):
                mine += [job.value for job in jobs]
                jobs = queue.ack_and_claim(jobs, 2) or queue.claim(2, wait=0.05)
            return mine

        assert sorted(value for found in run_threads(8, work) for value in found) == list(range(120))

    def test_r36_processes_get_each_item_exactly_once(self, memory: Memory, queue: Queue, url: str) -> None:
        queue.put_many(range(60))
        assert finish([start(url, DRAIN) for _ in range(3)]) == [0] * 3
        assert {entry.key: entry.value for entry in memory.items("done/")} == {f"done/{n}": 1 for n in range(60)}

    def test_r37_a_waiting_process_gets_what_is_put(self, memory: Memory, queue: Queue, url: str) -> None:
        waiting = start(url, "memory.put('up', 1)\nsys.exit(len(memory.queue('jobs').claim(5, wait=60)))\n")
        eventually(lambda: memory.exists("up"), timeout=60)
        queue.put("a")
        assert finish([waiting]) == [1]
        assert queue.counts().leased == 1

    @needs_fork
    def test_r33_a_fork_claims_and_waits_for_itself(self, memory: Memory, queue: Queue, url: str) -> None:
        assert queue.claim(wait=0.05) == []

        def child() -> None:
            queue.put("by the child")
            assert one(queue).value == "by the parent"
            assert queue.claim(wait=0.05)[0].value == "by the child"
            assert queue.claim(wait=0.05) == []

        queue.put("by the parent")
        assert in_a_fork(child) == 0
        assert (queue.claim(wait=0.05), queue.counts().leased) == ([], 2)

    @pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
    def test_r36_a_killed_workers_item_comes_back(self, memory: Memory, queue: Queue, url: str, step: str) -> None:
        queue.put("a")
        queue.put("b", group="g")
        assert finish([start(url, CLAIM_AND_DIE(step))]) == [-signal.SIGKILL]
        eventually(lambda: queue.counts().ready == 2)
        assert [(job.value, job.attempts) for job in queue.claim(5)] == [("a", 2), ("b", 2)]

    def test_r38_workers_that_are_killed_over_and_over(self, memory: Memory, queue: Queue, url: str) -> None:
        mortal = memory.queue("jobs", max_attempts=2)
        mortal.put("poison")
        for _ in range(2):
            assert finish([start(url, CLAIM_AND_DIE(""))]) == [-signal.SIGKILL]
            eventually(lambda: queue.counts().leased == 0)
        assert queue.counts().dead == 1
        assert (queue.claim(), [item.attempts for item in queue.dead()]) == ([], [2])
        assert queue.redrive() == 1
        assert drained(queue) == ["poison"]

    @pytest.mark.slow
    def test_r36_kill_9_at_any_moment_loses_nothing_and_does_nothing_twice(
        self, memory: Memory, queue: Queue, url: str
    ) -> None:
        memory.queue("jobs", max_attempts=None).put_many(range(400))
        for _ in range(4):
            before = memory.get("turns", 0)
            workers = [start(url, KEEP_WORKING) for _ in range(2)]
            eventually(lambda before=before: memory.get("turns", 0) > before + 20, timeout=60)  # type: ignore[misc]
            for worker in workers:
                worker.kill()
            finish(workers)
        assert queue.counts().dead == 0
        eventually(lambda: queue.counts().leased == 0)
        assert finish([start(url, DRAIN)]) == [0]
        assert {entry.value for entry in memory.items("done/")} == {1}
        assert memory.count("done/*") == 400

    @pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this platform cannot stop a process")
    def test_r36_a_worker_stopped_for_longer_than_its_lease(self, memory: Memory, queue: Queue, url: str) -> None:
        queue.put("a")
        worker = start(url, STOP)
        try:
            eventually(lambda: memory.exists("claimed"), timeout=60)
            eventually(lambda: queue.counts().ready == 1)
            job = one(queue)
            before = queue.claim(request_id="none"), queue.counts()
            os.kill(worker.pid, signal.SIGCONT)
            assert finish([worker]) == [0]
        finally:
            worker.kill()
            worker.wait()
        assert (queue.claim(request_id="none"), queue.counts()) == before
        assert not memory.exists("result")
        job.ack()
        with pytest.raises(LeaseLost):
            job.ack()
