"""What `check()` finds wrong in a queue's rows, and what goes when a partition goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

import agentmem
from agentmem.sql.engines import normalised
from agentmem.sql.models import Partition, QueueItem
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory

#: What somebody does to a row, and what is found then.
DAMAGE = {
    "state = 9": "an unknown state",
    "state = 1": "leased, and no lease",
    "state = 2": "the next look at the clock",
    "state = 3": "blocked, and of no group",
    "request_id = 'x', leased_until = available_at, due_at = available_at, attempts = 1, fence = 1": "and not leased",
    "max_attempts = 2, attempts = 3": "more attempts than it may have",
    "group_key = 'g', state = 3": "blocked, and nothing of its group is before it",
}


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(normalised(make_url(url)))
    yield engine
    engine.dispose()


@pytest.mark.parametrize("change", DAMAGE)
def test_damage_is_found(memory: Memory, engine: Engine, change: str) -> None:
    number = memory.queue("jobs").put(1).id
    assert memory.check() == []
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE queue_items SET {change}"))
    [problem, *_] = memory.check()
    assert (problem.kind, problem.partition, problem.key) == ("queue", "default", "jobs")
    assert problem.detail.startswith(f"item {number}: ")
    assert DAMAGE[change] in problem.detail


def test_items_without_a_partition_are_found(memory: Memory, engine: Engine) -> None:
    memory.queue("jobs").put(1)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM partitions"))
    assert [problem.kind for problem in memory.check()] == ["orphan"]


def test_a_partition_that_is_dropped_takes_its_queues(memory: Memory) -> None:
    other = memory.partition("other")
    for handle in (memory, other):
        for name in ("a", "b"):
            queue = handle.queue(name, lease=3600)
            queue.put_many(range(2_500))
            queue.put_many(range(10), delay=60)
            queue.put_many(range(10), group="g")
            queue.bury(*queue.claim(5))
            queue.claim(5)
    assert memory.drop_partition("other") == 0
    assert other.queues() == []
    assert memory.queues() == ["a", "b"]
    assert memory.check() == []
    assert sum(memory.queue("a").counts()) == 2_520


def test_a_partition_that_is_dropped_while_others_put_keeps_no_orphans(memory: Memory) -> None:
    def run(index: int) -> None:
        for turn in range(15):
            if index == 0:
                memory.drop_partition("busy")
            else:
                memory.partition("busy").queue("jobs").put(turn, group="g" if index == 1 else None)

    run_threads(4, run)
    assert memory.check() == []


def test_the_unit_of_work_takes_a_partitions_queues_too(memory: Memory, engine: Engine) -> None:
    memory.queue("jobs").put("a", priority=4)
    with Session(engine) as session:
        [item] = session.query(QueueItem).all()
        assert (item.partition_name, item.queue, item.body, item.rank, item.state) == ("default", "jobs", '"a"', -4, 0)
        assert item.enqueued_at.tzinfo is not None
        session.delete(session.get(Partition, "default"))
        session.commit()
    assert memory.queues() == []
    assert memory.check() == []


def test_purge_takes_more_than_one_piece_and_what_comes_meanwhile_may_stay(memory: Memory) -> None:
    queue = memory.queue("jobs", lease=3600)
    queue.put_many(range(4_100))
    queue.put_many(range(2_100), group="g")
    queue.claim(100)
    assert queue.purge() == 6_200
    queue.put("after", group="g")
    assert [job.value for job in queue.claim(5)] == ["after"]
    assert memory.check() == []


def test_names_of_queues_are_told_apart(memory: Memory) -> None:
    """pitfall: names that would collide; LIKE unescaped."""
    names = ["a", "a_b", "axb", "a%", "a/b", "\u00e9", "e\u0301", "{a}:b", "a b", "x" * 1024]
    for name in names:
        memory.queue(name).put(name)
    assert memory.queues() == sorted(names)
    assert memory.queues("a_") == ["a_b"]
    assert [job.value for name in names for job in memory.queue(name).claim(9)] == names


def test_many_items_become_due_at_once(memory: Memory) -> None:
    """The clock's changes are written down in pieces."""
    queue = memory.queue("jobs", lease=3600)
    queue.put_many(range(4_500), delay=0.001)
    queue.put("last, and first", delay=0.002, priority=9)
    eventually(lambda: queue.counts().ready or queue.claim(1)[0].value == "last, and first")
    found = 0
    while jobs := queue.claim(1_000):
        found += len(jobs)
    assert found >= 4_500
    assert memory.check() == []


@pytest.mark.postgres
def test_tables_under_other_names(postgres_url: str) -> None:
    options: dict[str, Any] = {"schema": "agents x", "table_prefix": "am'\"_"}
    with agentmem.connect(postgres_url, create="always", **options) as memory:
        queue = memory.queue("jobs", lease=3600)
        queue.put_many(["a", "b"], group="g")
        queue.put("c", dedup_key="d")
        jobs = queue.claim(5)
        assert [job.value for job in jobs] == ["a", "c"]
        jobs[0].nack(error="no")
        jobs[1].ack()
        assert [job.value for job in queue.claim(5, wait=1)] == ["a"]
        assert memory.stats().server["queue_bytes"] > 0
        assert memory.check() == []
        assert memory.drop_partition("default") == 0
