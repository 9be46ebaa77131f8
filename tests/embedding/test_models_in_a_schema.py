"""The models in a host's Session, where our tables are in a schema of their own."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.orm import Session

import agentmem
from agentmem.sql import MemoryEntry, Partition
from agentmem.sql.engines import normalised


@pytest.mark.postgres
def test_a_session_is_led_into_the_schema(postgres_url: str) -> None:
    """By SQLAlchemy's own means, and what a flush does around an entry goes there as well."""
    engine = create_engine(normalised(make_url(postgres_url)), execution_options={"schema_translate_map": {None: "am"}})
    with agentmem.connect(postgres_url, create="always", schema="am") as memory:
        memory.put("a", {"x": 1})
        memory.partition("jobs", default_ttl=60)
        with Session(engine) as session:
            assert session.scalars(select(MemoryEntry.value).where(MemoryEntry.live())).all() == [{"x": 1}]
            session.add_all([MemoryEntry(partition_name=name, key="b", value=[1]) for name in ("jobs", "new", "gone")])
            session.get_one(MemoryEntry, ("default", "a")).value = {"y": 2}
            memory.using(session).put("c", 3)
            session.commit()
            session.delete(session.get_one(Partition, "gone"))
            session.commit()
        assert (memory.get("a"), memory.get("c")) == ({"y": 2}, 3)
        entry = memory.partition("jobs").entry("b")
        assert entry is not None
        assert entry.expires_at is not None
        assert [partition.name for partition in memory.partitions()] == ["default", "jobs", "new"]
        assert memory.check() == []
    engine.dispose()
