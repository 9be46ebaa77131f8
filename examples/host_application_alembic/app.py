"""A host application with tables, models and an Alembic of its own, and agentmem in the same database.

    DATABASE_URL=postgresql+psycopg://… python app.py          # or sqlite:///shop.db

$MEMORY_SCHEMA (PostgreSQL) and $MEMORY_TABLE_PREFIX say where agentmem's tables are: beside the host's own if neither
is set. The host's Alembic works as ever, in this folder: alembic upgrade head, alembic revision --autogenerate.
"""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import agentmem
from agentmem import migrations

HERE = Path(__file__).parent


class Base(DeclarativeBase):
    """The host's own models."""


class Order(Base):
    """An order in the host's database."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]


def memory_names() -> dict[str, str]:
    """Where agentmem's tables are: what connect, migrations and env.py must agree on."""
    names = {"schema": os.environ.get("MEMORY_SCHEMA"), "table_prefix": os.environ.get("MEMORY_TABLE_PREFIX")}
    return {name: value for name, value in names.items() if value}


def main() -> None:
    """Migrate the database, both parts of it, and use both in one transaction."""
    engine = create_engine(os.environ["DATABASE_URL"])
    command.upgrade(Config(HERE / "alembic.ini"), "head")
    migrations.upgrade(engine, **memory_names())
    with agentmem.connect(engine, **memory_names()) as memory:
        with Session(engine) as session:
            session.add(Order(id=7, customer="Ada"))
            memory.using(session).put("orders/7", {"summary": "two books"})
            session.rollback()
        print(f"after a roll-back: {memory.get('orders/7')}")
        with Session(engine) as session:
            session.add(Order(id=7, customer="Ada"))
            memory.using(session).put("orders/7", {"summary": "two books"})
            session.commit()
        print(f"after a commit: {memory.get('orders/7')}")
    engine.dispose()


if __name__ == "__main__":
    main()
