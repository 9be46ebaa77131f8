"""Workers share tasks through memory: each is done once, and the one of a dead worker returns.

Run it as `python examples/claims.py [URL]`.
"""

from __future__ import annotations

import sys
import threading
import time

import agentmem
from agentmem import Check, Delete, Increment, Put

TASKS = 24
LEASE_SECONDS = 0.5


def claim(memory: agentmem.Memory, task: agentmem.Entry, worker: str) -> agentmem.Entry | None:
    """Take an open task: it must still be open, and nobody may hold it."""
    name = task.key.removeprefix("open/")
    lease = Put(f"lease/{name}", {"worker": worker}, ttl=LEASE_SECONDS, if_absent=True)
    try:
        return memory.apply([Check(task.key, task.version), lease])[1].entry
    except agentmem.VersionConflict:
        return None


def complete(memory: agentmem.Memory, task: agentmem.Entry, lease: agentmem.Entry, worker: str) -> None:
    """Store the result and close the task; a worker that lost its lease changes nothing."""
    name = task.key.removeprefix("open/")
    try:
        memory.apply(
            [
                Delete(lease.key, if_version=lease.version),
                Delete(task.key),
                Put(f"done/{name}", {"square": task.value**2, "worker": worker}),
                Increment("counters/done"),
            ]
        )
    except agentmem.VersionConflict:
        print(f"{worker} was too late for {name}")


def work(memory: agentmem.Memory, worker: str) -> None:
    """Take and complete tasks until none is open."""
    while open_tasks := memory.search("open/*", limit=TASKS):
        for task in open_tasks:
            lease = claim(memory, task, worker)
            if lease is not None:
                complete(memory, task, lease, worker)
        time.sleep(0.02)


def main(url: str) -> None:
    """Let one worker die with a task in its hands, then let three others work."""
    with agentmem.connect(url, partition="claims", create="always") as memory:
        memory.clear()
        memory.put_many({f"open/task-{number:02d}": number for number in range(TASKS)})
        first = memory.entry("open/task-00")
        assert first is not None
        assert claim(memory, first, "worker-0") is not None
        workers = [threading.Thread(target=work, args=(memory, f"worker-{n}")) for n in (1, 2, 3)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
        assert memory.count("done/*") == memory.get("counters/done") == TASKS
        print(f"each task was done once: {TASKS} results, counter {memory.get('counters/done')}")
        print(f"the dead worker's task was done by {memory.get('done/task-00')['worker']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")
