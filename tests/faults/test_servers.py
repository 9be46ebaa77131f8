"""What may happen to a server, or be done to it by its administrator, while eight threads write."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.testing.chaos import Crew
from agentmem.testing.faults import FaultProxy
from agentmem.testing.processes import Server
from agentmem.testing.redis_server import open_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def kill(server: Server) -> None:
    server.kill()
    time.sleep(0.1)
    server.start()


def freeze(server: Any) -> None:
    """By SIGSTOP: connections stay, and whatever arrives is dealt with when it thaws."""
    processes = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.6)
    for pid in reversed(processes):
        os.kill(pid, signal.SIGCONT)


WAYS: dict[str, Callable[[Any], None]] = {"kill -9": kill, "restart": Server.restart, "frozen": freeze}


@pytest.mark.parametrize("way", WAYS)
def test_r17_what_was_confirmed_outlives_the_server(mortal: Any, way: str) -> None:
    """PostgreSQL with fsync, Redis with appendfsync at always."""
    is_hasty = mortal.url.startswith("redis") and way == "frozen"
    options: dict[str, Any] = {"timeout": 0.2} if is_hasty else {}
    told = mortal.survive(lambda crew: WAYS[way](mortal.server), **options)
    assert told <= {Unavailable, OutcomeUnknown}
    assert told or (way == "frozen" and not is_hasty)


def test_r34_a_server_that_dies_three_times(mortal: Any) -> None:
    def strike(crew: Crew) -> None:
        for _ in range(3):
            kill(mortal.server)
            crew.proceed(50)

    assert mortal.survive(strike) <= {Unavailable, OutcomeUnknown}


def end_connections(url: str) -> None:
    """As an administrator does."""
    if url.startswith("redis"):
        with open_client(url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return
    with psycopg.connect(url, autocommit=True) as connection:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}".encode())


def test_r34_connections_are_ended_by_an_administrator(stage: Any) -> None:
    def strike(crew: Crew) -> None:
        for _ in range(10):
            end_connections(stage.url)
            crew.proceed(30)

    assert stage.survive(strike) <= {Unavailable, OutcomeUnknown}


@pytest.mark.postgres
def test_r34_statements_are_cancelled_by_an_administrator(
    postgres_schema_url: str, postgres_stage_at: Callable[[str], Any]
) -> None:
    """Each of them is rolled back, so whoever is told so may repeat it."""
    active = "pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'"

    def strike(crew: Crew) -> None:
        with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
            for _ in range(300):
                connection.execute(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {active}".encode())
                time.sleep(0.002)

    assert postgres_stage_at(postgres_schema_url).survive(strike) <= {Unavailable, OutcomeUnknown}


# The renewal of a new row's version is a second statement (docs/adr/0004)


@pytest.fixture
def slow_rows(postgres_schema_url: str) -> Iterator[str]:
    """A database where every new row takes a millisecond, while another transaction is under way: all are renewed."""
    with psycopg.connect(postgres_schema_url) as other:
        other.execute("SET LOCAL statement_timeout = 0")
        other.execute("SELECT pg_current_xact_id()")
        with psycopg.connect(postgres_schema_url, autocommit=True) as administrator:
            administrator.execute(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$"
            )
            administrator.execute(
                "CREATE TRIGGER slow BEFORE INSERT ON memory_entries FOR EACH ROW EXECUTE FUNCTION slow()"
            )
        yield postgres_schema_url


@pytest.mark.postgres
@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
@pytest.mark.parametrize("name", ["put", "put_many", "increment"])
def test_r18_a_renewal_that_is_lost_leaves_the_outcome_unknown(slow_rows: str, name: str, fault: str) -> None:
    """The row was written: who was told that it was not would count twice."""
    calls: dict[str, Callable[[Memory], object]] = {
        "put": lambda memory: memory.put("key", 1),
        "put_many": lambda memory: memory.put_many({"key": 1, "other": 1}),
        "increment": lambda memory: memory.increment("key"),
    }
    with FaultProxy(slow_rows) as proxy, agentmem.connect(proxy.url) as memory:
        memory.put("first", 1)
        getattr(proxy, fault)(containing=b"AS r (key, version)")
        with pytest.raises(OutcomeUnknown):
            calls[name](memory)
        assert not proxy.relent()
        assert memory.get("key") == 1
        assert memory.check() == []


@pytest.mark.postgres
def test_r18_a_renewal_that_is_cancelled_leaves_the_outcome_unknown(slow_rows: str) -> None:
    with agentmem.connect(slow_rows) as memory, psycopg.connect(slow_rows, autocommit=True) as administrator:
        memory.put("first", 1)
        administrator.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE query_canceled USING MESSAGE = 'canceling statement'; END $$"
        )
        administrator.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON memory_entries FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        with pytest.raises(OutcomeUnknown):
            memory.increment("key")
        assert memory.get("key") == 1
