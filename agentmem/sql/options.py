"""The options of the SQL backends; an unknown one is refused by name (R31)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agentmem.options import Options
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES
from agentmem.sql.naming import Naming

MAX_VALUE_BYTES_LIMIT = 200 * 1024 * 1024
"""A string in PostgreSQL's JSONB ends at 256 MB; a body must leave room for its escapes."""


class SQLOptions(Options):
    """What every SQL backend takes.

    Attributes:
        max_value_bytes: the limit of R8.
        schema: PostgreSQL's schema that the tables are in; None for the one that the search path leads to.
        table_prefix: what the names of the tables begin with.
    """

    max_value_bytes: int = Field(DEFAULT_MAX_VALUE_BYTES, ge=1, le=MAX_VALUE_BYTES_LIMIT)
    schema_: str | None = Field(None, alias="schema")  # pydantic has a method of the name
    table_prefix: str = ""

    @property
    def naming(self) -> Naming:
        """How the tables are called."""
        return Naming(self.schema_, self.table_prefix)


class SQLiteOptions(SQLOptions):
    """SQLite's own.

    Attributes:
        busy_timeout: seconds that a writer waits for its turn.
        synchronous: `normal`: a power cut may take the last commits, never consistency; `full`: every commit is synced.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    synchronous: Literal["normal", "full"] = "normal"


class PostgresOptions(SQLOptions):
    """PostgreSQL's own.

    Attributes:
        connect_timeout: seconds to wait for a connection to open.
        prepare_threshold: psycopg's; None never prepares, for proxies that cannot bear it.
        application_name: what pg_stat_activity shows.
    """

    connect_timeout: int = Field(10, ge=1, le=600)
    prepare_threshold: int | None = Field(5, ge=0)
    application_name: str = "agentmem"


class EngineOptions(SQLOptions):
    """For a host's engine: its pool is the host's affair.

    Attributes:
        busy_timeout: on SQLite, as there.
        prepare_threshold: on PostgreSQL, as there.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    prepare_threshold: int | None = Field(5, ge=0)
