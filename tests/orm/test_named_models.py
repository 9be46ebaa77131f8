"""The models of an installation whose tables have a schema or a prefix: in a Session they obey the contract as well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.exc import StaleDataError

import agentmem
from agentmem.errors import InvalidArgument, InvalidKey, NamespaceError
from agentmem.memory import Memory
from agentmem.sql import LearnedValue, MemoryEntry, Models, Partition, QueueItem, models_for
from agentmem.sql.engines import normalised

NAMES: dict[str, dict[str, Any]] = {
    "sqlite-prefix": {"table_prefix": "am_"},
    "postgresql-prefix": {"table_prefix": "am_"},
    "postgresql-both": {"schema": "Odd \"na'me", "table_prefix": "Ä "},
}
ALL = [pytest.param(name, marks=pytest.mark.postgres if name.startswith("p") else ()) for name in NAMES]


class Place(NamedTuple):
    """An installation: by our handle, and by a host's engine and the models."""

    memory: Memory
    engine: Engine
    models: Models


@pytest.fixture(params=ALL)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    names = NAMES[request.param]
    url = request.getfixturevalue("sqlite_url" if request.param.startswith("s") else "postgres_url")
    engine = create_engine(normalised(make_url(url)))
    with agentmem.connect(url, create="always") as plain, agentmem.connect(url, create="always", **names) as memory:
        plain.put("k", "of another installation")
        yield Place(memory, engine, models_for(**names))
        assert [*plain.keys()] == ["k"]
        assert memory.check() == []
    engine.dispose()


def test_what_a_session_writes_memory_reads_and_the_other_way_round(place: Place) -> None:
    memory, engine, (entries, *_) = place
    memory.put("mine", {"a": 1}, metadata={"by": "memory"})
    with Session(engine) as session:
        session.add(entries(key="yours", value={"b": [2**70, -0.0]}, meta={"by": "session"}))
        mine = session.get_one(entries, ("default", "mine"))
        assert (mine.value, mine.meta) == ({"a": 1}, {"by": "memory"})
        mine.value = {"a": 2}
        session.commit()
        where = entries.value["a"].as_integer() == 2
        assert session.scalars(select(entries.key).where(where, entries.live())).all() == ["mine"]
        other: Any = aliased(entries)
        assert session.scalars(select(other.value).where(other.key == "yours")).all() == [{"b": [2**70, -0.0]}]
    assert (memory.get("mine"), repr(memory.get("yours"))) == ({"a": 2}, repr({"b": [2**70, -0.0]}))
    entry = memory.entry("yours")
    assert entry is not None
    assert entry.metadata == {"by": "session"}


@pytest.mark.rule("R11", "R12", "R13")
def test_versions_and_time_stamps_are_the_servers(place: Place) -> None:
    memory, engine, (entries, *_) = place
    with Session(engine) as session:
        entry = entries(key="k", value=0, version=7)
        session.add(entry)
        session.commit()
        version, created = entry.version, entry.created_at
        assert version > 10**15
        entry.value, entry.version, entry.created_at = 1, 3, created - timedelta(days=1)
        session.commit()
        assert (entry.version > version, entry.created_at) == (True, created)
        memory.put("k", 2)
        entry.value = 3
        with pytest.raises(StaleDataError):
            session.commit()
    assert memory.get("k") == 2


@pytest.mark.rule("R4", "R20", "R22")
def test_a_partitions_policy_is_applied(place: Place) -> None:
    memory, engine, (entries, partitions, *_) = place
    with Session(engine) as session:
        session.add(partitions(name="jobs", namespace="job/", default_ttl=60))
        session.commit()
        session.add(entries(partition_name="jobs", key="job/1", value=1))
        session.commit()
        session.add(entries(partition_name="jobs", key="other", value=1))
        with pytest.raises(NamespaceError):
            session.commit()
        session.rollback()
        job = session.get_one(partitions, "jobs")
        assert [each.key for each in session.scalars(job.entries.select())] == ["job/1"]
        found = memory.partition("jobs").entry("job/1")
        assert found is not None
        assert found.expires_at is not None
        session.execute(text("UPDATE " + _table(entries) + " SET expires_at = created_at"))
        session.commit()
        session.add(entries(partition_name="jobs", key="job/1", value="an expired entry is in nobody's way"))
        session.commit()
        session.delete(job)
        session.commit()
    assert [partition.name for partition in memory.partitions()] == []


@pytest.mark.rule("R1", "R13")
def test_what_must_not_be_written_is_refused(place: Place) -> None:
    memory, engine, (entries, *_) = place
    memory.put("k", 1)
    with Session(engine) as session:
        with pytest.raises(InvalidKey):
            entries(key="", value=1)
        session.add(entries(key="k", value=2))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.get_one(entries, ("default", "k")).key = "other"
        with pytest.raises(InvalidArgument):
            session.commit()
    assert [*memory.keys()] == ["k"]


@pytest.mark.rule("R12")
def test_a_version_ahead_of_the_clock_is_remembered(place: Place) -> None:
    memory, engine, (entries, *_) = place
    version = memory.put("k", 1).version + 10**12
    with Session(engine) as session:
        session.execute(text(f"UPDATE {_table(entries)} SET version = {version}"))
        session.delete(session.get_one(entries, ("default", "k")))
        session.commit()
    assert memory.put("k", 2).version > version


def test_queues_and_learned_values_are_read_and_go_with_their_partition(place: Place) -> None:
    memory, engine, (_, partitions, items, learned) = place
    memory.queue("jobs").put({"file": "a.py"}, priority=4)
    memory.qtable("q", alpha=1.0).update("s", "a", 0.1)
    with Session(engine) as session:
        [item] = session.scalars(select(items).where(items.queue == "jobs"))
        assert isinstance(item, QueueItem)
        assert (item.partition_name, item.body, item.rank, item.state) == ("default", '{"file":"a.py"}', -4, 0)
        [value] = session.scalars(select(learned).where(learned.value > 0))
        assert isinstance(value, LearnedValue)
        assert (value.partition_name, value.qtable, value.state, value.value) == ("default", "q", "s", 0.1)
        session.delete(session.get_one(partitions, "default"))
        session.commit()
    assert (memory.queues(), memory.qtables()) == ([], [])


def test_the_same_names_give_the_same_classes() -> None:
    assert models_for() == (MemoryEntry, Partition, QueueItem, LearnedValue)
    assert models_for(table_prefix="am_") is models_for(table_prefix="am_")
    assert models_for(table_prefix="am_").MemoryEntry is not models_for(table_prefix="x_").MemoryEntry
    assert isinstance(models_for(table_prefix="am_").MemoryEntry(key="k", value=1), MemoryEntry)


def _table(entries: type[MemoryEntry]) -> str:
    from sqlalchemy.dialects.postgresql import dialect

    return dialect().identifier_preparer.format_table(entries.__table__)
