"""A held old snapshot keeps what is done in the indexes: claims must not crawl over it (docs/adr/0017)."""

from __future__ import annotations

import secrets
import statistics
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import agentmem
from agentmem.handle import repository_of
from agentmem.queue_port import Item
from agentmem.sql.queue_floors import CRAWLING, EVERYTHING, Floors
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory

PLACE = ("default", "jobs")


def drain(queue: Queue) -> None:
    while jobs := queue.claim(1_000):
        queue.ack(*jobs)


def visited_by_claim(memory: Memory) -> int:
    """How many entries of the indexes a claim reads."""
    seen: list[int] = []
    floors = repository_of(memory).queues._dialect._floors  # type: ignore[attr-defined]
    learn = floors.learn

    def note(place: Any, items: Any, visited: int, wanted: int) -> None:
        seen.append(visited)
        learn(place, items, visited, wanted)

    floors.learn = note
    try:
        memory.queue("jobs").claim(request_id=secrets.token_hex(4))
    finally:
        del floors.learn
    return seen[0]


@pytest.fixture
def held(postgres_schema_url: str) -> Iterator[tuple[Memory, Queue]]:
    """A queue through which 10,000 items have passed since somebody began a transaction."""
    with (
        psycopg.connect(postgres_schema_url) as holder,
        agentmem.connect(postgres_schema_url) as memory,
    ):
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM queue_items")
        queue = memory.queue("jobs", lease=3600)
        for priority in (0, 5):
            queue.put_many(range(5_000), priority=priority)
            drain(queue)
        yield memory, queue


@pytest.mark.postgres
def test_a_claim_does_not_read_what_is_done(held: tuple[Memory, Queue]) -> None:
    memory, queue = held
    floors = repository_of(memory).queues._dialect._floors  # type: ignore[attr-defined]
    crawled, after = [], []
    for _ in range(5):
        queue.put_many([1, 2], priority=0)
        floors._known[PLACE].until = 0.0
        crawled.append(visited_by_claim(memory))
        after.append(visited_by_claim(memory))
    assert min(crawled) > 10_000
    assert max(after) < 100
    times = []
    for limit in ("all", "floors"):
        took = []
        for _ in range(9):
            queue.put(1)
            if limit == "all":
                floors._known[PLACE].until = 0.0
            began = time.perf_counter()
            queue.claim()
            took.append(time.perf_counter() - began)
        times.append(statistics.median(took))
    assert times[1] < times[0]


@pytest.mark.postgres
def test_what_comes_back_below_a_floor_is_found(held: tuple[Memory, Queue], postgres_schema_url: str) -> None:
    _, queue = held
    queue.put("early")
    with agentmem.connect(postgres_schema_url) as other:
        [early] = other.queue("jobs", lease=3600).claim()
        assert early.value == "early"
        queue.put_many([1, 2, 3])
        assert len(queue.claim(2)) == 2
        other.queue("jobs").nack(early)
        found: list[object] = []

        def is_found() -> bool:
            found.extend(job.value for job in queue.claim())
            return "early" in found

        eventually(is_found)
    assert found in ([3, "early"], ["early"])


@pytest.mark.postgres
def test_an_item_of_a_higher_priority_is_never_below_a_floor(held: tuple[Memory, Queue]) -> None:
    _, queue = held
    queue.put_many([1, 2, 3], priority=2)
    assert [job.value for job in queue.claim(2)] == [1, 2]
    for priority in (3, 1, 7, 5, -4, 2):
        queue.put(priority, priority=priority)
    assert [job.value for job in queue.claim(9)] == [7, 5, 3, 3, 2, 1, -4]


def item(number: int, priority: int = 0) -> Item:
    return Item(number, "1", priority, None, None, 0, 1, 1, "leased", *[None] * 4)  # type: ignore[arg-type]


def test_floors_are_only_for_those_who_crawl() -> None:
    floors = Floors()
    floors.learn(PLACE, [item(7)], CRAWLING, 1)
    assert floors.of(PLACE) == EVERYTHING
    floors.learn(PLACE, [item(9, 3), item(8)], CRAWLING + 10, 2)
    assert floors.of(PLACE)[:3] == ([-(2**15), -3, 0], [0, 9, 8], [-3, 0, 2**15 - 1])
    assert 1_000 <= (floors.of(PLACE).recent_ms or 0) < 10_000
    assert floors.of(("default", "other")) == EVERYTHING
    floors.forget(PLACE)
    assert floors.of(PLACE) == EVERYTHING


def test_floors_are_dropped_by_themselves() -> None:
    floors = Floors()
    floors.learn(PLACE, [item(7)], 20_000, 1)
    assert floors.of(PLACE).ids == [0, 7]
    eventually(lambda: floors.of(PLACE) == EVERYTHING, timeout=2)


def test_a_store_of_many_queues_forgets_some() -> None:
    floors = Floors()
    for number in range(3_000):
        floors.learn(("p", str(number)), [item(1)], 0, 1)
    assert len(floors._known) <= 1_000
