"""The options of the SQL backends, also in a URL's query; an unknown one is refused by name (R31)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from sqlalchemy import URL

from agentmem.options import Options, names_of
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES
from agentmem.sql.naming import Naming

MMAP_BYTES_LIMIT = 0x7FFF0000
"""What SQLite is compiled to bear at the most."""

MAX_VALUE_BYTES_LIMIT = 200 * 1024 * 1024
"""A string in PostgreSQL's JSONB ends at 256 MB; a body must leave room for its escapes."""


_LIBPQ: Final = {"application_name", "connect_timeout"}
"""Options of ours that the driver takes from the URL by itself."""

AUTO: Final = "auto"
Threshold = Annotated[
    Annotated[int, Field(ge=0)] | Literal["auto"] | None,
    BeforeValidator(lambda given: None if given == "none" else given),  # as a URL says it
]


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
        mmap_bytes: how much of the file's beginning is read through a map of memory (ADR 0023). Reads all over a file
            of some hundred MB take up to half the time less; but where the disk fails, the process ends with SIGBUS in
            place of an error, and what was read counts as the process' resident memory.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    synchronous: Literal["normal", "full"] = "normal"
    mmap_bytes: int = Field(0, ge=0, le=MMAP_BYTES_LIMIT)


class PostgresOptions(SQLOptions):
    """PostgreSQL's own.

    Attributes:
        connect_timeout: seconds to wait for a connection to open.
        timeout: seconds to wait while nothing is heard from the server, be it stuck, or busy with a query or a lock;
            None waits.
        prepare_threshold: after how many runs a statement is prepared; None (in a URL: `none`) is never. `auto` is
            psycopg's own 5, and never where a pooler such as PgBouncer stands between: another client's statement of
            the same name would be run there.
        application_name: what pg_stat_activity shows.
        read_url: of a replica that streams from the database, for reads: see agentmem.sql.replicas.
    """

    connect_timeout: int = Field(10, ge=1, le=600)
    timeout: float | None = Field(None, gt=0, le=3_600)
    prepare_threshold: Threshold = AUTO
    application_name: str = "agentmem"
    read_url: str | None = None


class EngineOptions(SQLOptions):
    """For a host's engine: its pool is the host's affair.

    Attributes:
        busy_timeout: on SQLite, as there.
        prepare_threshold: on PostgreSQL, as there.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    prepare_threshold: Threshold = AUTO


def split(url: URL, model: type[SQLOptions]) -> tuple[URL, dict[str, Any]]:
    """The URL without the options in its query, and these."""
    given = {name: value for name, value in url.query.items() if name in names_of(model) - _LIBPQ}
    return url.difference_update_query(given), given
