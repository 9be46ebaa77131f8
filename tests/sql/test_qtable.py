"""Learned values in SQL: what a step costs, what stays on its page, who waits for whom, and a host's transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text
from sqlalchemy.orm import Session

import agentmem
from agentmem import CounterOverflow
from agentmem.coordination.qtable import Snapshot
from agentmem.sql.engines import normalised
from agentmem.sql.models import LearnedValue
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


@pytest.fixture
def engine(url: str, memory: Memory) -> Iterator[Engine]:
    engine = create_engine(normalised(make_url(url)))
    yield engine
    engine.dispose()


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_learning_is_part_of_a_hosts_transaction(memory: Memory, engine: Engine, commits: bool) -> None:
    memory.qtable("q").update("s", "a", 1.0)
    with engine.connect() as connection:
        table = memory.using(connection).qtable("q")
        table.update("s", "a", 1.0)
        table.update_many([("s", "b", 1.0, "s"), ("s", "b", 1.0)])
        table.merge(Snapshot([("t", "a", 1.0, 5)]))
        assert len(table.snapshot()) == 3
        connection.commit() if commits else connection.rollback()
    assert len(memory.qtable("q").snapshot()) == (3 if commits else 1)
    assert memory.qtable("q").visits("s", "a") == (2 if commits else 1)


def test_a_refused_step_leaves_a_hosts_transaction_good(memory: Memory, engine: Engine) -> None:
    with engine.connect() as connection:
        table = memory.using(connection).qtable("q", alpha=1.0)
        table.update("s", "a", 1e308)
        for count in (1, 2):
            with pytest.raises(CounterOverflow):
                table.update_many([("s", "a", -1e308)] * count)
        table.update("s", "b", 1.0)
        connection.commit()
    assert memory.qtable("q").values("s") == {"a": 1e308, "b": 1.0}


def test_a_host_reads_what_was_learned(memory: Memory, engine: Engine) -> None:
    memory.qtable("q").update_many([("s", "a", 1.0), (("x", 1), "a", -0.0, None, False, 1.0)])
    with Session(engine) as session:
        rows = session.scalars(select(LearnedValue).order_by(LearnedValue.state)).all()
        assert [(row.qtable, row.state, row.action, row.visits) for row in rows] == [
            ("q", '=["x",1]', "a", 1),
            ("q", "s", "a", 1),
        ]
        assert rows[1].value == 0.1
        assert rows[1].updated_at.tzinfo is not None
        assert session.scalar(select(LearnedValue.value).where(LearnedValue.value > 0.05)) == 0.1


def test_check_names_what_no_learner_wrote(memory: Memory, engine: Engine) -> None:
    memory.qtable("q").update("s", "a", 1.0)
    assert memory.check() == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE learned_values SET visits = -1"))
        connection.execute(text("UPDATE learned_values SET value = :value"), {"value": float("inf")})
        lost = "SELECT 'lost', qtable, state, action, 0.5, 1, updated_at FROM learned_values"
        connection.execute(text(f"INSERT INTO learned_values {lost}"))
    assert sorted((problem.kind, problem.partition, problem.key) for problem in memory.check()) == [
        ("learned_value", "default", "q"),
        ("orphan", "lost", None),
    ]


@pytest.mark.postgres
def test_an_update_stays_on_its_page(postgres_schema_url: str) -> None:
    """Heap-only tuples: the server writes no index."""

    def counted() -> tuple[int, int]:
        figures = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'learned_values'"
        with psycopg.connect(postgres_schema_url) as connection:
            row: Any = connection.execute(figures).fetchone()
        return row[0], row[1]

    # What a connection has done is in the server's figures when it has ended, at the latest.
    with agentmem.connect(postgres_schema_url) as memory:
        memory.qtable("q").update_many([(f"s{number}", "a", 1.0) for number in range(300)])
    eventually(lambda: counted()[0] == 300)
    shares = []
    # An old snapshot of somebody else keeps pages full for a while: that makes a round worse, never better.
    for round_ in range(1, 5):
        before = counted()[1]
        with agentmem.connect(postgres_schema_url) as memory:
            for turn in range(1_500):
                memory.qtable("q").update(f"s{turn % 300}", "a", 1.0, f"s{turn % 7}")
        updates = 300 + round_ * 1_500
        eventually(lambda updates=updates: counted()[0] == updates)  # type: ignore[misc]
        shares.append((counted()[1] - before) / 1_500)
        if shares[-1] >= 0.95:
            break
    assert max(shares) >= 0.95


@pytest.mark.postgres
def test_a_step_reads_its_own_row_under_the_lock_and_others_as_they_were(postgres_schema_url: str) -> None:
    """While a step waits for its row, what it finds there in the end is the row's present value."""
    with agentmem.connect(postgres_schema_url) as memory, psycopg.connect(postgres_schema_url) as other:
        table = memory.qtable("q", alpha=1.0, gamma=1.0)
        table.restore(Snapshot([("s", "a", 1.0, 1)]))
        other.execute("UPDATE learned_values SET value = 10 WHERE state = 's'")
        made: list[float] = []
        thread = threading.Thread(target=lambda: made.append(table.update("s", "a", 5.0, "s")))
        thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with psycopg.connect(postgres_schema_url, autocommit=True) as watcher:
            eventually(lambda: watcher.execute(waiting).fetchone() == (1,))
        other.commit()
        thread.join(30)
    assert made == [15.0]
