"""Column types and server expressions whose spelling differs between SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Integer, SmallInteger, SQLColumnExpression, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.dialects.sqlite import JSON as SQLITE_JSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from agentmem.moments import from_microseconds, microseconds


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes: `timestamptz` on PostgreSQL, integer microseconds since 1970 on SQLite.

    Naive datetimes are refused: what they mean depends on whose clock is asked.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the native type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Integer())
        return dialect.type_descriptor(TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse what is naive and convert for the dialect."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a timestamp must be timezone-aware, not {value!r}")
        return microseconds(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return UTC whatever the connection's time zone is."""
        if value is None:
            return None
        return from_microseconds(value) if dialect.name == "sqlite" else value.astimezone(UTC)


class JsonText(SQLITE_JSON):
    """SQLite's JSON in a column of text.

    SQLite would take the type name JSON for a number, and so turn a body of 12345678901234567890123 into a float.
    """


@compiles(JsonText)
def _json_text(element: JsonText, compiler: DDLCompiler, **kw: Any) -> str:
    return "TEXT"


class ExactDouble(Double[float]):
    """An IEEE double, to the last bit.

    SQLite stores whole numbers in a column of doubles as integers, which loses the sign of -0.0; in one of this name it
    stores what it is given.
    """


@compiles(ExactDouble, "sqlite")
def _exact_double(element: ExactDouble, compiler: DDLCompiler, **kw: Any) -> str:
    return "BLOB"


#: Text that sorts and compares by code point on every server, whatever its locale.
ByteText = Text().with_variant(PG_TEXT(collation="C"), "postgresql")
#: JSON for filters and for a host's own queries: JSONB where there is one.
Document = JSON().with_variant(JSONB(), "postgresql").with_variant(JsonText(), "sqlite")
#: Exact text.
Body = Text()
#: 64 bits on both: SQLite's INTEGER is as wide as need be.
Int64 = BigInteger().with_variant(Integer(), "sqlite")
Int16 = SmallInteger().with_variant(Integer(), "sqlite")


class server_now(FunctionElement[datetime]):  # noqa: N801  # reads as a SQL function
    """The server's clock: `clock_timestamp()`, or on SQLite the clock of its process to the millisecond."""

    type = UtcDateTime()
    inherit_cache = True
    name = "server_now"


class server_version_clock(FunctionElement[int]):  # noqa: N801  # reads as a SQL function
    """The server's clock as integer microseconds since 1970: what versions are made of."""

    type = BigInteger()
    inherit_cache = True
    name = "server_version_clock"


class next_version(FunctionElement[int]):  # noqa: N801  # reads as a SQL function
    """The version after the given one: the clock, unless that would not be above it (R12)."""

    type = BigInteger()
    inherit_cache = True
    name = "next_version"


class next_moment(FunctionElement[datetime]):  # noqa: N801  # reads as a SQL function
    """The server's clock, unless that would not be after the given moment: then a microsecond more than it."""

    type = UtcDateTime()
    inherit_cache = True
    name = "next_moment"


class after_milliseconds(FunctionElement[datetime]):  # noqa: N801  # reads as a SQL function
    """The server's clock plus a number of milliseconds."""

    type = UtcDateTime()
    inherit_cache = True
    name = "after_milliseconds"


class filterable_json(FunctionElement[Any]):  # noqa: N801  # reads as a SQL function
    """JSON text as something the server can look into.

    JSONB cannot hold U+0000, so its escape (one preceded by an even number of backslashes) becomes U+0001: the
    nearest character, so that every comparison with a string that holds neither comes out the same.
    """

    inherit_cache = True
    name = "filterable_json"


# julianday has the resolution of a millisecond; 2440587.5 is 1970-01-01.
_SQLITE_NOW = "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000)"
POSTGRES_VERSION_CLOCK = "CAST(EXTRACT(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(server_now, "postgresql")
def _now_postgresql(element: server_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(server_version_clock, "postgresql")
def _clock_postgresql(element: server_version_clock, compiler: SQLCompiler, **kw: Any) -> str:
    return POSTGRES_VERSION_CLOCK


@compiles(server_now, "sqlite")
@compiles(server_version_clock, "sqlite")
def _now_sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return _SQLITE_NOW


@compiles(next_version, "postgresql")
def _next_postgresql(element: next_version, compiler: SQLCompiler, **kw: Any) -> str:
    return f"GREATEST({compiler.process(element.clauses, **kw)} + 1, {POSTGRES_VERSION_CLOCK})"


@compiles(next_moment, "postgresql")
def _moment_postgresql(element: next_moment, compiler: SQLCompiler, **kw: Any) -> str:
    return f"GREATEST({compiler.process(element.clauses, **kw)} + interval '1 microsecond', clock_timestamp())"


# A moment is an integer of microseconds on SQLite, like a version.
@compiles(next_moment, "sqlite")
@compiles(next_version, "sqlite")
def _next_sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)} + 1, {_SQLITE_NOW})"


@compiles(after_milliseconds, "postgresql")
def _after_postgresql(element: after_milliseconds, compiler: SQLCompiler, **kw: Any) -> str:
    return f"clock_timestamp() + {compiler.process(element.clauses, **kw)} * interval '1 millisecond'"


@compiles(after_milliseconds, "sqlite")
def _after_sqlite(element: after_milliseconds, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({_SQLITE_NOW} + {compiler.process(element.clauses, **kw)} * 1000)"


# Written as PostgreSQL prints it back, or autogenerate would see a difference at every run.
POSTGRES_FILTERABLE = (
    "CASE WHEN (strpos({0}, '\\u0000'::text) = 0) THEN ({0})::jsonb ELSE "
    "(regexp_replace({0}, '(?<!\\\\)((?:\\\\\\\\)*)\\\\u0000'::text, '\\1\\\\u0001'::text, 'g'::text))::jsonb END"
)


@compiles(filterable_json, "postgresql")
def _filterable_postgresql(element: filterable_json, compiler: SQLCompiler, **kw: Any) -> str:
    return POSTGRES_FILTERABLE.format(compiler.process(element.clauses, **kw))


@compiles(filterable_json, "sqlite")
def _filterable_sqlite(element: filterable_json, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


def is_live(expires_at: SQLColumnExpression[Any], now: ColumnElement[datetime] | None = None) -> ColumnElement[bool]:
    """The criterion of R22: no expiry, or one that is still to come by the server's clock."""
    return expires_at.is_(None) | (expires_at > (server_now() if now is None else now))
