"""`memory.using(connection)`: what queues do commits or rolls back with a host's own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from agentmem import Ack, Enqueue, LeaseLost, Put
from agentmem.sql.engines import normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


@pytest.fixture
def engine(url: str, memory: Memory) -> Iterator[Engine]:
    engine = create_engine(normalised(make_url(url)))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    memory.queue("jobs").put_many(["first", "second"])
    yield engine
    engine.dispose()


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_items_are_put_and_acked_with_the_hosts_rows(memory: Memory, engine: Engine, commits: bool) -> None:
    [job] = memory.queue("jobs", lease=60).claim()
    before = memory.queue("jobs").counts()
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        joined = memory.using(connection)
        queued = joined.apply([Put("result", 1), Ack(job), Enqueue("next", "x", dedup_key="k")])[2].value
        assert queued.created
        assert joined.queue("next").put("y", dedup_key="k") == (queued.id, False)
        [claimed] = joined.queue("jobs").claim(5)
        assert claimed.value == "second"
        connection.commit() if commits else connection.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM orders")).scalar_one() == commits
    assert memory.exists("result") is commits
    assert memory.queues() == (["jobs", "next"] if commits else ["jobs"])
    assert tuple(memory.queue("jobs").counts()) == ((0, 0, 0, 1, 0) if commits else tuple(before))
    if not commits:
        memory.apply([Ack(job)])
    assert memory.check() == []


def test_a_lost_lease_leaves_the_hosts_transaction_good(memory: Memory, engine: Engine) -> None:
    queue = memory.queue("jobs", lease=60)
    [job] = queue.claim()
    job.ack()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        joined = memory.using(connection)
        with pytest.raises(LeaseLost), joined.transaction() as tx:  # noqa: PT012 - the end of the block raises
            tx.put("result", 1)
            tx.enqueue("next", 1)
            tx.ack(job)
        joined.put("note", "the lease was lost")
        joined.queue("jobs").put("third")
    assert (memory.get("note"), memory.exists("result"), memory.queues()) == ("the lease was lost", False, ["jobs"])
    assert [item.value for item in queue.peek()] == ["second", "third"]
    assert memory.check() == []
