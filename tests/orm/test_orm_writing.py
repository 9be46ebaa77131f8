"""What a host's Session writes through the models obeys the contract."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from agentmem.errors import (
    CorruptEntry,
    InvalidArgument,
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    NamespaceError,
    ValueTooLarge,
)
from agentmem.sql import MemoryEntry, Partition

AWKWARD = {"b": 1e22, "a": [2**70, -0.0, 1.0, True, None], "": "nul \0, \\u0000 and \U0001f600"}

Row = TypeVar("Row", MemoryEntry, Partition)


def stored(session: Session, row: Row) -> Row:
    session.add(row)
    session.commit()
    return row


def let_expire(session: Session, entry: MemoryEntry) -> None:
    session.execute(update(MemoryEntry).where(MemoryEntry.key == entry.key).values(expires_at=entry.created_at))
    session.commit()


@pytest.mark.rule("R6")
def test_a_value_comes_back_exactly(session):
    entry = stored(session, MemoryEntry(key="k", value=AWKWARD, meta={"z": 1, "a": 1e22}))
    session.expire_all()
    assert repr(entry.value) == repr(AWKWARD)
    assert repr(entry.meta) == repr({"z": 1, "a": 1e22})


@pytest.mark.rule("R6")
def test_a_value_that_was_read_is_a_copy(session):
    entry = stored(session, MemoryEntry(key="k", value={"n": [1]}))
    entry.value["n"].append(2)
    entry.meta["x"] = 1
    session.commit()
    assert (entry.value, entry.meta) == ({"n": [1]}, {})


@pytest.mark.rule("R11")
@pytest.mark.rule("R24")
def test_the_server_gives_version_and_time_stamps(session):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    entry = stored(session, MemoryEntry(key="k", value=1))
    assert before <= entry.created_at <= entry.updated_at <= datetime.now(UTC)
    assert entry.created_at.tzinfo is UTC
    assert abs(entry.version - entry.created_at.timestamp() * 1e6) < 60e6
    assert entry.expires_at is None


@pytest.mark.rule("R11")
@pytest.mark.rule("R12")
def test_versions_and_time_stamps_strictly_increase(session):
    entry = stored(session, MemoryEntry(key="k", value=0))
    seen, created = [(entry.version, entry.updated_at)], entry.created_at
    for number in range(1, 50):
        entry.value = number
        session.flush()
        seen.append((entry.version, entry.updated_at))
    session.commit()
    assert all(later[0] > earlier[0] and later[1] > earlier[1] for earlier, later in pairwise(seen))
    assert entry.created_at == created


@pytest.mark.rule("R12")
def test_a_version_is_not_used_again_after_a_delete(session):
    versions = []
    for number in range(30):
        entry = stored(session, MemoryEntry(key="k", value=number))
        entry.value = -number
        session.flush()
        versions.append(entry.version)
        session.delete(entry)
        session.commit()
    assert all(later > earlier for earlier, later in pairwise(versions))


@pytest.mark.rule("R12")
def test_a_version_ahead_of_the_clock_is_remembered(session):
    far = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1_000_000)
    entry = stored(session, MemoryEntry(key="k", value=1))
    session.execute(update(MemoryEntry).values(version=far))
    session.expire_all()
    session.delete(entry)
    session.commit()
    assert session.get_one(Partition, "default").version_floor == far
    assert stored(session, MemoryEntry(key="k", value=2)).version == far + 1


@pytest.mark.parametrize("action", ["update", "delete"])
def test_optimistic_locking(engine, session, action):
    stored(session, MemoryEntry(key="k", value=1))
    with Session(engine, expire_on_commit=False) as reader:
        stale = reader.get_one(MemoryEntry, ("default", "k"))
    session.get_one(MemoryEntry, ("default", "k")).value = 2
    session.commit()
    with Session(engine) as late:
        late.add(stale)
        if action == "update":
            stale.value = 3
        else:
            late.delete(stale)
        with pytest.raises(StaleDataError):
            late.commit()
    assert session.get_one(MemoryEntry, ("default", "k")).value == 2


@pytest.mark.rule("R21")
def test_what_a_host_assigns_to_the_servers_columns_changes_nothing(session):
    past = datetime(2001, 1, 1, tzinfo=UTC)
    entry = stored(session, MemoryEntry(key="k", value=1, version=5, created_at=past, updated_at=past))
    first = entry.version, entry.created_at, entry.updated_at
    assert first[0] > 5
    assert past not in first
    entry.version, entry.created_at, entry.updated_at = 7, past, past
    session.commit()
    assert (entry.version, entry.created_at, entry.updated_at) == first
    entry.value, entry.version, entry.created_at, entry.updated_at = 2, 7, past, past
    session.commit()
    assert entry.version > first[0]
    assert entry.created_at == first[1]
    assert entry.updated_at > first[2]


def test_a_detached_object_can_be_merged(engine, session):
    entry = stored(session, MemoryEntry(key="k", value=1))
    version = entry.version
    session.close()
    entry.value = 2
    with Session(engine) as other:
        merged = other.merge(entry)
        other.commit()
        assert merged.value == 2
        assert merged.version > version


@pytest.mark.rule("R22")
def test_an_expired_entry_does_not_stand_in_the_way(session):
    old = stored(session, MemoryEntry(key="k", value=1))
    old_version, old_created = old.version, old.created_at
    let_expire(session, old)
    session.expunge_all()
    new = stored(session, MemoryEntry(key="k", value=2))
    assert new.version > old_version
    assert new.created_at > old_created
    assert new.expires_at is None


@pytest.mark.parametrize("is_dead", [False, True])
def test_an_entry_that_replaces_another_in_one_flush_keeps_nothing_of_it(session, is_dead):
    old = MemoryEntry(partition_name="p", key="k", value=1)
    old.meta = {"owner": "old"}
    old.expire_after(3600)
    before = stored(session, old).created_at, old.version
    if is_dead:
        let_expire(session, old)
    time.sleep(0.002)
    session.delete(session.get_one(MemoryEntry, ("p", "k")))
    new = stored(session, MemoryEntry(partition_name="p", key="k", value=2))
    assert (new.value, new.meta, new.expires_at) == (2, {}, None)
    assert new.created_at > before[0]
    assert new.version > before[1]


def test_a_partition_that_replaces_another_in_one_flush_keeps_nothing_of_it(session):
    stored(session, Partition(name="p", default_ttl=60, namespace="x/", description="old"))
    stored(session, MemoryEntry(partition_name="p", key="x/k", value=1))
    session.delete(session.get_one(Partition, "p"))
    new = stored(session, Partition(name="p", description="new"))
    assert (new.default_ttl, new.namespace, new.description) == (None, None, "new")
    assert session.scalars(select(MemoryEntry)).all() == []


def test_a_living_entry_does(session):
    stored(session, MemoryEntry(key="k", value=1))
    session.expunge_all()
    session.add(MemoryEntry(key="k", value=2))
    with pytest.raises(IntegrityError):
        session.commit()


@pytest.mark.rule("R20")
def test_a_ttl_counts_from_the_flush_by_the_servers_clock(session):
    entry = MemoryEntry(key="k", value=1)
    entry.expire_after(timedelta(seconds=90))
    stored(session, entry)
    assert entry.expires_at is not None
    assert timedelta(0) <= entry.expires_at - entry.updated_at - timedelta(seconds=90) < timedelta(seconds=1)
    expires_at = entry.expires_at
    entry.value = 2
    session.commit()
    assert entry.expires_at == expires_at
    entry.expire_after(None)
    session.commit()
    assert entry.expires_at is None


@pytest.mark.rule("R20")
def test_a_partitions_policy_holds(session):
    session.add(Partition(name="p", default_ttl=60, namespace="aqe/", description="tests"))
    session.commit()
    entry = stored(session, MemoryEntry(partition_name="p", key="aqe/a", value=1))
    assert entry.expires_at is not None
    assert entry.expires_at - entry.updated_at >= timedelta(seconds=59)
    for number, never in enumerate((MemoryEntry(expires_at=None), MemoryEntry())):
        never.partition_name, never.key, never.value = "p", f"aqe/never{number}", 1
        never.expire_after(None)
        assert stored(session, never).expires_at is None
    session.add(MemoryEntry(partition_name="p", key="other", value=1))
    with pytest.raises(NamespaceError):
        session.flush()


def test_partitions_are_registered(session):
    assert session.scalars(select(Partition.name)).all() == []
    session.add_all(MemoryEntry(partition_name=name, key="k", value=1) for name in ("b", "a", "b/c", "a%"))
    session.add_all([MemoryEntry(key="k", value=1), MemoryEntry(partition_name="b", key="l", value=1)])
    session.commit()
    assert session.scalars(select(Partition.name).order_by(Partition.name)).all() == ["a", "a%", "b", "b/c", "default"]


def test_a_partition_of_the_same_flush(session):
    partition = Partition(name="p", description="new")
    entry = MemoryEntry(key="k", value=1, partition=partition)
    session.add(entry)
    session.add(MemoryEntry(partition_name="p", key="l", value=2))
    session.commit()
    assert entry.partition_name == "p"
    assert [each.value for each in session.scalars(partition.entries.select().order_by(MemoryEntry.key))] == [1, 2]


def test_entries_go_with_their_partition(session):
    partition = Partition(name="p")
    partition.entries.add_all([MemoryEntry(key="k", value=1), MemoryEntry(key="l", value=1)])
    session.add_all([partition, MemoryEntry(partition_name="q", key="k", value=1)])
    session.commit()
    session.delete(partition)
    session.commit()
    assert session.scalars(select(MemoryEntry.partition_name)).all() == ["q"]


@pytest.mark.rule("R12")
@pytest.mark.parametrize("where", ["entry", "floor"])
def test_a_version_ahead_of_the_clock_outlives_its_partition(session, where):
    far = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1_000_000)
    stored(session, Partition(name="p", namespace="k", default_ttl=60))
    stored(session, MemoryEntry(partition_name="p", key="k", value=1))
    model, values = (MemoryEntry, {"version": far}) if where == "entry" else (Partition, {"version_floor": far})
    session.execute(update(model).values(values))
    session.expire_all()
    session.delete(session.get_one(Partition, "p"))
    session.commit()
    kept = session.get_one(Partition, "p")
    assert (kept.version_floor, kept.namespace, kept.default_ttl) == (far, None, None)
    assert stored(session, MemoryEntry(partition_name="p", key="other", value=2)).version == far + 1


def test_a_partition_that_needs_no_memory_is_gone_when_it_is_deleted(session):
    stored(session, MemoryEntry(partition_name="p", key="k", value=1))
    time.sleep(0.002)  # to SQLite's clock of milliseconds the version may be ahead
    session.delete(session.get_one(Partition, "p"))
    session.commit()
    assert session.get(Partition, "p") is None


def test_a_partition_keeps_its_name(session):
    partition = Partition(name="p")
    partition.entries.add(MemoryEntry(key="k", value=1))
    session.add(partition)
    session.commit()
    partition.description = "as it was"
    session.commit()
    partition.name = "q"
    with pytest.raises(InvalidArgument, match="another name"):
        session.commit()
    session.rollback()
    assert session.scalars(select(Partition.name)).all() == ["p"]


@pytest.mark.parametrize("change", [{"key": "l"}, {"partition_name": "q"}])
def test_an_entry_does_not_move(session, change):
    entry = stored(session, MemoryEntry(key="k", value=1))
    [(attribute, value)] = change.items()
    setattr(entry, attribute, value)
    with pytest.raises(InvalidArgument, match="add a new one and delete this one"):
        session.flush()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"key": ""}, InvalidKey),
        ({"key": "x" * 1025}, InvalidKey),
        ({"key": "a\0b"}, InvalidKey),
        ({"key": None}, InvalidKey),
        ({"partition_name": ""}, InvalidKey),
        ({"partition_name": "x" * 129}, InvalidKey),
        ({"value": float("nan")}, InvalidValue),
        ({"value": {1: 2}}, InvalidValue),
        ({"value": {1, 2}}, InvalidValue),
        ({"value": "x" * 1024 * 1024}, ValueTooLarge),
        ({"meta": ["no object"]}, InvalidValue),
        ({"meta": {"x": "y" * 16 * 1024}}, ValueTooLarge),
    ],
)
def test_what_is_refused_when_it_is_set(arguments, error):
    with pytest.raises(error):
        MemoryEntry(**arguments)


def test_bad_policies_are_refused_when_they_are_set():
    for arguments in ({"name": ""}, {"name": "x" * 129}, {"namespace": "a\0"}):
        with pytest.raises(InvalidKey):
            Partition(**arguments)
    with pytest.raises(InvalidTTL):
        Partition(name="p", default_ttl=0)
    with pytest.raises(InvalidTTL):
        MemoryEntry(key="k").expire_after(-1)


def test_a_host_may_set_another_limit(monkeypatch):
    monkeypatch.setattr(MemoryEntry, "max_value_bytes", 10)
    with pytest.raises(ValueTooLarge):
        MemoryEntry(key="k", value="0123456789")


def test_naive_time_stamps_are_refused(session):
    session.add(MemoryEntry(key="k", value=1, expires_at=datetime(2100, 1, 1)))  # noqa: DTZ001
    with pytest.raises(StatementError, match="must be timezone-aware"):
        session.flush()


@pytest.mark.rule("R10")
def test_what_cannot_be_decoded_raises_for_itself_alone(session):
    stored(session, MemoryEntry(key="good", value=1))
    stored(session, MemoryEntry(key="odd", value=1, body="1e400"))
    values = {entry.key: entry for entry in session.scalars(select(MemoryEntry))}
    assert values["good"].value == 1
    with pytest.raises(CorruptEntry):
        _ = values["odd"].value


def test_a_statement_past_the_unit_of_work_moves_the_version(session):
    entry = stored(session, MemoryEntry(key="k", value=1))
    version, updated = entry.version, entry.updated_at
    session.execute(update(MemoryEntry).values(metadata_text='{"a":1}'))
    session.commit()
    assert entry.version > version
    assert entry.updated_at > updated
    assert entry.meta == {"a": 1}


def test_a_flush_fetches_no_value_back(engine, session):
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    entry = stored(session, MemoryEntry(key="k", value=1))
    entry.value = 2
    session.commit()
    assert session.get_one(MemoryEntry, ("default", "k")).value == 2
    assert len([s for s in statements if "RETURNING" in s and "INSERT INTO memory_entries" in s]) == 1
    assert not [s for s in statements if "memory_entries.value" in s]


def test_the_time_zone_of_a_connection_changes_nothing(session):
    entry = stored(session, MemoryEntry(key="k", value=1))
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL TIME ZONE 'Asia/Tokyo'"))
    session.refresh(entry)
    assert entry.created_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - entry.created_at) < timedelta(minutes=1)
