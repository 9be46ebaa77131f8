"""Threads that meet at the same rows: what the databases' locks must make of them."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import agentmem
from agentmem import Append, Delete, Increment, InvalidOperation, Merge, Put, Touch, Unavailable, VersionConflict
from agentmem.sql.backend import open_url
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory

KEYS = [f"key/{n:02}" for n in range(30)]


def test_forty_threads_over_a_pool_of_ten(url: str) -> None:
    """None of them fails, whatever mixture of calls they make (R32)."""
    with agentmem.connect(url, pool_size=10) as memory:
        memory.put("seed", 1)

        def work(index: int) -> int:
            for turn in range(6):
                memory.increment("counter")
                memory.put_many({f"{index}/{turn}/a": 1, f"{index}/{turn}/b": 2})
                memory.apply([Increment("other"), Append(f"{index}/list", turn)])
                memory.search(f"{index}/*", where={(): {"$gte": 1}}, limit=5)
                memory.get_many(KEYS)
            return len(memory.get(f"{index}/list"))

        assert run_threads(40, work) == [6] * 40
        assert (memory.get("counter"), memory.get("other")) == (240, 240)
        assert memory.count() == 1 + 2 + 40 * 13
        assert memory.check() == []


@pytest.mark.parametrize("name", ["append", "merge"])
def test_sixteen_threads_begin_the_same_key(memory: Memory, name: str) -> None:
    """Nothing to lock is there yet: what is missing must be locked all the same, or an update is lost."""
    for turn in range(8):
        key = f"fresh/{turn}"

        def work(index: int, key: str = key) -> None:
            if name == "append":
                memory.append(key, index)
            else:
                memory.merge(key, {f"{index}": index})

        run_threads(16, work)
        value = memory.get(key)
        assert sorted(value if name == "append" else value.values()) == list(range(16))


def test_batches_that_begin_the_same_keys(memory: Memory) -> None:
    """Counters, lists and objects of one batch, in another order in each thread."""

    def work(index: int) -> None:
        mine = random.Random(index).sample(KEYS, len(KEYS))
        memory.apply(
            [
                op
                for key in mine
                for op in (Increment(f"{key}/n"), Append(f"{key}/l", index), Merge(f"{key}/o", {f"{index}": 1}))
            ]
        )

    run_threads(12, work)
    for key in KEYS:
        assert memory.get(f"{key}/n") == 12
        assert sorted(memory.get(f"{key}/l")) == list(range(12))
        assert len(memory.get(f"{key}/o")) == 12


def test_opposite_orders_do_not_deadlock(memory: Memory) -> None:
    """Every kind of write by several names, forwards and backwards, on keys that live, are dead, or are missing."""
    memory.put_many(dict.fromkeys(KEYS[:10], 0))
    memory.put_many(dict.fromkeys(KEYS[10:20], 0), ttl=0.001)

    def work(index: int) -> None:
        mine = KEYS if index % 2 else KEYS[::-1]
        batches: list[Any] = [
            lambda: memory.put_many(dict.fromkeys(mine, index)),
            lambda: memory.apply([Put(key, index) for key in mine]),
            lambda: memory.apply([op for key in mine for op in (Delete(key), Put(key, index), Touch(key, 60))]),
            lambda: memory.delete_many(mine),
            lambda: memory.delete_matching("key/*"),
            memory.purge_expired,
            lambda: memory.apply([Increment("counter"), *(Put(key, index, ttl=0.001) for key in mine)]),
        ]
        for turn in range(14):
            batches[(index + turn) % len(batches)]()

    run_threads(8, work)
    assert memory.get("counter") == 16
    assert memory.check() == []


def test_a_batch_that_fails_beside_those_that_succeed(memory: Memory) -> None:
    """Its placeholders, locks and half-done work vanish with it, and it takes nobody along."""
    memory.put("text", "x")

    def work(index: int) -> None:
        for turn in range(10):
            if index % 2:
                with pytest.raises(InvalidOperation):
                    memory.apply([*(Increment(key) for key in KEYS), Put(f"never/{index}", 1), Increment("text")])
            else:
                memory.apply([Increment(key) for key in reversed(KEYS)])
                assert turn < memory.get(KEYS[0]) <= 40

    run_threads(8, work)
    assert set(memory.get_many(KEYS).values()) == {40}
    assert memory.count("never/*") == 0
    assert memory.get("text") == "x"


def test_dropping_a_partition_under_writers_leaves_no_orphans(memory: Memory) -> None:
    """What is written is in a partition that is registered, or it was dropped with it."""
    stop = threading.Event()

    def work(index: int) -> int:
        doomed = memory.partition("doomed")
        if index == 0:
            try:
                dropped = [memory.drop_partition("doomed") for _ in range(25)]
            finally:
                stop.set()
            return sum(dropped)
        turn = 0
        while not stop.is_set():
            turn += 1
            doomed.put(f"{index}/put", turn)
            doomed.increment("counter")
            doomed.put_many({f"{index}/{n}": turn for n in range(5)})
            doomed.append("list", turn, limit=5)
            doomed.touch(f"{index}/put", 60)
            doomed.delete(f"{index}/0")
        return 0

    assert run_threads(5, work)[0] > 0
    assert memory.check() == []
    left = memory.partition("doomed").count()
    assert memory.drop_partition("doomed") == left
    assert memory.check() == []
    assert "doomed" not in {partition.name for partition in memory.partitions()}


@pytest.mark.postgres
def test_a_drop_and_a_batch_in_flight_wait_for_each_other_in_one_order(postgres_schema_url: str) -> None:
    """A batch that holds rows and then wants the table, a drop that holds the table and then wants rows: a deadlock."""
    with open_url(postgres_schema_url, {}) as repository, agentmem.connect(repository) as memory:
        doomed = memory.partition("doomed")
        stop = threading.Event()

        def work(index: int) -> None:
            if index == 0:
                try:
                    for _ in range(40):
                        # As drop_partition after its first pass, which has missed what came meanwhile.
                        repository._connections.write(lambda link: repository._dialect.drop(link, "doomed"))
                finally:
                    stop.set()
                return
            while not stop.is_set():
                doomed.put("key", 1)
                doomed.touch("key", 60)
                doomed.delete_many(["key", "other"])

        run_threads(6, work)
        assert memory.check() == []
        (deadlocks,) = repository._rows(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", {}
        )[0]
        assert deadlocks == 0


def test_purges_and_writers_do_not_hurt_each_other(memory: Memory) -> None:
    """A key that is put again as it is purged stays (R23), and each dead entry is counted by one purge alone."""
    memory.put_many({f"dead/{n:04}": n for n in range(600)}, ttl=0.001)
    time.sleep(0.01)

    def work(index: int) -> int:
        if index < 3:
            return sum(memory.purge_expired(batch=7) for _ in range(5))
        for n in range(index, 600, 60):
            memory.put(f"dead/{n:04}", "alive")
        return 0

    purged = sum(run_threads(6, work))
    revived = {n for index in (3, 4, 5) for n in range(index, 600, 60)}
    assert 600 - len(revived) <= purged <= 600
    assert memory.count("dead/*") == len(revived)
    assert {entry.value for entry in memory.items("dead/")} == {"alive"}
    assert memory.stats().expired_pending == 0


def test_several_sweepers_and_writers(url: str) -> None:
    handles = [agentmem.connect(url, sweep_every=0.02) for _ in range(3)]
    memory = handles[0]
    try:

        def work(index: int) -> None:
            for turn in range(25):
                memory.put_many({f"{index}/{turn}/{n}": n for n in range(4)}, ttl=0.01)
                memory.put(f"kept/{index}", turn)
                memory.increment("counter", ttl=60)

        run_threads(4, work)
        eventually(lambda: memory.stats().entries + memory.stats().expired_pending == 5, timeout=20)
        assert memory.get("counter") == 100
        assert memory.get_many([f"kept/{n}" for n in range(4)]) == {f"kept/{n}": 24 for n in range(4)}
        assert memory.check() == []
    finally:
        for handle in handles:
            handle.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "agentmem-sweeper"]


@pytest.mark.postgres
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_stricter_default_of_the_server_makes_no_difference(postgres_schema_url: str, level: str) -> None:
    """An administrator's default turns waits into serialisation failures: they are ours to bear."""
    with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'".encode())
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("counter", 0)

        def work(index: int) -> None:
            for _ in range(10):
                memory.increment("counter")
                memory.append("list", index)
                memory.put("key", index)
                memory.delete_many(["key", "other"])

        run_threads(3, work)
        assert memory.get("counter") == 30
        assert len(memory.get("list")) == 30
        assert memory.check() == []


