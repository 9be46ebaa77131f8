"""Alembic's environment: for `alembic` in a checkout, and for agentmem.migrations, which hands over a connection."""

from __future__ import annotations

import os
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, String, inspect
from sqlalchemy.schema import CreateSchema

from agentmem.errors import AgentMemError
from agentmem.sql import include_declared, metadata, migrations, schema
from agentmem.sql.migration_locks import lock_timeout, set_lock_timeout
from agentmem.sql.migration_targets import dialect_of, naming_of
from agentmem.sql.naming import Naming

# The attributes that agentmem.migrations sets; none of them when Alembic's own command runs.
given = context.config.attributes
lock_timeout_ms: int = given.get("lock_timeout_ms", migrations.DEFAULT_LOCK_TIMEOUT_MS)


def url() -> str:
    """Where to: never through alembic.ini, whose interpolation would stumble over a % in a password."""
    found = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("AGENTMEM_URL")
    if not found:
        raise CommandError("which database? Give -x url=… or set AGENTMEM_URL")
    return found


def find_naming() -> Naming:
    """How the tables are called: as agentmem.migrations says; or `-x schema=… -x table_prefix=…`, or as in the URL."""
    found: Naming | None = given.get("naming")
    if found is not None:
        return found
    options = context.get_x_argument(as_dictionary=True)
    try:
        return naming_of(url(), options.get("schema"), options.get("table_prefix") or "")
    except AgentMemError as error:
        raise CommandError(str(error)) from error


naming = find_naming()
OURS = {naming.table(name) for name in metadata.tables}


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Compare our own tables alone: a host's are none of our business, and our partitions' indexes are data."""
    if type_ == "schema":
        return name == reported_schema()
    # Alembic leaves its version table out by itself, but not where it calls the table's schema None.
    is_known = name == naming.table(schema.VERSION_TABLE) and parent_names["schema_name"] != naming.schema
    if type_ == "table":
        return name in OURS and not is_known
    return include_declared(name, type_, parent_names)


def reported_schema() -> str | None:
    """What Alembic calls our schema: None if it is the one that the connection's search path leads to."""
    default = context.get_context().dialect.default_schema_name
    return None if naming.schema == default else naming.schema


def number(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Number a new revision: 0002 after 0001."""
    for directive in directives:
        directive.rev_id = f"{int(schema.HEAD) + 1:04d}"


def configure(**options: Any) -> None:
    context.configure(
        target_metadata=naming.tables(metadata),
        version_table=naming.table(schema.VERSION_TABLE),
        version_table_schema=naming.schema,
        include_schemas=naming.schema is not None,
        # For the revisions, which import nothing of agentmem: what a table, an index or a constraint is called.
        schema=naming.schema,
        table_name=naming.table,
        other_name=naming.other,
        include_name=include_name,
        process_revision_directives=number,
        compare_type=True,
        compare_server_default=True,
        render_as_batch=True,
        # SQLite can roll back DDL; Alembic does not count on it.
        transactional_ddl=True,
        **options,
    )


def run(connection: Connection) -> None:
    def bound_locks_again(**_: Any) -> None:
        # A revision with an autocommit block has ended the transaction in which the bound was set.
        set_lock_timeout(connection, lock_timeout_ms)

    configure(connection=connection, on_version_apply=bound_locks_again)
    if naming.schema is not None:
        make_schema(connection, naming.schema)
    with context.begin_transaction(), lock_timeout(connection, lock_timeout_ms):
        context.run_migrations()


def make_schema(connection: Connection, name: str) -> None:
    """Where Alembic's version table goes first; nobody needs the right to make one that is there."""
    if not inspect(connection).has_schema(name):
        connection.execute(CreateSchema(name, if_not_exists=True))


def schema_script(name: str) -> str:
    """As make_schema, for later: IF NOT EXISTS alone would ask for the right to make it even where it is there."""
    dialect = context.get_context().dialect
    quoted = dialect.identifier_preparer.quote_schema(name)
    literal = String().literal_processor(dialect)(name)
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {literal}) THEN\n"
        f"    CREATE SCHEMA {quoted};\nEND IF; END $$"
    )


def run_online() -> None:
    if "connection" in given:
        run(given["connection"])
        return
    try:
        with migrations.alone(url(), naming=naming) as connection:
            run(connection)
    except AgentMemError as error:
        raise CommandError(str(error)) from error


def run_offline() -> None:
    dialect = given.get("dialect_name") or dialect_of(url())
    configure(dialect_name=dialect, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        if dialect == "postgresql":
            context.execute(f"SET LOCAL lock_timeout = '{lock_timeout_ms}ms'")
            if naming.schema is not None and context.get_starting_revision_argument() in (None, "base"):
                context.execute(schema_script(naming.schema))
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
