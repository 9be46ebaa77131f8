"""The truth of the schema, and ORM citizens in their own right.

A host may use `MemoryEntry` and `Partition` in its own Session, joins and queries. What is written that way obeys the
contract as well: keys, values and limits are checked when an attribute is set; versions and time stamps are the
server's whatever the host assigns; `version` is the mapper's version counter, so that a stale object raises
`StaleDataError`; and the partition is registered and its policy applied (agentmem.sql.flush). Statements that pass the
unit of work by, such as `update(MemoryEntry)`, get the version and the time stamp, and nothing else of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    __version__,
    inspect,
    literal,
)
from sqlalchemy import literal_column as sql
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, WriteOnlyMapped, mapped_column, relationship, validates
from sqlalchemy.sql.expression import ColumnElement

from agentmem import keys, values
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES
from agentmem.sql.schema import VERSION_TABLE
from agentmem.sql.types import (
    Body,
    ByteText,
    Document,
    ExactDouble,
    Int16,
    Int64,
    UtcDateTime,
    after_milliseconds,
    filterable_json,
    is_live,
    next_moment,
    next_version,
    server_now,
    server_version_clock,
)
from agentmem.ttl import TTL, to_milliseconds

DEFAULT_PARTITION = "default"

if __version__.startswith("2.0."):
    # A table's storage parameters are known to SQLAlchemy since 2.1. Before, create_all leaves them out; our migrations
    # set them by themselves.
    Table.argument_for("postgresql", "with", None)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Alembic makes and keeps it. Here it is for hosts whose autogenerate includes our metadata: it is ours as well.
Table(
    VERSION_TABLE,
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


class Base(DeclarativeBase):
    """The declarative base of agentmem's tables, with a MetaData of its own."""

    metadata = metadata


class Partition(Base):
    """A partition and its policy.

    `session.delete(partition)` removes its entries too, in one statement, as `drop_partition` does. It keeps its name:
    entries, queues and Q-tables know it by that.

    Attributes:
        version_floor: the highest version ahead of the clock that a removed entry bore; no new entry gets one below.
    """

    __tablename__ = "partitions"

    name: Mapped[str] = mapped_column(ByteText, primary_key=True)
    default_ttl_ms: Mapped[int | None] = mapped_column(Int64)
    namespace: Mapped[str | None] = mapped_column(ByteText)
    description: Mapped[str | None] = mapped_column(Body)
    version_floor: Mapped[int] = mapped_column(Int64, default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=server_now())

    #: Not loaded or cascaded by itself: a partition can hold millions of entries.
    entries: WriteOnlyMapped[MemoryEntry] = relationship(
        primaryjoin="Partition.name == foreign(MemoryEntry.partition_name)",
        back_populates="partition",
        passive_deletes="all",
        cascade="save-update",
    )

    @validates("name")
    def _check_name(self, attribute: str, name: str) -> str:
        return keys.validate_partition(name)

    @validates("namespace")
    def _check_namespace(self, attribute: str, namespace: str | None) -> str | None:
        return None if namespace is None else keys.validate_prefix(namespace)

    @property
    def default_ttl(self) -> timedelta | None:
        """What a write without a TTL means in this partition; None for never.

        Raises:
            InvalidTTL: on setting, as for `put`.
        """
        return None if self.default_ttl_ms is None else timedelta(milliseconds=self.default_ttl_ms)

    @default_ttl.setter
    def default_ttl(self, ttl: float | timedelta | None) -> None:
        self.default_ttl_ms = to_milliseconds(ttl) or None


