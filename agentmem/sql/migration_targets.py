"""What a migration can be run on: a URL, an Engine or a Connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from agentmem.errors import ConfigurationError
from agentmem.sql.engines import is_memory, normalised
from agentmem.urls import redact, scheme_of

Target = str | URL | Engine | Connection


@contextmanager
def opened(target: Target) -> Iterator[Connection]:
    """Lend a connection to the target; one that was given is left as it was."""
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
        engine = _engine(target)
        try:
            with opened(engine) as connection:
                yield connection
        finally:
            engine.dispose()


def dialect_of(target: Target) -> str:
    """Return `postgresql` or `sqlite`.

    Raises:
        ConfigurationError: it is another one.
    """
    if isinstance(target, Engine | Connection):
        name = target.dialect.name
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


def _engine(target: str | URL) -> Engine:
    # What is run once is not worth preparing, and behind PgBouncer it must not be.
    options = {"prepare_threshold": None} if dialect_of(target) == "postgresql" else {}
    try:
        return create_engine(normalised(make_url(target)), poolclass=NullPool, connect_args=options)
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
        url = make_url(target)
    except ArgumentError:
        return False
    is_path = not is_memory(url) and not str(url.database).startswith("file:")
    return is_path and not Path(str(url.database)).exists()
