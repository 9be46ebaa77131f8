"""The reading statements, built from the models once and compiled once for each dialect.

What runs is text on a driver's cursor: SQLAlchemy's part is to write it. Every parameter is named.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    LargeBinary,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import ClauseElement, ColumnElement

from agentmem.sql.dialect import Dialect
from agentmem.sql.models import LearnedValue, MemoryEntry, Partition, QueueItem
from agentmem.sql.types import is_live

entries: Any = MemoryEntry.__table__
partitions: Any = Partition.__table__
learned: Any = LearnedValue.__table__
queue_items: Any = QueueItem.__table__
e = entries.c
p = partitions.c

#: The order of Record's fields.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    e.key, e.body, e.version, e.created_at, e.updated_at, e.expires_at, e.metadata,
)  # fmt: skip
#: The same without what may be large.
BARE_COLUMNS: tuple[ColumnElement[Any], ...] = (
    e.key, null().label("body"), e.version, e.created_at, e.updated_at, e.expires_at, null().label("metadata"),
)  # fmt: skip


def bind(name: str, type_: Any = Text) -> ColumnElement[Any]:
    """A named parameter."""
    return bindparam(name, type_=type_() if isinstance(type_, type) else type_)


def compile_statement(statement: ClauseElement, dialect: Dialect) -> str:
    """The text of a statement in the driver's parameter style."""
    return str(statement.compile(dialect=dialect.compiler))


# Without it SQLite's compiler binds a parameter of its own for the offset.
_NO_OFFSET: ColumnElement[int] = literal_column("0")
_ALIVE = {
    "sqlite": "(expires_at IS NULL OR expires_at > :now)",
    "postgresql": "(expires_at IS NULL OR expires_at > clock_timestamp())",
}

PARTITION = e.partition == bind("partition")
KEY = e.key == bind("key")


#: Which names a Naming changes.
TABLES = {entries.name, partitions.name, learned.name, queue_items.name}
#: What PostgreSQL's statements call, of ours; and what ids are drawn from.
FUNCTIONS = (
    *("memory_entries_restamp", "memory_entries_fields"),
    *("queue_items_put", "queue_items_claim", "queue_items_settle"),
    *("queue_items_ripen", "queue_items_redrive", "queue_items_purge"),
    "queue_items_id_seq",
)


def names(dialect: Dialect) -> dict[str, str]:
    """The tables' names, quoted, for the statements that are written as text."""
    preparer = dialect.compiler.identifier_preparer
    tables = {"entries": entries, "partitions": partitions, "learned": learned, "queue_items": queue_items}
    return {name: preparer.format_table(table) for name, table in tables.items()}


def columns(*, bodies: bool) -> tuple[ColumnElement[Any], ...]:
    """What to select for a Record."""
    return COLUMNS if bodies else BARE_COLUMNS


def live(dialect: Dialect) -> ColumnElement[bool]:
    """The criterion of R22 by the dialect's clock."""
    return is_live(e.expires_at, dialect.now)


def policy_writes(dialect: Dialect) -> Callable[[frozenset[str]], str]:
    """The statement that creates a partition or sets the named columns of its policy."""
    dialect_insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert

    @lru_cache
    def statement(changes: frozenset[str]) -> str:
        types = {name: p[name].type for name in (*sorted(changes), "name", "version_floor")}
        row = {name: bindparam(name, type_=type_) for name, type_ in types.items()}
        insert = dialect_insert(partitions).values(**row, created_at=dialect.now)
        if changes:
            set_ = {name: insert.excluded[name] for name in sorted(changes)}
            return compile_statement(insert.on_conflict_do_update(index_elements=[p.name], set_=set_), dialect)
        return compile_statement(insert.on_conflict_do_nothing(), dialect)

    return statement


class Reads:
    """The reading statements of one dialect, as text."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        alive = live(dialect)
        among = dialect.among(e.key, "keys")

        def text_of(statement: ClauseElement) -> str:
            return compile_statement(statement, dialect)

        self.fetch_one = text_of(select(*COLUMNS).where(PARTITION, KEY, alive))
        self.fetch = {
            bodies: text_of(select(*columns(bodies=bodies)).where(PARTITION, among, alive)) for bodies in (True, False)
        }
        self.partitions = text_of(
            select(p.name, p.default_ttl_ms, p.namespace, p.description, p.created_at).order_by(p.name)
        )
        self.walk = text_of(
            select(e.partition, *COLUMNS)
            .where(tuple_(e.partition, e.key) > tuple_(bind("partition"), bind("key")))
            .order_by(e.partition, e.key)
            .limit(bind("limit", BigInteger))
            .offset(_NO_OFFSET)
        )
        #: The criterion of R22 as text, to be put beside other conditions.
        self.alive = _ALIVE[dialect.name]
        self.orphans = text_of(select(e.partition).where(e.partition.not_in(select(p.name))).distinct())
        self.server_time = text_of(select(dialect.now))

    @lru_cache(maxsize=512)  # noqa: B019  # one Reads per repository, and both live as long
    def scan(self, conditions: tuple[str, ...], *, by_key: bool, descending: bool, bodies: bool) -> str:
        """One page of a search. Conditions bring their own parameters; by "updated" the clock is the last column."""
        order: list[Any] = [e.key] if by_key else [e.updated_at, e.key]
        if descending:
            order = [column.desc() for column in order]
        found = columns(bodies=bodies) if by_key else (*columns(bodies=bodies), self._dialect.now.label("as_of"))
        statement = select(*found).where(PARTITION, live(self._dialect), *map(text, conditions))
        return compile_statement(
            statement.order_by(*order).limit(bind("limit", BigInteger)).offset(_NO_OFFSET), self._dialect
        )

    @lru_cache(maxsize=512)  # noqa: B019
    def count(self, conditions: tuple[str, ...]) -> str:
        """How many living entries meet the conditions."""
        statement = select(func.count()).select_from(entries)
        return compile_statement(statement.where(PARTITION, live(self._dialect), *map(text, conditions)), self._dialect)

    @lru_cache(maxsize=512)  # noqa: B019
    def condition(self, conditions: tuple[str, ...]) -> str:
        """Conditions as one, for statements that are written as text."""
        return compile_statement(text(" AND ".join(conditions) or "1 = 1"), self._dialect)

    @lru_cache(maxsize=64)  # noqa: B019
    def statistics(self, conditions: tuple[str, ...] | None) -> str:
        """Rows of partition, living, dead, bytes of the living: one statement, so one snapshot."""
        alive = live(self._dialect)
        zero: ColumnElement[int] = literal_column("0")
        one: ColumnElement[int] = literal_column("1")
        size = func.length(cast(e.body, LargeBinary)) if self._dialect.name == "sqlite" else func.octet_length(e.body)
        figures = select(
            e.partition,
            func.sum(case((alive, one), else_=zero)),
            func.sum(case((alive, zero), else_=one)),
            func.sum(case((alive, size), else_=zero)),
        ).group_by(e.partition)
        if conditions is not None:
            return compile_statement(figures.where(PARTITION, *map(text, conditions)), self._dialect)
        return compile_statement(figures.union_all(select(p.name, zero, zero, zero)), self._dialect)
