"""The host's Alembic: what it need know of agentmem is which tables are not its own."""

from __future__ import annotations

import os

import app
from alembic import context
from sqlalchemy import create_engine

from agentmem.sql import include_name_for

engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=app.Base.metadata,
        include_schemas=True,
        include_name=include_name_for(**app.memory_names()),
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
