"""Groups, dedup keys and leases where transactions meet: what the order of commits must not change."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, text

import agentmem
from agentmem import Ack, Enqueue, LeaseLost, Put
from agentmem.handle import repository_of
from agentmem.operations import Operation
from agentmem.sql.engines import normalised
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(normalised(make_url(url)))
    yield engine
    engine.dispose()


@pytest.fixture
def postgres(postgres_schema_url: str) -> Iterator[Memory]:
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("key", 1)  # with a partition: who makes one holds up others who would
        yield memory


def second(memory: Memory, name: str = "jobs", **options: Any) -> threading.Thread:
    thread = threading.Thread(target=lambda: memory.queue(name).put("second", **options), daemon=True)
    thread.start()
    return thread


@pytest.mark.postgres
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_group_is_in_the_order_of_its_commits(postgres: Memory, ends: str) -> None:
    """Who puts second into a group waits for the first: or it would be claimed before an older one is to be seen."""
    engine = create_engine(normalised(make_url(repository_of(postgres).engine.url)))  # type: ignore[attr-defined]
    queue = postgres.queue("jobs", lease=3600)
    with engine.connect() as connection:
        postgres.using(connection).queue("jobs").put("first", group="g")
        thread = second(postgres, group="g")
        # Other groups and other queues do not wait.
        queue.put("other", group="h")
        postgres.queue("more").put(1, group="g")
        thread.join(0.2)
        assert thread.is_alive()
        assert [job.value for job in queue.claim(9)] == ["other"]
        getattr(connection, ends)()
    thread.join(10)
    assert [job.value for job in queue.claim(9)] == ["first" if ends == "commit" else "second"]
    engine.dispose()


@pytest.mark.postgres
def test_a_dedup_key_that_is_being_put_is_waited_for(postgres: Memory) -> None:
    engine = create_engine(normalised(make_url(repository_of(postgres).engine.url)))  # type: ignore[attr-defined]
    with engine.connect() as connection:
        first = postgres.using(connection).queue("jobs").put("first", dedup_key="d")
        thread = second(postgres, dedup_key="d")
        thread.join(0.2)
        assert thread.is_alive()
        connection.commit()
    thread.join(10)
    again = postgres.queue("jobs").put("third", dedup_key="d")
    assert (again.id, again.created) == (first.id, False)
    assert postgres.queue("jobs").counts().ready == 1
    engine.dispose()


def test_producers_and_workers_of_groups_never_meet(memory: Memory) -> None:
    """pitfall: opposite order, deadlock; an item left blocked by one who came at the wrong moment."""
    queue = memory.queue("jobs", lease=3600, max_attempts=3)
    done: list[tuple[Any, ...]] = []
    busy: dict[str, int] = {}
    lock = threading.Lock()

    def produce(index: int) -> None:
        order = random.Random(index)
        for turn in range(12):
            names = [f"g{number}" for number in range(4)]
            order.shuffle(names)
            memory.apply(
                [Put(f"entry/{index % 3}", turn), *(Enqueue("jobs", [name, index, turn], group=name) for name in names)]
            )

    def work(index: int) -> None:
        order = random.Random(index)
        while len(done) < 3 * 12 * 4:
            for job in queue.claim(order.randint(1, 4), wait=0.05):
                name = str(job.group)
                with lock:
                    busy[name] = busy.get(name, 0) + 1
                    assert busy[name] == 1
                    busy[name] -= 1
                if job.attempts == 1 and order.random() < 0.2:
                    job.nack()
                    continue
                memory.apply([Ack(job), Put(f"entry/{order.randint(0, 2)}", index)])
                done.append(tuple(job.value))

    run_threads(6, lambda index: produce(index) if index < 3 else work(index), timeout=120)
    assert len(done) == len(set(done)) == 144
    for name in ("g0", "g1", "g2", "g3"):
        for producer in range(3):
            turns = [item[2] for item in done if item[:2] == (name, producer)]
            assert turns == sorted(turns)
    assert queue.counts() == (0, 0, 0, 0, 0)
    assert memory.check() == []


@pytest.mark.postgres
def test_a_lease_that_ends_is_no_reason_to_wait_for_a_group(postgres: Memory) -> None:
    """A host's transaction holds the group: claims of others go on."""
    engine = create_engine(normalised(make_url(repository_of(postgres).engine.url)))  # type: ignore[attr-defined]
    queue = postgres.queue("jobs", lease=0.05)
    queue.put("a", group="g")
    assert queue.claim()
    with engine.connect() as connection:
        postgres.using(connection).queue("jobs").put("b", group="g")
        queue.put("free")
        eventually(lambda: postgres.queue("jobs").peek())
        assert [job.value for job in postgres.queue("jobs", lease=3600).claim(9)] == ["free"]
        connection.commit()
    found: list[object] = []

    def is_found() -> bool:
        found.extend(job.value for job in postgres.queue("jobs", lease=3600).claim(9))
        return bool(found)

    eventually(is_found)
    assert found == ["a"]
    engine.dispose()


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_step_in_a_hosts_transaction(memory: Memory, engine: Engine, ends: str) -> None:
    queue = memory.queue("jobs", lease=3600)
    queue.put_many(["a", "b", "c"])
    [taken] = queue.claim()
    with engine.connect() as connection:
        mine = memory.using(connection).queue("jobs", lease=3600)
        mine.put("new", dedup_key="d", priority=1)
        jobs = mine.claim(2)
        assert [job.value for job in jobs] == ["new", "b"]
        memory.using(connection).apply([Ack(jobs[0]), Put("result", 1), Enqueue("jobs", "next")])
        assert mine.counts() == (2, 0, 0, 2, 0)
        mine.nack(jobs[1], delay=60)
        mine.claim(wait=0.05)
        getattr(connection, ends)()
    assert memory.get("result") == (1 if ends == "commit" else None)
    assert queue.counts() == ((1, 1, 0, 2, 0) if ends == "commit" else (2, 0, 0, 1, 0))
    queue.ack(taken)
    assert memory.check() == []


