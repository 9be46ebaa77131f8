"""From a URL or a host's engine to a repository."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from agentmem.errors import ConfigurationError, Unavailable
from agentmem.options import names_of, read_options
from agentmem.sql import schema
from agentmem.sql.connections import EngineConnections, translated
from agentmem.sql.engines import is_memory, normalised, postgres_engine, sqlite_engine
from agentmem.sql.options import EngineOptions, PostgresOptions, SQLiteOptions, SQLOptions, split
from agentmem.sql.replicas import ReplicatedConnections
from agentmem.sql.repository import SQLRepository
from agentmem.urls import redact

if TYPE_CHECKING:
    from sqlalchemy import URL

    from agentmem.sql.dialect import Dialect
    from agentmem.sql.naming import Naming


_PYSQLITE_PARAMETERS = {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}

OLDEST_SQLITE = (3, 35, 0)
REPLICA_CONNECT_SECONDS = 3


def open_url(url: str, options: dict[str, Any]) -> SQLRepository:
    """Open a database by URL, and see to its schema.

    Raises:
        ConfigurationError: a malformed URL, an unknown option, a driver that is not installed.
        SchemaMismatch: the schema is missing, behind or ahead.
        Unavailable, PermissionDenied: the database cannot be reached.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Not `from` the error: it may show a part of a password, taken for a port.
        raise ConfigurationError(f"not a database URL: {redact(url)}") from None
    if "\0" in url:
        raise ConfigurationError(f"not a database URL: {redact(url)!r} holds a NUL")
    parsed = normalised(parsed)
    return _open_sqlite(parsed, options) if parsed.drivername.startswith("sqlite") else _open_postgres(parsed, options)


def _open_sqlite(place: URL, given: dict[str, Any]) -> SQLRepository:
    url, asked = split(place, SQLiteOptions)
    options = read_options(SQLiteOptions, {**asked, **given})
    memory = is_memory(url)
    _check_parameters(url)
    if not memory and options.create != "never":
        _make_folder(str(url.database))
    dialect = _sqlite_dialect(options, poll=not memory)
    connections = EngineConnections(
        sqlite_engine(url, options),
        dialect,
        capacity=1 if memory else options.pool_size,
        timeout=options.pool_timeout,
        keep=not memory,
        own=True,
        renew=(lambda engine: _upgrade(engine, options.naming)) if memory else None,
    )
    return _opened(connections, dialect, options, create=options.create != "never")


def _check_parameters(url: URL) -> None:
    """The driver's own parameters are set by our options, and SQLite's are for `file:` names."""
    if url.host or url.username or url.port:
        raise ConfigurationError(
            "a SQLite URL has three slashes, and a fourth before an absolute path: sqlite:///file.db"
        )
    is_uri = "uri" in url.query
    unknown = sorted(name for name in url.query if name != "uri" and (not is_uri or name in _PYSQLITE_PARAMETERS))
    if unknown:
        known = ", ".join(sorted(names_of(SQLiteOptions)))
        raise ConfigurationError(f"unknown URL parameter {unknown[0]!r}; this backend takes the options {known}")


def _make_folder(database: str) -> None:
    if database.startswith("file:"):
        return  # SQLite's own way to name a file, which it reads itself
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the folder of the database cannot be made: {error}", retryable=False) from error


def _open_postgres(place: URL, given: dict[str, Any]) -> SQLRepository:
    url, asked = split(place, PostgresOptions)
    options = read_options(PostgresOptions, {**asked, **given})
    dialect = _postgres_dialect(options)
    primary = _postgres_connections(url, dialect, options)
    replica = None if options.read_url is None else _replica_connections(options.read_url, options)
    connections = primary if replica is None else ReplicatedConnections(primary, replica)
    return _opened(connections, dialect, options, create=options.create == "always")


def _postgres_connections(url: URL, dialect: Dialect, options: PostgresOptions) -> EngineConnections:
    return EngineConnections(
        postgres_engine(url, options),
        dialect,
        capacity=options.pool_size,
        timeout=options.pool_timeout,
        keep=True,
        own=True,
    )


