"""${message}.

Rules of a migration, which runs while others use the tables:

- It is frozen: it imports nothing of agentmem, and a released one is never edited.
- One purpose. Two dialects: `op.get_context().dialect.name` is "postgresql" or "sqlite"; `--sql` must work, so nothing
  that it does depends on what is stored.
- PostgreSQL, short locks only. lock_timeout is 0.8 s: what waits longer for ACCESS EXCLUSIVE fails and is tried again
  after a pause, instead of holding up every query behind it. Safe at any size: ADD COLUMN (nullable, or with a constant default), DROP COLUMN, a new table.
  Not safe on a large table: ALTER COLUMN TYPE, ADD COLUMN GENERATED … STORED, a volatile default (each rewrites it);
  SET NOT NULL and ADD CONSTRAINT without NOT VALID (each scans it under the lock): add NOT VALID, VALIDATE later.
- CREATE INDEX on a table that may be large: `with op.get_context().autocommit_block():`, alone in its revision; in it
  first `op.drop_index(..., postgresql_concurrently=True, if_exists=True)`, because a build that was broken off leaves an
  invalid index of that name, then `op.create_index(..., postgresql_concurrently=True)`.
- Data is moved in batches, never by one UPDATE of everything.
- The code of the version before must work on the new schema: first add, release, and only later remove.
- SQLite: what ALTER TABLE cannot do takes `with op.batch_alter_table(...)`, which copies the table.
- downgrade() keeps what can be kept.
- Then: append the revision to KNOWN in agentmem/sql/schema.py.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
