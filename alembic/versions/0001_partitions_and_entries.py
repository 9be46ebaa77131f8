"""Partitions and memory entries.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("partitions", "memory_entries")
OTHERS = ("pk_partitions", "pk_memory_entries", "ix_memory_entries_expires_at")

# JSONB holds no U+0000: its escape becomes U+0001, but not where the backslash is itself escaped.
POSTGRESQL = (
    """
    CREATE TABLE {partitions} (
        name text COLLATE "C" NOT NULL,
        default_ttl_ms bigint,
        namespace text COLLATE "C",
        description text,
        version_floor bigint DEFAULT 0 NOT NULL,
        created_at timestamp with time zone NOT NULL,
        CONSTRAINT {pk_partitions} PRIMARY KEY (name)
    )
    """,
    r"""
    CREATE TABLE {memory_entries} (
        partition text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        body text NOT NULL,
        value jsonb GENERATED ALWAYS AS (
            CASE WHEN (strpos(body, '\u0000'::text) = 0) THEN (body)::jsonb ELSE
            (regexp_replace(body, '(?<!\\)((?:\\\\)*)\\u0000'::text, '\1\\u0001'::text, 'g'::text))::jsonb END
        ) STORED,
        metadata text,
        version bigint NOT NULL,
        created_at timestamp with time zone NOT NULL,
        updated_at timestamp with time zone NOT NULL,
        expires_at timestamp with time zone,
        CONSTRAINT {pk_memory_entries} PRIMARY KEY (partition, key)
    )
    """,
    "CREATE INDEX {ix_memory_entries_expires_at} ON {memory_entries} (expires_at) WHERE expires_at IS NOT NULL",
    # Only a server that was built with lz4 lists it; one older than PostgreSQL 14 could not even parse the command.
    """
    DO $$ BEGIN
        IF EXISTS (
            SELECT FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
        ) THEN
            EXECUTE 'ALTER TABLE {memory_entries_in_text}'
                ' ALTER COLUMN body SET COMPRESSION lz4, ALTER COLUMN value SET COMPRESSION lz4';
        END IF;
    END $$
    """,
)

SQLITE = (
    """
    CREATE TABLE {partitions} (
        name TEXT NOT NULL,
        default_ttl_ms INTEGER,
        namespace TEXT,
        description TEXT,
        version_floor INTEGER DEFAULT 0 NOT NULL,
        created_at INTEGER NOT NULL,
        CONSTRAINT {pk_partitions} PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE {memory_entries} (
        "partition" TEXT NOT NULL,
        "key" TEXT NOT NULL,
        body TEXT NOT NULL,
        "value" TEXT GENERATED ALWAYS AS (body) VIRTUAL,
        metadata TEXT,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER,
        CONSTRAINT {pk_memory_entries} PRIMARY KEY ("partition", "key")
    )
    """,
    "CREATE INDEX {ix_memory_entries_expires_at} ON {memory_entries} (expires_at) WHERE expires_at IS NOT NULL",
)


def upgrade() -> None:
    if _was_kept():
        for table in TABLES:
            op.rename_table(_table(f"{table}_kept"), _table(table), schema=_option("schema"))
        return
    names = _names()
    for statement in POSTGRESQL if op.get_context().dialect.name == "postgresql" else SQLITE:
        op.execute(cleandoc(statement).format_map(names))


def downgrade() -> None:
    # There is nothing before this revision, and everything to lose: the data stays, under names that nobody uses.
    for table in TABLES:
        op.rename_table(_table(table), _table(f"{table}_kept"), schema=_option("schema"))


def _was_kept() -> bool:
    # A script for later (--sql) cannot look; where tables were kept, it stops at the names of their indexes.
    if op.get_context().as_sql:
        return False
    return sa.inspect(op.get_bind()).has_table(_table("memory_entries_kept"), schema=_option("schema"))


def _option(name: str) -> Any:
    return op.get_context().opts[name]


def _table(name: str) -> str:
    return str(_option("table_name")(name))


def _names() -> dict[str, str]:
    """What the statements call things, quoted."""
    quote = op.get_context().dialect.identifier_preparer.quote
    schema = _option("schema")
    place = "" if schema is None else f"{quote(schema)}."
    names = {table: place + quote(_table(table)) for table in TABLES}
    names["memory_entries_in_text"] = names["memory_entries"].replace("'", "''")
    other = _option("other_name")
    return names | {name: quote(other(name)) for name in OTHERS}