def _replica_connections(place: str, options: PostgresOptions) -> EngineConnections:
    try:
        url = normalised(make_url(place))
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ConfigurationError(f"option 'read_url': not a database URL: {redact(place)}") from None
    if not url.drivername.startswith("postgresql"):
        raise ConfigurationError(f"option 'read_url': a replica is PostgreSQL as well, not {redact(place)}")
    # Who waits for a replica could have asked the primary long ago.
    shorter = options.model_copy(update={"connect_timeout": min(options.connect_timeout, REPLICA_CONNECT_SECONDS)})
    return _postgres_connections(split(url, PostgresOptions)[0], _postgres_dialect(shorter), shorter)


def open_engine(engine: Engine, given: dict[str, Any]) -> SQLRepository:
    """Use a host's engine: its pool and its options; it is never closed by us.

    Raises:
        ConfigurationError: an engine of another database or driver, an unknown option.
        SchemaMismatch: the schema is missing, behind or ahead.
    """
    options = read_options(EngineOptions, given)
    driver = f"{engine.dialect.name}+{engine.dialect.driver}"
    if driver == "sqlite+pysqlite":
        dialect: Dialect = _sqlite_dialect(options, poll=False)
    elif driver == "postgresql+psycopg":
        dialect = _postgres_dialect(options)
    else:
        raise ConfigurationError(f"agentmem speaks sqlite+pysqlite and postgresql+psycopg, this engine {driver}")
    connections = EngineConnections(engine, dialect, capacity=0, timeout=options.pool_timeout, keep=False, own=False)
    return _opened(connections, dialect, options, create=options.create == "always")


def _sqlite_dialect(options: SQLiteOptions | EngineOptions, *, poll: bool) -> Dialect:
    from agentmem.sql.sqlite import SQLiteDialect

    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise ConfigurationError(f"Python's SQLite is {sqlite3.sqlite_version}; agentmem needs {wanted}, for RETURNING")
    if options.naming.schema is not None:
        raise ConfigurationError("option 'schema': SQLite has none; there is table_prefix")
    return SQLiteDialect(
        busy_timeout=options.busy_timeout, max_value_bytes=options.max_value_bytes, poll=poll, naming=options.naming
    )


def _postgres_dialect(options: PostgresOptions | EngineOptions) -> Dialect:
    try:
        from agentmem.sql.postgres import PostgresDialect
    except ImportError as error:
        raise ConfigurationError("PostgreSQL needs psycopg: install the extra `postgres`") from error
    return PostgresDialect(
        prepare_threshold=options.prepare_threshold, max_value_bytes=options.max_value_bytes, naming=options.naming
    )


def _opened(
    connections: EngineConnections | ReplicatedConnections, dialect: Dialect, options: SQLOptions, *, create: bool
) -> SQLRepository:
    try:
        _see_to_schema(connections.engine, dialect, options.naming, create=create)
    except BaseException:
        connections.close()
        raise
    return SQLRepository(connections, dialect, max_value_bytes=options.max_value_bytes)


def _see_to_schema(engine: Engine, dialect: Dialect, naming: Naming, *, create: bool) -> None:
    try:
        with engine.connect() as connection:
            _check_encoding(connection)
            revision = schema.read_revision(connection, naming)
    except DBAPIError as error:
        raise translated(dialect, error) from error
    if create and revision in (None, *schema.KNOWN[:-1]):
        _upgrade(engine, naming)
    else:
        schema.compare(revision, engine.url, naming)


def _upgrade(engine: Engine, naming: Naming) -> None:
    from agentmem.sql import migrations

    migrations.upgrade(engine, schema=naming.schema, table_prefix=naming.table_prefix)


def _check_encoding(connection: Connection) -> None:
    """Order by code point and `?` as one character (R2, R3) need UTF-8, and so does what goes over the wire (R6)."""
    if connection.dialect.name == "postgresql":
        question = "SELECT current_setting('server_encoding'), current_setting('client_encoding')"
        database, client = connection.exec_driver_sql(question).one()
    else:
        database = client = connection.exec_driver_sql("PRAGMA encoding").scalar_one()
    for whose, encoding in (("database's encoding", database), ("connection's client_encoding", client)):
        if encoding not in ("UTF8", "UTF-8"):
            raise ConfigurationError(f"the {whose} is {encoding}; agentmem needs UTF-8")
