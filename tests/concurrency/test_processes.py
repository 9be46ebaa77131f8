"""Many processes on one database: exact counts, whole batches after a kill, one schema from eight beginnings."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from agentmem.memory import Memory

PROCESSES = 8


def test_eight_processes_count_to_1600(crew: Any, url: str, memory: Memory) -> None:
    """And of eight that put if absent, one does."""
    script = """
won = 0
with agentmem.connect(url) as m:
    for n in range(200):
        m.increment("counter")
        if n % 10 == 0:
            try:
                m.put(f"lock/{n}", index, if_absent=True)
                won += 1
            except agentmem.VersionConflict as conflict:
                assert conflict.current.value != index
said.put(won)
"""
    assert sum(crew.run(PROCESSES, script, url=url)) == 20
    assert memory.get("counter") == PROCESSES * 200
    assert memory.count("lock/*") == 20
    assert memory.check() == []


def test_processes_of_threads_lose_no_update(crew: Any, url: str, memory: Memory) -> None:
    """Three ways to count, by threads of several processes, on keys that they share."""
    script = """
with agentmem.connect(url) as m:
    def work(thread):
        for n in range(5):
            m.update("updated", lambda value: value + 1, default=0, attempts=1000)
            m.append("list", [index, thread, n])
            m.merge("object", {f"{index}/{thread}/{n}": True})
    run_threads(4, work)
"""
    crew.run(3, script, url=url)
    assert memory.get("updated") == 60
    assert len({tuple(item) for item in memory.get("list")}) == len(memory.get("list")) == 60
    assert len(memory.get("object")) == 60


def test_eight_processes_use_a_fresh_file_first(crew: Any, sqlite_url: str) -> None:
    """pitfall: one of eight got through where each makes the schema for itself (`database is locked`)."""
    script = """
with agentmem.connect(url) as m:
    m.increment("counter")
    m.put(f"process/{index}", index)
"""
    crew.run(PROCESSES, script, url=sqlite_url)
    with agentmem.connect(sqlite_url) as memory:
        assert memory.get("counter") == PROCESSES
        assert memory.count("process/*") == PROCESSES
        assert memory.check() == []


@pytest.mark.fault
def test_kill_9_in_the_middle_of_batches_leaves_whole_batches(crew: Any, url: str, memory: Memory) -> None:
    """Batches of three kinds, each of which marks its entries with its number (R15)."""
    script = """
m = agentmem.connect(url)
batch = 0
while True:
    batch += 1
    m.put_many({f"{index}/put/{batch:05}/{n:03}": batch for n in range(200)})
    puts = [agentmem.Put(f"{index}/apply/{batch:05}/{n:03}", batch) for n in range(100)]
    m.apply(puts + [agentmem.Increment(f"{index}/count/{n:03}") for n in range(100)])
    m.put_many({f"{index}/copy/{batch:05}/{n:05}": batch for n in range(5_500)})
"""
    writers = crew.start(2, script, url=url)
    for index, writer in enumerate(writers):
        eventually(partial(memory.count, f"{index}/apply/00002/*"), timeout=60)
        time.sleep(0.07 * (index + 1))
        crew.kill(writer)
    for index in range(2):
        for kind, size in (("put", 200), ("apply", 100), ("copy", 5_500)):
            assert_whole(memory, f"{index}/{kind}/", size)
        counts = {entry.value for entry in memory.items(f"{index}/count/")}
        assert counts == {len(memory.children(f"{index}/apply/"))}
    assert memory.check() == []
    memory.put_many({"0/put/00001/000": 0, "1/put/00001/000": 0})


def assert_whole(memory: Memory, prefix: str, size: int) -> None:
    batches = memory.children(prefix)
    assert [int(batch.removeprefix(prefix)[:-1]) for batch in batches] == list(range(1, len(batches) + 1))
    assert {memory.count(batch + "*") for batch in batches} == {size}


@pytest.mark.fault
def test_a_writer_that_is_killed_holds_up_nobody(crew: Any, url: str, memory: Memory) -> None:
    """A lock dies with its holder: the database's row lock, SQLite's file lock."""
    script = """
m = agentmem.connect(url)
while True:
    m.apply([agentmem.Increment(f"key/{n:03}") for n in range(500)])
"""
    (writer,) = crew.start(1, script, url=url)
    eventually(lambda: memory.exists("key/000"), timeout=60)
    crew.kill(writer)
    begin = time.monotonic()
    memory.put_many({f"key/{n:03}": 0 for n in range(500)})
    assert time.monotonic() - begin < 20


@pytest.mark.slow
def test_a_batch_of_100_000_is_seen_as_a_whole_by_other_processes(crew: Any, url: str, memory: Memory) -> None:
    script = """
with agentmem.connect(url) as m:
    m.put_many({f"bulk/{n:06}": n for n in range(100_000)})
    m.put("done", 1)
"""
    (writer,) = crew.start(1, script, url=url)
    seen = set()
    while writer.exitcode is None:
        seen.add(memory.count("bulk/*"))
        time.sleep(0.02)
    seen.add(memory.count("bulk/*"))
    assert writer.exitcode == 0
    assert seen <= {0, 100_000}
    assert memory.get("done") == 1
    assert memory.get_many(["bulk/000000", "bulk/099999"]) == {"bulk/000000": 0, "bulk/099999": 99_999}
