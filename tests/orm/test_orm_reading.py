"""The models in a host's own queries, joins and relationships."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, String, and_, cast, func, literal, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, foreign, mapped_column, relationship, remote

from agentmem.sql import Base, MemoryEntry, Partition

VALUES = {
    "task/1": {"status": "open", "score": 9, "tags": ["a", "b"], "owner": {"name": "Ada"}},
    "task/2": {"status": "done", "score": 10.5, "tags": [], "owner": {"name": "Grace"}},
    "task/3": {"status": "x\0y", "score": 12345678901234567890123, "tags": ["b"], "owner": None},
    "text": "only a string",
}


class HostBase(DeclarativeBase):
    """A host's own models, with a MetaData of their own."""


class Customer(HostBase):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)


class Order(HostBase):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id))
    memory: Mapped[MemoryEntry | None] = relationship(
        MemoryEntry,
        primaryjoin=lambda: and_(
            remote(MemoryEntry.partition_name) == literal("default"),
            remote(foreign(MemoryEntry.key)) == "task/" + cast(Order.id, String),
        ),
        viewonly=True,
        uselist=False,
    )


@pytest.fixture(autouse=True)
def entries(session):
    session.add_all(MemoryEntry(key=key, value=value) for key, value in VALUES.items())
    session.commit()


def keys(session, *criteria):
    return session.scalars(select(MemoryEntry.key).where(*criteria).order_by(MemoryEntry.key)).all()


def test_value_in_a_query(session):
    value = MemoryEntry.value
    assert keys(session, value["status"].as_string() == "done") == ["task/2"]
    assert keys(session, value["score"].as_float() > 9) == ["task/2", "task/3"]
    assert keys(session, value["score"].as_float() == 9) == ["task/1"]
    assert keys(session, value[("owner", "name")].as_string().in_(["Ada", "Grace"])) == ["task/1", "task/2"]
    assert keys(session, value[("tags", 0)].as_string() == "b") == ["task/3"]
    assert keys(session, value["missing"].as_string().is_not(None)) == []


def test_value_as_a_result(session):
    rows = session.execute(select(MemoryEntry.key, MemoryEntry.value).where(MemoryEntry.key != "task/3"))
    assert dict(rows.all()) == {key: value for key, value in VALUES.items() if key != "task/3"}


def test_value_of_an_alias(session):
    one, other = aliased(MemoryEntry), aliased(MemoryEntry, name="other")
    query = select(one.key, other.key).where(
        one.partition_name == other.partition_name,
        one.live(),
        other.live(),
        one.value["status"].as_string() == "open",
        other.value["status"].as_string() == "done",
    )
    assert session.execute(query).all() == [("task/1", "task/2")]


def test_an_instance_loads_no_json_column(session):
    assert "memory_entries.value" not in str(select(MemoryEntry))


@pytest.mark.rule("R22")
def test_live_leaves_out_what_has_expired(session):
    entry = session.get_one(MemoryEntry, ("default", "task/1"))
    entry.expires_at = entry.created_at
    session.get_one(MemoryEntry, ("default", "task/2")).expire_after(60)
    session.commit()
    assert keys(session, MemoryEntry.live()) == ["task/2", "task/3", "text"]
    assert keys(session, ~MemoryEntry.live()) == ["task/1"]
    assert len(keys(session)) == len(VALUES)


@pytest.mark.rule("R2")
def test_keys_sort_by_code_point(session):
    odd = ["Z", "a", "é", "e\u0301", "\uffff", "\U0001f600", "_", "~"]
    session.add_all(MemoryEntry(partition_name="sorted", key=key, value=1) for key in odd)
    session.commit()
    assert keys(session, MemoryEntry.partition_name == "sorted") == sorted(odd)


def test_relationships_within_agentmem(session):
    entry = session.get_one(MemoryEntry, ("default", "text"))
    assert entry.partition.name == "default"
    found = session.scalars(entry.partition.entries.select().where(MemoryEntry.key.startswith("task/")))
    assert len(found.all()) == 3
    counted = select(Partition.name, func.count()).join(Partition.entries).group_by(Partition.name)
    assert session.execute(counted).all() == [("default", len(VALUES))]


def test_a_hosts_table_in_a_base_of_its_own(engine, session):
    HostBase.metadata.create_all(engine)
    session.add(Customer(id=1))
    session.flush()
    session.add_all(Order(id=number, customer_id=1) for number in (1, 2, 7))
    session.commit()
    memories = {order.id: order.memory and order.memory.value["status"] for order in session.scalars(select(Order))}
    assert memories == {1: "open", 2: "done", 7: None}
    done = select(Order.id).join(Order.memory).where(MemoryEntry.value["status"].as_string() == "done")
    assert session.scalars(done).all() == [2]


def test_one_transaction_for_the_hosts_rows_and_ours(engine, session):
    HostBase.metadata.create_all(engine)
    session.add_all([Customer(id=1), MemoryEntry(key="new", value=1)])
    session.flush()
    session.rollback()
    assert session.scalars(select(Customer)).all() == []
    assert session.get(MemoryEntry, ("default", "new")) is None


def test_the_metadata_is_apart_from_a_hosts():
    ours = {"partitions", "memory_entries", "queue_items", "learned_values", "agentmem_version"}
    assert set(Base.metadata.tables) == ours
    assert set(HostBase.metadata.tables) == {"customers", "orders"}
