"""What a Session writes, a handle reads, and the other way round."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

import agentmem
from agentmem import Memory
from agentmem.errors import VersionConflict
from agentmem.sql import MemoryEntry, Partition
from agentmem.testing.support import run_threads

VALUE = {"b": 1e22, "a": [2**70, -0.0, 1.0, True, None], "": "nul \0, \\u0000 and \U0001f600"}


@pytest.fixture
def memory(engine: Engine) -> Iterator[Memory]:
    with agentmem.connect(engine) as memory:
        yield memory
        assert memory.check() == []


def test_the_handle_reads_what_a_session_wrote(memory, session):
    entry = MemoryEntry(key="k", value=VALUE, meta={"owner": "host"})
    entry.expire_after(60)
    session.add(entry)
    session.commit()
    found = memory.entry("k")
    assert repr(found.value) == repr(VALUE)
    assert found.metadata == {"owner": "host"}
    assert (found.version, found.created_at, found.updated_at, found.expires_at) == (
        entry.version, entry.created_at, entry.updated_at, entry.expires_at,
    )  # fmt: skip
    assert [each.key for each in memory.search("k*", where={"b": {"$gt": 1}})] == ["k"]
    assert memory.stats().entries == 1


def test_a_session_reads_what_the_handle_wrote(memory, session):
    found = memory.put("k", VALUE, ttl=60, metadata={"owner": "agent"})
    entry = session.get_one(MemoryEntry, ("default", "k"))
    assert repr(entry.value) == repr(VALUE)
    assert entry.meta == {"owner": "agent"}
    assert (found.version, found.created_at, found.updated_at, found.expires_at) == (
        entry.version, entry.created_at, entry.updated_at, entry.expires_at,
    )  # fmt: skip


def test_versions_and_time_stamps_increase_over_both(memory, session):
    seen = [memory.put("k", 0)]
    entry = session.get_one(MemoryEntry, ("default", "k"))
    for number in range(1, 20):
        entry.value = number
        session.commit()
        seen.append(memory.entry("k"))
        session.refresh(entry)
        seen.append(memory.put("k", -number))
        session.refresh(entry)
        session.commit()
    versions = [each.version for each in seen]
    assert versions == sorted(set(versions))
    assert all(each.created_at == seen[0].created_at <= each.updated_at for each in seen)


def test_a_version_of_either_passes_the_others_check(memory, session):
    entry = MemoryEntry(key="k", value=1)
    session.add(entry)
    session.commit()
    old = entry.version
    memory.put("k", 2, if_version=old)
    entry.value = 3
    with pytest.raises(StaleDataError):
        session.commit()
    session.rollback()
    entry.value = 4
    session.commit()
    with pytest.raises(VersionConflict) as caught:
        memory.put("k", 5, if_version=old)
    assert caught.value.current.value == 4


def test_a_transaction_of_the_handle_sees_the_sessions_commit(memory, session):
    memory.put("k", 1)

    def work(tx):
        assert tx.get("k") == 1
        session.get_one(MemoryEntry, ("default", "k")).value = 2
        session.commit()
        tx.put("other", 1)

    with pytest.raises(VersionConflict):
        memory.run(work, attempts=1)
    assert memory.get("other") is None


def test_delete_and_put_again_over_both(memory, session):
    versions = []
    for number in range(10):
        versions.append(memory.put("k", number).version)
        session.delete(session.get_one(MemoryEntry, ("default", "k")))
        session.commit()
        assert not memory.exists("k")
        session.add(MemoryEntry(key="k", value=number))
        session.commit()
        versions.append(memory.entry("k").version)
        assert memory.delete("k")
        session.expunge_all()
        session.commit()
    assert versions == sorted(set(versions))


def test_policies_are_shared(memory, session):
    memory.partition("p", default_ttl=60, namespace="aqe/", description="from the handle")
    partition = session.get_one(Partition, "p")
    assert (partition.default_ttl, partition.namespace) == (timedelta(seconds=60), "aqe/")
    assert partition.description == "from the handle"
    partition.default_ttl = timedelta(seconds=7)
    session.commit()
    found = memory.partition("p").put("aqe/k", 1)
    assert found.expires_at - found.updated_at == timedelta(seconds=7)
    assert [each.name for each in memory.partitions()] == ["p"]


def test_a_partition_that_a_session_deleted_is_gone(memory, session):
    other = memory.partition("p")
    other.put_many({"a": 1, "b": 2})
    time.sleep(0.002)  # to SQLite's clock of milliseconds, which flushes go by, the versions may be ahead
    session.delete(session.get_one(Partition, "p"))
    session.commit()
    assert other.count() == 0
    assert "p" not in memory.stats().partitions


def test_sessions_and_handles_count_together(memory, engine):
    memory.put("counter", 0)

    def work(index):
        for _ in range(5):
            if index % 2:
                memory.increment("counter")
            else:
                increment_in_session(engine)

    run_threads(4, work)
    assert memory.get("counter") == 20


def increment_in_session(engine):
    while True:
        with Session(engine) as session:
            entry = session.scalars(select(MemoryEntry).with_for_update()).one()
            entry.value += 1
            try:
                session.commit()
            except StaleDataError:
                continue
            return
