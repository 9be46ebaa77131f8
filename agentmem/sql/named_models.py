"""The models for tables that a schema or a prefix gave other names."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy.orm import column_property, foreign, registry, relationship

from agentmem.sql.flush import watch
from agentmem.sql.models import LearnedValue, MemoryEntry, Partition, QueueItem, metadata
from agentmem.sql.naming import DEFAULT, Naming


class Models(NamedTuple):
    """Mapped classes on the tables of one installation; each is a subclass of its namesake in `agentmem.sql`."""

    MemoryEntry: type[MemoryEntry]
    Partition: type[Partition]
    QueueItem: type[QueueItem]
    LearnedValue: type[LearnedValue]


def models_for(*, schema: str | None = None, table_prefix: str = "") -> Models:
    """Return the models for tables that were given a schema or a prefix: for the same names the same classes.

    They do what those of `agentmem.sql` do, on tables in a MetaData of their own.

    Args:
        schema: as the option of `connect`.
        table_prefix: as the option of `connect`.

    Raises:
        ConfigurationError: no such names are possible.
    """
    naming = Naming(schema, table_prefix)
    return Models(MemoryEntry, Partition, QueueItem, LearnedValue) if naming == DEFAULT else _models(naming)


@cache
def _models(naming: Naming) -> Models:
    copies = naming.tables(metadata)
    tables = {table.name: table for table in copies.tables.values()}
    entries, partitions = tables[naming.table("memory_entries")], tables[naming.table("partitions")]
    entry, partition = _subclass(MemoryEntry), _subclass(Partition)
    same: dict[str, Any] = {"primaryjoin": foreign(entries.c.partition) == partitions.c.name}
    loading: dict[str, Any] = {"lazy": "write_only", "passive_deletes": "all", "cascade": "save-update"}
    to_entries = relationship(entry, back_populates="partition", **same, **loading)
    to_partition = relationship(partition, back_populates="entries", **same)
    known = registry(metadata=copies)
    known.map_imperatively(partition, partitions, properties={"entries": to_entries})
    known.map_imperatively(
        entry,
        entries,
        properties={
            "partition_name": entries.c.partition,
            "metadata_text": entries.c.metadata,
            "created_at": column_property(entries.c.created_at, active_history=True),
            "updated_at": column_property(entries.c.updated_at, active_history=True),
            "partition": to_partition,
        },
        exclude_properties=["value"],
        **MemoryEntry.__mapper_args__ | {"version_id_col": entries.c.version},
    )
    watch(entry, partition)
    of_others = [_subclass(model) for model in (QueueItem, LearnedValue)]
    for model in of_others:
        table = tables[naming.table(model.__tablename__)]
        known.map_imperatively(model, table, properties={"partition_name": table.c.partition})
    return Models(entry, partition, *of_others)


def _subclass(model: type[Any]) -> type[Any]:
    """With the model's behaviour; not mapped by its base, which would take it for another kind of row in its table."""
    return type(model.__name__, (model,), {"__abstract__": True, "__doc__": model.__doc__, "__module__": __name__})
