"""The options of the SQL backends; an unknown one is refused by name (R31)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentmem.errors import ConfigurationError
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES

OptionsT = TypeVar("OptionsT", bound="Options")

MAX_VALUE_BYTES_LIMIT = 200 * 1024 * 1024
"""A string in PostgreSQL's JSONB ends at 256 MB; a body must leave room for its escapes."""


class Options(BaseModel):
    """What every SQL backend takes.

    Attributes:
        create: make the schema if it is missing. `auto`: on SQLite; `always`: on a server too; `never`: nowhere.
        max_value_bytes: the limit of R8.
        pool_size: connections that may be open at once; more threads wait.
        pool_timeout: seconds that a thread waits for a connection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    create: Literal["auto", "always", "never"] = "auto"
    max_value_bytes: int = Field(DEFAULT_MAX_VALUE_BYTES, ge=1, le=MAX_VALUE_BYTES_LIMIT)
    pool_size: int = Field(10, ge=1, le=1_000)
    pool_timeout: float = Field(30.0, gt=0, le=3_600)


class SQLiteOptions(Options):
    """SQLite's own.

    Attributes:
        busy_timeout: seconds that a writer waits for its turn.
        synchronous: `normal`: a power cut may take the last commits, never consistency; `full`: every commit is synced.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    synchronous: Literal["normal", "full"] = "normal"


class PostgresOptions(Options):
    """PostgreSQL's own.

    Attributes:
        connect_timeout: seconds to wait for a connection to open.
        prepare_threshold: psycopg's; None never prepares, for proxies that cannot bear it.
        application_name: what pg_stat_activity shows.
    """

    connect_timeout: int = Field(10, ge=1, le=600)
    prepare_threshold: int | None = Field(5, ge=0)
    application_name: str = "agentmem"


class EngineOptions(Options):
    """For a host's engine: its pool is the host's affair.

    Attributes:
        busy_timeout: on SQLite, as there.
        prepare_threshold: on PostgreSQL, as there.
    """

    busy_timeout: float = Field(30.0, gt=0, le=3_600)
    prepare_threshold: int | None = Field(5, ge=0)


def read_options(model: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Validate options.

    Raises:
        ConfigurationError: names the option.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(model.model_fields))
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(f"unknown option {name!r}; this backend takes {known}") from None
        raise ConfigurationError(f"option {name!r}: {first['msg']}") from None
