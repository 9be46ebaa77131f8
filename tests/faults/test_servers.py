"""What may happen to a server, or be done to it by its administrator, while eight threads write."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from agentmem import OutcomeUnknown, Unavailable
from agentmem.testing.chaos import Crew
from agentmem.testing.processes import Server
from agentmem.testing.redis_server import open_client

if TYPE_CHECKING:
    from collections.abc import Callable


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