@pytest.mark.postgres
def test_a_session_that_holds_rows_holds_up_their_writers_alone(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory, psycopg.connect(postgres_schema_url) as host:
        memory.put_many({"mine": 1, "other": 1})
        host.execute("SELECT FROM memory_entries WHERE key = 'mine' FOR UPDATE")
        assert memory.get("mine") == 1
        memory.put("other", 2)
        memory.put_many({"a": 1, "b": 2})
        assert memory.purge_expired() == 0
        host.execute("UPDATE memory_entries SET expires_at = now() - interval '1 hour' WHERE key = 'mine'")
        assert memory.get("mine") == 1
        host.commit()
        assert memory.get("mine") is None
        assert memory.purge_expired() == 1


def test_a_busy_sqlite_is_unavailable_in_the_end(sqlite_url: str) -> None:
    """Another program holds the file's lock: a writer waits `busy_timeout`, a reader not at all."""
    with agentmem.connect(sqlite_url, busy_timeout=0.2) as memory:
        memory.put("key", 1)
        with agentmem.connect(sqlite_url) as other:
            raw = other._gateway.repository.engine.raw_connection()  # type: ignore[attr-defined]
            raw.driver_connection.execute("BEGIN IMMEDIATE")
            for call in (
                lambda: memory.put("key", 2),
                lambda: memory.put_many({"key": 2}),
                memory.purge_expired,
            ):
                with pytest.raises(Unavailable, match=r"0\.2 s.*busy_timeout") as caught:
                    call()
                assert caught.value.retryable
            assert memory.get("key") == 1
            raw.driver_connection.execute("ROLLBACK")
            raw.close()
        assert memory.put("key", 3).value == 3


def test_a_conflict_tells_what_the_winner_wrote(memory: Memory) -> None:
    """Losers of a race see the row that beat them, not one that was gone before (R13)."""
    memory.put("key", -1)

    def attempt(value: int) -> int:
        """By how much the winner's version was ahead of the one that was seen; 0 for a win."""
        seen = memory.entry("key")
        assert seen is not None
        try:
            memory.put("key", value, if_version=seen.version)
        except VersionConflict as conflict:
            return (conflict.current.version - seen.version) or -1
        return 0

    leads = [lead for each in run_threads(8, lambda n: [attempt(n * 100 + k) for k in range(10)]) for lead in each]
    assert min(leads) == 0
    assert len(leads) == 80