def test_a_refused_step_leaves_a_hosts_transaction_as_it_was(memory: Memory, engine: Engine) -> None:
    queue = memory.queue("jobs", lease=3600)
    queue.put_many(["a", "b"])
    first, last = queue.claim(2)
    queue.ack(first)
    with engine.connect() as connection:
        joined = memory.using(connection)
        joined.put("before", 1)
        steps: list[list[Operation]] = [[], [Put("key", 1), Enqueue("jobs", "c")]]
        for others in steps:
            with pytest.raises(LeaseLost):
                joined.apply([Ack(last), Ack(first), *others])
        connection.execute(text("SELECT 1"))
        connection.commit()
    assert memory.get_many(["before", "key"]) == {"before": 1}
    assert queue.counts() == (0, 0, 0, 1, 0)


@pytest.mark.postgres
def test_one_put_notifies_when_the_host_commits(postgres: Memory) -> None:
    engine = create_engine(normalised(make_url(repository_of(postgres).engine.url)))  # type: ignore[attr-defined]
    with engine.connect() as connection:
        postgres.using(connection).queue("jobs").put("a")
        claimed: list[object] = []
        thread = threading.Thread(target=lambda: claimed.extend(postgres.queue("jobs").claim(wait=20)), daemon=True)
        thread.start()
        thread.join(0.2)
        assert claimed == []
        connection.commit()
    thread.join(10)
    assert len(claimed) == 1
    engine.dispose()


@pytest.mark.postgres
def test_a_hosts_stricter_isolation_fails_cleanly(postgres: Memory, postgres_schema_url: str) -> None:
    queue = postgres.queue("jobs", lease=3600)
    queue.put_many(["a", "b"])
    engine = create_engine(normalised(make_url(postgres_schema_url)), isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM queue_items"))
        with psycopg.connect(postgres_schema_url) as other:
            other.execute("UPDATE queue_items SET error = 'touched'")
        with pytest.raises(agentmem.Unavailable):
            postgres.using(connection).queue("jobs").claim(2)
        connection.rollback()
    assert len(queue.claim(2)) == 2
    engine.dispose()
