"""Learned values.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "learned_values"

# What an update changes is in no index, and pages keep room for a row's next version, which then stays on its page.
POSTGRESQL = """
    CREATE TABLE {learned_values} (
        partition text COLLATE "C" NOT NULL,
        qtable text COLLATE "C" NOT NULL,
        state text COLLATE "C" NOT NULL,
        action text COLLATE "C" NOT NULL,
        value double precision NOT NULL,
        visits bigint NOT NULL,
        updated_at timestamp with time zone NOT NULL,
        CONSTRAINT {pk_learned_values} PRIMARY KEY (partition, qtable, state, action)
    ) WITH (fillfactor = 70)
"""

# In a column of doubles SQLite would store -0.0 as the integer 0; under this name it stores a double as it comes.
SQLITE = """
    CREATE TABLE {learned_values} (
        "partition" TEXT NOT NULL,
        qtable TEXT NOT NULL,
        state TEXT NOT NULL,
        "action" TEXT NOT NULL,
        "value" BLOB NOT NULL,
        visits INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        CONSTRAINT {pk_learned_values} PRIMARY KEY ("partition", qtable, state, "action")
    )
"""


def upgrade() -> None:
    if _was_kept():
        op.rename_table(_table(f"{TABLE}_kept"), _table(TABLE), schema=_option("schema"))
        return
    statement = POSTGRESQL if op.get_context().dialect.name == "postgresql" else SQLITE
    op.execute(cleandoc(statement).format_map(_names()))


def downgrade() -> None:
    # What agents have learned stays, under a name that nobody uses.
    op.rename_table(_table(TABLE), _table(f"{TABLE}_kept"), schema=_option("schema"))


def _was_kept() -> bool:
    # A script for later (--sql) cannot look; where the table was kept, it stops at the name of its index.
    if op.get_context().as_sql:
        return False
    return sa.inspect(op.get_bind()).has_table(_table(f"{TABLE}_kept"), schema=_option("schema"))


def _option(name: str) -> Any:
    return op.get_context().opts[name]


def _table(name: str) -> str:
    return str(_option("table_name")(name))


def _names() -> dict[str, str]:
    """What the statement calls things, quoted."""
    quote = op.get_context().dialect.identifier_preparer.quote
    schema = _option("schema")
    place = "" if schema is None else f"{quote(schema)}."
    return {TABLE: place + quote(_table(TABLE)), "pk_learned_values": quote(_option("other_name")("pk_learned_values"))}
