"""Who waits for work is woken by PostgreSQL, over one connection, and looks again where nobody can wake it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine, event, make_url, text

import agentmem
from agentmem.handle import repository_of
from agentmem.sql import queue_listening
from agentmem.sql.engines import normalised
from agentmem.testing.faults import FaultProxy
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.pgbouncer import PgBouncer

#: Far above what a notification takes, and below the pause after which everybody looks again.
AT_ONCE = 0.4
LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "agentmem-listener"]


def hears(memory: Memory, name: str = "jobs") -> bool:
    return ("default", name) in repository_of(memory).queues._waiting._listener._heard  # type: ignore[attr-defined]


def woken_after(memory: Memory, cause: Callable[[], object], *, when: Callable[[], bool] = lambda: True) -> float:
    """How long after a cause a waiting claim has its item."""
    moments: list[float] = []

    def run(index: int) -> float:
        if index == 0:
            assert memory.queue("jobs").claim(wait=20)
            return time.monotonic()
        time.sleep(0.3)
        eventually(when)
        moments.append(time.monotonic())
        cause()
        return 0.0

    return run_threads(2, run)[0] - moments[0]


@pytest.mark.postgres
def test_a_put_of_another_process_wakes_at_once(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory, agentmem.connect(postgres_schema_url) as other:
        # The best of several: the machine may be busy.
        delays = [woken_after(memory, lambda: other.queue("jobs").put(1), when=lambda: hears(memory)) for _ in range(4)]
        assert min(delays) < 0.1
        assert len(listeners()) == 1
    eventually(lambda: not listeners())


@pytest.mark.postgres
def test_the_last_put_of_a_burst_is_not_missed(postgres_schema_url: str) -> None:
    """A process that has just notified keeps silent about what follows."""
    with agentmem.connect(postgres_schema_url) as memory, agentmem.connect(postgres_schema_url) as other:

        def run(index: int) -> int:
            if index == 0:
                for turn in range(60):
                    other.queue("jobs").put(turn)
                return 0
            found = 0
            while jobs := memory.queue("jobs").claim(wait=1.5):
                memory.queue("jobs").ack(*jobs)
                found += 1
            return found

        assert sum(run_threads(4, run)) == 60


@pytest.mark.postgres
def test_one_put_wakes_one_of_many(postgres_schema_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with agentmem.connect(postgres_schema_url) as memory:
        waiting = repository_of(memory).queues._waiting  # type: ignore[attr-defined]
        queue = memory.queue("jobs")
        claims: list[int] = []
        exchange = repository_of(memory).queues._dialect.exchange  # type: ignore[attr-defined]

        def counted(link: Any, partition: str, step: Any) -> Any:
            claims.append(step.claim is not None)
            return exchange(link, partition, step)

        def run(index: int) -> int:
            if index < 8:
                return len(queue.claim(wait=20))
            eventually(lambda: len(waiting._waiters.get(("default", "jobs"), ())) == 8 and hears(memory))
            time.sleep(0.1)
            claims.clear()
            queue.put(1)
            eventually(lambda: queue.counts().leased == 1)
            time.sleep(0.2)
            few = sum(claims)
            queue.put_many(range(7))
            return few

        monkeypatch.setattr(repository_of(memory).queues._dialect, "exchange", counted)  # type: ignore[attr-defined]
        *found, few = run_threads(9, run)
        assert found == [1] * 8
        assert few <= 4


@pytest.mark.postgres
def test_the_connection_is_no_pooled_one_and_ends_with_its_waiters(
    postgres_schema_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_listening, "LINGER_SECONDS", 0.2)
    with (
        agentmem.connect(postgres_schema_url, pool_size=1) as memory,
        psycopg.connect(postgres_schema_url, autocommit=True) as connection,
    ):
        connection.execute("SELECT 1")
        run_threads(3, lambda _: memory.queue("jobs").claim(wait=0.5))
        assert len(listeners()) == 1
        assert connection.execute(LISTENING).fetchall() == [(1,)]
        eventually(lambda: not listeners())
        eventually(
            lambda: (
                connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' "
                    "AND pid <> pg_backend_pid() AND datname = current_database()"
                ).fetchone()
                == (0,)
            )
        )
        memory.queue("jobs").put(1)
        assert memory.queue("jobs").claim(wait=1)


@pytest.mark.postgres
def test_nobody_listens_who_does_not_wait(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory:
        memory.queue("jobs").put(1)
        assert memory.queue("jobs").claim()
        assert memory.queue("jobs").claim() == []
        assert listeners() == []


@pytest.mark.postgres
def test_behind_a_pooler_waiters_look_again(postgres_schema_url: str, pgbouncer: PgBouncer) -> None:
    with (
        agentmem.connect(pgbouncer.url(postgres_schema_url)) as memory,
        agentmem.connect(postgres_schema_url) as other,
    ):
        assert woken_after(memory, lambda: other.queue("jobs").put(1)) < 5
        assert woken_after(memory, lambda: other.queue("jobs").put(1)) < 5
        assert listeners() == []


@pytest.mark.postgres
def test_a_cut_connection_is_made_up_for(postgres_schema_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_listening, "SHUN_SECONDS", 0.2)
    with (
        FaultProxy(postgres_schema_url) as proxy,
        agentmem.connect(proxy.url) as memory,
        agentmem.connect(postgres_schema_url) as other,
    ):

        def cut_and_put() -> None:
            other.stats()
            proxy.cut()
            other.queue("jobs").put(1)

        assert woken_after(memory, cut_and_put, when=lambda: hears(memory)) < 5
        assert woken_after(memory, lambda: other.queue("jobs").put(1), when=lambda: hears(memory)) < 5


@pytest.mark.postgres
def test_a_hosts_engine_gives_a_connection_apart(postgres_schema_url: str) -> None:
    """The host's pool of one stays free for everybody else."""
    engine = create_engine(normalised(make_url(postgres_schema_url)), pool_size=1, max_overflow=0, pool_timeout=5)
    seen: list[str] = []
    event.listen(engine, "connect", lambda raw, _: seen.append(raw.info.parameter_status("server_version")))
    with agentmem.connect(engine) as memory, agentmem.connect(postgres_schema_url) as other:

        def put() -> None:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                other.queue("jobs").put(1)

        assert woken_after(memory, put, when=lambda: hears(memory)) < 5
        assert len(seen) == 2
    engine.dispose()


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_listens_for_itself(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory, agentmem.connect(postgres_schema_url) as other:
        memory.queue("jobs").claim(wait=0.3)
        eventually(lambda: hears(memory) or bool(memory.queue("jobs").claim(wait=0.2)))
        child = os.fork()
        if child == 0:
            try:
                assert listeners() == []
                delay = woken_after(memory, lambda: other.queue("jobs").put(1), when=lambda: hears(memory))
                os._exit(0 if delay < 5 else 1)
            except BaseException:  # noqa: BLE001 - whatever it was, the child must not go on with the tests
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert woken_after(memory, lambda: other.queue("jobs").put(1), when=lambda: hears(memory)) < 5


def test_a_thread_of_the_process_wakes_at_once_on_sqlite(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url) as memory:
        memory.queue("other").put(1)
        threads = threading.active_count()
        delays = [woken_after(memory, lambda: memory.queue("jobs").put(1)) for _ in range(4)]
        assert min(delays) < 0.1
        assert threading.active_count() == threads


def test_another_process_is_seen_within_half_a_second_on_sqlite(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url) as memory, agentmem.connect(sqlite_url) as other:
        assert min(woken_after(memory, lambda: other.queue("jobs").put(1)) for _ in range(3)) < 0.7


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_closing_lets_waiters_go(request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_schema_url")
    memory = agentmem.connect(url)

    def run(index: int) -> float:
        if index == 0:
            time.sleep(0.4)
            memory.close()
            return 0.0
        began = time.monotonic()
        with pytest.raises(agentmem.Closed):
            memory.queue("jobs").claim(wait=30)
        return time.monotonic() - began

    assert max(run_threads(5, run)) < 10
    assert listeners() == []
