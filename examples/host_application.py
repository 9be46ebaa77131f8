"""A host application with tables of its own, joined with what its agents remember, on one engine.

Run it as `python examples/host_application.py [URL]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sqlalchemy import String, and_, cast, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import agentmem
from agentmem.sql import MemoryEntry


class Base(DeclarativeBase):
    """The host's own models."""


class Order(Base):
    """An order in the host's database."""

    __tablename__ = "example_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]


def main(url: str) -> None:
    """Let an agent summarise one order, and list all orders with what is remembered about them."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Order(id=1, customer="Ada"), Order(id=2, customer="Grace")])
        session.commit()
    # The engine stays the host's: closing the handle leaves it open.
    with agentmem.connect(engine, create="always") as memory:
        memory.put("orders/1", {"summary": "two books"}, ttl=3600)
    remembered = and_(
        MemoryEntry.partition_name == "default",
        MemoryEntry.key == "orders/" + cast(Order.id, String),
        MemoryEntry.live(),
    )
    query = (
        select(Order.id, MemoryEntry.value["summary"].as_string()).outerjoin(MemoryEntry, remembered).order_by(Order.id)
    )
    with Session(engine) as session:
        for number, summary in session.execute(query):
            print(f"order {number} was summarised: {summary}" if summary else f"order {number} has no summary yet")
    engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(f"sqlite:///{Path(folder) / 'host.db'}")
