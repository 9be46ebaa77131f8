"""What a migration can be run on: a URL, an Engine or a Connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from agentmem.errors import ConfigurationError
from agentmem.sql.engines import is_memory, normalised, postgres_engine
from agentmem.sql.naming import Naming
from agentmem.sql.options import PostgresOptions, SQLiteOptions, split
from agentmem.urls import redact, scheme_of

Target = str | URL | Engine | Connection


@contextmanager
def opened(target: Target, *, connect_seconds: int | None = None) -> Iterator[Connection]:
    """Lend a connection to the target; one that was given is left as it was.

    Args:
        target: what to connect to.
        connect_seconds: where that is a URL of PostgreSQL: how long to wait for an answer at most.
    """
    dialect_of(target)
    if isinstance(target, Connection):
        yield target
    elif isinstance(target, Engine):
        with target.connect() as connection:
            if target.dialect.name == "postgresql":
                # Whatever the engine's default is, autocommit included; the pool gets it back as it was.
                connection.execution_options(isolation_level="READ COMMITTED")
            yield connection
    else:
        engine = _engine(target, connect_seconds)
        try:
            with opened(engine) as connection:
                yield connection
        finally:
            engine.dispose()


def dialect_of(target: Target) -> str:
    """Return `postgresql` or `sqlite`.

    Raises:
        ConfigurationError: it is another one, or no target.
    """
    if isinstance(target, Engine | Connection):
        name = target.dialect.name
    elif not isinstance(target, str | URL):
        raise ConfigurationError(
            f"a migration runs on a URL, an Engine or a Connection, not on {type(target).__name__}; within a script of "
            "your own Alembic (--sql) there is no connection: `migrations.sql` returns ours"
        )
    else:
        name = (scheme_of(str(target)) or str(target)).partition("+")[0]
    if name == "postgres":
        return "postgresql"
    if name not in ("postgresql", "sqlite"):
        raise ConfigurationError(f"migrations are for sqlite:// and postgresql:// URLs, not for {name}://")
    return name


def shown(target: Target) -> str:
    """Return the target's URL without its password."""
    if isinstance(target, Engine | Connection):
        target = target.engine.url
    return redact(target.render_as_string(hide_password=True) if isinstance(target, URL) else target)


def naming_of(target: Target, schema: str | None, table_prefix: str) -> Naming:
    """How the tables are called there: what is not said may stand in the URL's query.

    Raises:
        ConfigurationError: they cannot be.
    """
    dialect = dialect_of(target)
    if isinstance(target, str | URL) and "?" in str(target):
        with _refused(target):
            asked = split(make_url(target), PostgresOptions)[1]
        schema, table_prefix = schema or asked.get("schema"), table_prefix or asked.get("table_prefix", "")
    if schema is not None and dialect == "sqlite":
        raise ConfigurationError("SQLite has no schemas; there is table_prefix")
    return Naming(schema, table_prefix)


def _engine(target: str | URL, connect_seconds: int | None) -> Engine:
    with _refused(target):
        url = normalised(make_url(target))
        if dialect_of(target) == "sqlite":
            return create_engine(split(url, SQLiteOptions)[0], poolclass=NullPool)
        # What is run once is not worth preparing, and behind PgBouncer it must not be.
        options = PostgresOptions(prepare_threshold=None)
        if connect_seconds is not None:
            shorter = min(options.connect_timeout, max(1, connect_seconds))
            options = options.model_copy(update={"connect_timeout": shorter})
        return postgres_engine(split(url, PostgresOptions)[0], options)


@contextmanager
def _refused(target: str | URL) -> Iterator[None]:
    try:
        yield
    except ConfigurationError:
        raise
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Not `from` the error: it may show a part of a password, taken for a port.
        raise ConfigurationError(f"no database URL: {redact(target)}") from None
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error}: install agentmem with its extra [postgres]") from error


def is_missing_file(target: Target) -> bool:
    """Whether to look would create the file: SQLite does that."""
    if not isinstance(target, str | URL) or dialect_of(target) != "sqlite":
        return False
    try:
        url = normalised(make_url(target))
    except ArgumentError:
        return False
    is_path = not is_memory(url) and not str(url.database).startswith("file:")
    return is_path and not Path(str(url.database)).exists()
