"""What the unit of work does around an entry of a host's Session, so that it obeys the contract like any other.

An insert costs three small statements more than its own. Whoever loads thousands of entries takes `memory.put_many`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, case, delete, event, func, insert, inspect, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value

from agentmem import keys
from agentmem.errors import InvalidArgument
from agentmem.sql.models import DEFAULT_PARTITION, MemoryEntry, Partition
from agentmem.sql.types import server_now, server_version_clock

_INSERT: Final[dict[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_FLOOR: Final = "agentmem_version_floor"
_OF_THE_SERVER: Final = ("version", "created_at", "updated_at")


def _before_insert(mapper: Mapper[MemoryEntry], connection: Connection, entry: MemoryEntry) -> None:
    """Register the partition, make room where a dead entry lies, and apply the partition's policy."""
    for attribute in _OF_THE_SERVER:
        if attribute in inspect(entry).dict:
            delattr(entry, attribute)
    entries, partitions = _tables(mapper)
    name = entry.partition_name or DEFAULT_PARTITION
    connection.execute(_INSERT[connection.dialect.name](partitions).values(name=name).on_conflict_do_nothing())
    is_update = _takes_a_row(mapper, entry)
    if is_update:
        entry.created_at = server_now()
        _clear_unset(entry, "metadata_text")
    else:
        _make_room(connection, entries, partitions, name, entry.key)
    _apply_policy(connection, partitions, name, entry, is_update=is_update)


def _takes_a_row(mapper: Mapper[Any], instance: Any) -> bool:
    """Whether a row of the same key is deleted in the same flush: SQLAlchemy makes one UPDATE of both.

    It would leave what the new instance does not say as it was.
    """
    session = inspect(instance).session
    other = session.identity_map.get(mapper.identity_key_from_instance(instance))
    return other is not None and other in session.deleted


def _clear_unset(instance: Any, *attributes: str) -> None:
    for attribute in attributes:
        if attribute not in inspect(instance).dict:
            setattr(instance, attribute, None)


def _make_room(connection: Connection, entries: Any, partitions: Any, name: str, key: str) -> None:
    # An expired entry is not there for anybody, so it must not make an insert fail (R22).
    dead = delete(entries).where(
        entries.c.partition == name, entries.c.key == key, entries.c.expires_at <= server_now()
    )
    version = connection.execute(dead.returning(entries.c.version)).scalar()
    if version is not None:
        _raise_floor(connection, partitions, name, version)


def _tables(mapper: Mapper[MemoryEntry]) -> tuple[Any, Any]:
    """The entries' and the partitions', which a schema or a prefix may have given other names."""
    return mapper.local_table, mapper.relationships["partition"].mapper.local_table


def _apply_policy(
    connection: Connection, partitions: Any, partition: str, entry: MemoryEntry, *, is_update: bool
) -> None:
    p = partitions.c
    floor = case((p.version_floor >= server_version_clock(), p.version_floor))
    policy = select(p.default_ttl_ms, p.namespace, floor.label("floor")).where(p.name == partition)
    row = connection.execute(policy).one()
    keys.check_namespace(entry.key, row.namespace)
    if row.default_ttl_ms is not None and "expires_at" not in inspect(entry).dict:
        entry.expire_after(timedelta(milliseconds=row.default_ttl_ms))
    if is_update:
        _clear_unset(entry, "expires_at")
    elif row.floor is not None:
        entry.version = row.floor + 1


def _before_update(mapper: Mapper[MemoryEntry], connection: Connection, entry: MemoryEntry) -> None:
    """Undo what a host assigned to the server's columns, and refuse to move an entry."""
    attributes = inspect(entry).attrs
    for attribute in _OF_THE_SERVER:
        history = attributes[attribute].history
        if history.has_changes():
            set_committed_value(entry, attribute, history.non_added()[0])
    if attributes.key.history.has_changes() or attributes.partition_name.history.has_changes():
        raise InvalidArgument("an entry cannot get another key or partition: add a new one and delete this one")


def _before_delete(mapper: Mapper[MemoryEntry], connection: Connection, entry: MemoryEntry) -> None:
    """Remember a version that the clock has not reached yet (R12)."""
    _raise_floor(connection, _tables(mapper)[1], entry.partition_name, entry.version)


def _raise_floor(connection: Connection, partitions: Any, partition: str, version: int) -> None:
    p = partitions.c
    is_ahead = literal(version, BigInteger) >= server_version_clock()
    connection.execute(
        update(partitions).where(p.name == partition, p.version_floor < version, is_ahead).values(version_floor=version)
    )


def _before_partition_insert(mapper: Mapper[Partition], connection: Connection, partition: Partition) -> None:
    """Where it takes the row of one that is deleted in the same flush, nothing of that one is to stay."""
    if _takes_a_row(mapper, partition):
        _empty(mapper, connection, partition)
        _clear_unset(partition, "default_ttl_ms", "namespace", "description")


def _before_partition_update(mapper: Mapper[Partition], connection: Connection, partition: Partition) -> None:
    """Refuse to leave the entries behind."""
    if inspect(partition).attrs.name.history.has_changes():
        raise InvalidArgument("a partition cannot get another name: add a new one and delete this one")


def _before_partition_delete(mapper: Mapper[Partition], connection: Connection, partition: Partition) -> None:
    """Nothing outlives its partition but the highest of its versions, if it is ahead of the clock."""
    _empty(mapper, connection, partition)
    p = mapper.local_table.c
    is_ahead = select(p.version_floor).where(p.name == partition.name, p.version_floor >= server_version_clock())
    inspect(partition).info[_FLOOR] = connection.execute(is_ahead).scalar()


def _empty(mapper: Mapper[Partition], connection: Connection, partition: Partition) -> None:
    ours: Any = mapper.local_table
    for table in ours.metadata.tables.values():
        if "version" in table.c:
            highest = select(func.max(table.c.version)).where(table.c.partition == partition.name)
            _raise_floor(connection, ours, partition.name, connection.execute(highest).scalar() or 0)
        if "partition" in table.c:
            connection.execute(delete(table).where(table.c.partition == partition.name))


def _after_partition_delete(mapper: Mapper[Partition], connection: Connection, partition: Partition) -> None:
    """As drop_partition: the row comes back, without a policy, where a version must be remembered (R12)."""
    ours: Any = mapper.local_table
    floor = inspect(partition).info.pop(_FLOOR)
    if floor is not None:
        connection.execute(insert(ours).values(name=partition.name, version_floor=floor))


def watch(entry: type[MemoryEntry], partition: type[Partition]) -> None:
    """Do all this for these mapped classes."""
    event.listen(entry, "before_insert", _before_insert)
    event.listen(entry, "before_update", _before_update)
    event.listen(entry, "before_delete", _before_delete)
    event.listen(partition, "before_insert", _before_partition_insert)
    event.listen(partition, "before_update", _before_partition_update)
    event.listen(partition, "before_delete", _before_partition_delete)
    event.listen(partition, "after_delete", _after_partition_delete)


watch(MemoryEntry, Partition)
