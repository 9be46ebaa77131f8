"""Functions for what a statement cannot do by itself: stamp a new row that had to wait, and read metadata leniently.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("partitions", "memory_entries")
FUNCTIONS = {"memory_entries_restamp": "text, text", "memory_entries_fields": "text"}

# In plpgsql, since the planner would open up a function in SQL each time that it plans a statement which calls it.
# Names are looked up when a function runs, as those of the statements are, so that a schema can be dumped and restored.
POSTGRESQL = (
    # For RETURNING: the values of a new row are computed before it waits for a row that is in its way, which may have
    # been written and deleted when the wait is over. A volatile function sees the new row, and the floor of now.
    """
    CREATE OR REPLACE FUNCTION {memory_entries_restamp}(text, text) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        moment timestamptz := clock_timestamp();
        stamps bigint[];
    BEGIN
        UPDATE {memory_entries} e SET
            version = GREATEST(
                e.version + 1,
                CAST(EXTRACT(epoch FROM moment) * 1000000 AS bigint),
                (SELECT p.version_floor + 1 FROM {partitions} p WHERE p.name = $1)
            ),
            created_at = moment,
            updated_at = moment,
            expires_at = moment + (e.expires_at - e.updated_at)
        WHERE e.partition = $1 AND e.key = $2
        RETURNING ARRAY[
            e.version,
            CAST(EXTRACT(epoch FROM e.updated_at) * 1000000 AS bigint),
            CAST(EXTRACT(epoch FROM e.expires_at) * 1000000 AS bigint)
        ] INTO stamps;
        RETURN stamps;
    END
    $$
    """,
    # The object that metadata is; NULL for any other text, which a host may have written: a cast would fail the query.
    r"""
    CREATE OR REPLACE FUNCTION {memory_entries_fields}(text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
    DECLARE
        fields jsonb;
    BEGIN
        fields := CASE WHEN strpos($1, '\u0000') = 0 THEN CAST($1 AS jsonb) ELSE
            CAST(regexp_replace($1, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\u0001', 'g') AS jsonb) END;
        RETURN CASE jsonb_typeof(fields) WHEN 'object' THEN fields END;
    EXCEPTION
        WHEN data_exception OR program_limit_exceeded THEN
            RETURN NULL;
    END
    $$
    """,
)


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        names = _names()
        for statement in POSTGRESQL:
            op.execute(cleandoc(statement).format_map(names))


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        names = _names()
        for function, arguments in FUNCTIONS.items():
            op.execute(f"DROP FUNCTION IF EXISTS {names[function]}({arguments})")


def _names() -> dict[str, str]:
    """What the statements call things, quoted."""
    options: dict[str, Any] = op.get_context().opts
    quote = op.get_context().dialect.identifier_preparer.quote
    place = "" if options["schema"] is None else f"{quote(options['schema'])}."
    return {name: place + quote(options["table_name"](name)) for name in (*TABLES, *FUNCTIONS)}