class MemoryEntry(Base):
    """One entry. There is no foreign key: it would cost every first put a row lock on the partition (ADR 0006).

    An entry whose `expires_at` was never set gets its partition's `default_ttl`.
    """

    __tablename__ = "memory_entries"

    #: Above this an encoded value is refused; a host may set another limit.
    max_value_bytes = DEFAULT_MAX_VALUE_BYTES

    partition_name: Mapped[str] = mapped_column("partition", ByteText, primary_key=True, default=DEFAULT_PARTITION)
    key: Mapped[str] = mapped_column(ByteText, primary_key=True)
    #: The exact JSON text: what comes back is what was put, to the order of keys and the digits of numbers.
    body: Mapped[str] = mapped_column(Body)
    metadata_text: Mapped[str | None] = mapped_column("metadata", Body)
    # With an active history the old value is known, so that a host's assignment can be undone (agentmem.sql.flush).
    version: Mapped[int] = mapped_column(Int64, default=server_version_clock(), onupdate=next_version(sql("version")))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=server_now(), active_history=True)
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=server_now(), onupdate=next_moment(sql("updated_at")), active_history=True
    )
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    partition: Mapped[Partition] = relationship(
        primaryjoin="foreign(MemoryEntry.partition_name) == Partition.name", back_populates="entries"
    )

    __table_args__ = (
        # The body as JSONB (on SQLite: JSON text), made by the server: for filters and joins. It is not mapped, or
        # every flush would fetch it back; `MemoryEntry.value` is it in a query.
        Column("value", Document, Computed(filterable_json(sql("body")), persisted=True)),
        # Only entries that expire are indexed, and only the purge reads this.
        Index(
            "ix_memory_entries_expires_at",
            "expires_at",
            postgresql_where=sql("expires_at IS NOT NULL"),
            sqlite_where=sql("expires_at IS NOT NULL"),
        ),
    )
    # The server makes versions (see the column's default and onupdate); the mapper checks and fetches them.
    __mapper_args__ = {"version_id_col": version, "version_id_generator": False, "eager_defaults": True}  # noqa: RUF012

    @validates("key")
    def _check_key(self, attribute: str, key: str) -> str:
        return keys.validate_key(key)

    @validates("partition_name")
    def _check_partition(self, attribute: str, name: str) -> str:
        return keys.validate_partition(name)

    @hybrid_property
    def value(self) -> Any:
        """The value: decoded from `body` anew at each reading; setting it checks and encodes it.

        To change it, set the whole of it: what is read is a copy. In a query it is the JSON column, so that
        `MemoryEntry.value["status"].as_string() == "done"` works.

        Raises:
            InvalidValue, ValueTooLarge: on setting.
            CorruptEntry: on reading.
        """
        return values.decode(self.body, self.key)

    @value.inplace.setter
    def _set_value(self, value: Any) -> None:
        self.body = values.encode(value, max_bytes=self.max_value_bytes)

    @value.inplace.expression
    @classmethod
    def _value_expression(cls) -> ColumnElement[Any]:
        # Of the table, or of an alias when `cls` is one.
        return inspect(cls).selectable.c.value

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata as a new dict; set the whole of it to change it.

        Raises:
            InvalidValue, ValueTooLarge: on setting.
            CorruptEntry: on reading.
        """
        return values.decode_metadata(self.metadata_text, self.key)

    @meta.setter
    def meta(self, mapping: Mapping[str, Any] | None) -> None:
        self.metadata_text = values.encode_metadata(mapping)

    def expire_after(self, ttl: TTL) -> None:
        """Let the entry expire `ttl` seconds after the flush, by the server's clock; None means never.

        Raises:
            InvalidTTL: as for `put`.
        """
        milliseconds = to_milliseconds(ttl)
        self.expires_at = after_milliseconds(literal(milliseconds, BigInteger)) if milliseconds else None

    @classmethod
    def live(cls) -> ColumnElement[bool]:
        """The criterion of entries that are there for a reader: `select(MemoryEntry).where(MemoryEntry.live())`."""
        return is_live(cls.expires_at)


class LearnedValue(Base):
    """What is known of one action in one state of a Q-table: `memory.qtable`.

    For reading: to learn is to compute under the row's lock, which no flush does.

    Attributes:
        state, action: the text itself; of another JSON value its text behind a `=`.
        updated_at: when something was last learned here.
    """

    __tablename__ = "learned_values"

    partition_name: Mapped[str] = mapped_column("partition", ByteText, primary_key=True, default=DEFAULT_PARTITION)
    qtable: Mapped[str] = mapped_column(ByteText, primary_key=True)
    state: Mapped[str] = mapped_column(ByteText, primary_key=True)
    action: Mapped[str] = mapped_column(ByteText, primary_key=True)
    value: Mapped[float] = mapped_column(ExactDouble)
    visits: Mapped[int] = mapped_column(Int64)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=server_now(), onupdate=server_now())

    # No index holds what an update changes, and pages have room for the next version of a row: it stays on its page
    # (HOT), and no index is written.
    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=sql(where), sqlite_where=sql(where))


class QueueItem(Base):
    """One item of a work queue: `memory.queue`.

    For reading: what is put, claimed or settled concerns other items as well, which no flush knows of.

    Attributes:
        rank: the priority negated: items are claimed in the order of (rank, id).
        state: 0 ready, 1 leased, 2 delayed, 3 blocked, 4 dead, as of the last look at the clock.
        due_at: when the clock may change that: no later than then it is looked at again.
    """

    __tablename__ = "queue_items"

    id: Mapped[int] = mapped_column(Int64, primary_key=True)
    partition_name: Mapped[str] = mapped_column("partition", ByteText, default=DEFAULT_PARTITION)
    queue: Mapped[str] = mapped_column(ByteText)
    body: Mapped[str] = mapped_column(Body)
    rank: Mapped[int] = mapped_column(Int16)
    dedup_key: Mapped[str | None] = mapped_column(ByteText)
    group_key: Mapped[str | None] = mapped_column(ByteText)
    max_attempts: Mapped[int] = mapped_column(Int64)
    attempts: Mapped[int] = mapped_column(Int64)
    #: Of the present or the last lease; rises with every claim.
    fence: Mapped[int] = mapped_column(Int64)
    state: Mapped[int] = mapped_column(Int16)
    request_id: Mapped[str | None] = mapped_column(ByteText)
    enqueued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    available_at: Mapped[datetime] = mapped_column(UtcDateTime)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Body)

    __table_args__ = (
        _partial("ix_queue_items_ready", "partition", "queue", "rank", "id", where="state = 0"),
        _partial("ix_queue_items_due", "partition", "queue", "due_at", where="due_at IS NOT NULL"),
        _partial("ix_queue_items_request", "partition", "queue", "request_id", where="request_id IS NOT NULL"),
        _partial("ix_queue_items_blocked", "partition", "queue", "group_key", "id", where="state = 3"),
        _partial("ix_queue_items_dead", "partition", "queue", "id", where="state = 4"),
        _partial(
            "uq_queue_items_dedup", "partition", "queue", "dedup_key",
            where="dedup_key IS NOT NULL AND state < 4", unique=True,
        ),
        # Of a group one item at the most is ready, leased or delayed.
        _partial(
            "uq_queue_items_active", "partition", "queue", "group_key",
            where="group_key IS NOT NULL AND state < 3", unique=True,
        ),
        # An extended lease changes what no index holds, and the next version of a row finds room on its page (HOT).
        {"postgresql_with": {"fillfactor": 60}, "sqlite_autoincrement": True},
    )  # fmt: skip
