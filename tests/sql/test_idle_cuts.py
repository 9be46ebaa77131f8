"""Connections that somebody on the way cut while they rested: noticed without a ping before each call."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.handle import repository_of
from agentmem.memory import Memory
from agentmem.pool.drivers import is_readable
from agentmem.testing.faults import FaultProxy
from agentmem.testing.silence import can_swallow, swallow
from agentmem.testing.support import eventually, run_threads

pytestmark = pytest.mark.postgres
in_silence = pytest.mark.skipif(not can_swallow(), reason="needs the packet filter of Linux")


@pytest.fixture
def proxy(postgres_schema_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(postgres_schema_url) as proxy:
        yield proxy


def resting(memory: Memory) -> list[int]:
    """The descriptors of a handle's connections that nobody uses."""
    connections: Any = repository_of(memory)._connections  # type: ignore[attr-defined]  # of the SQL repository
    return [link.raw.fileno() for link in connections._idle]


def test_a_server_that_ends_sessions_that_idle(postgres_schema_url: str, proxy: FaultProxy) -> None:
    """pitfall: "SSL connection has been closed" until restart. Each costs one new connection, and no error."""
    with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET idle_session_timeout = 150')  # milliseconds
    with agentmem.connect(proxy.url) as memory:
        for turn in range(3):
            before = proxy.connections
            assert memory.increment("n") == 1 + turn
            assert proxy.connections - before == 1
            memory.get("n")  # PostgreSQL 18 does not count the seconds after a pipeline
            eventually(lambda: all(is_readable(descriptor) for descriptor in resting(memory)))


@in_silence
def test_a_read_on_a_connection_that_was_cut_in_silence(proxy: FaultProxy) -> None:
    """It waits for the time-out, and then is made once more."""
    with agentmem.connect(f"{proxy.url}?tcp_user_timeout=500") as memory:
        memory.put("key", 1)
        swallow(proxy)
        before, started = proxy.connections, time.monotonic()
        assert memory.get("key") == 1
        assert proxy.connections - before == 1
        assert time.monotonic() - started < 15


@in_silence
def test_a_write_on_a_connection_that_was_cut_in_silence(proxy: FaultProxy) -> None:
    """It may have arrived, for all that is known here."""
    with agentmem.connect(f"{proxy.url}?tcp_user_timeout=500") as memory:
        memory.put("n", 1)
        swallow(proxy)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            memory.increment("n")
        assert time.monotonic() - started < 15
        assert memory.increment("n") == 2


@in_silence
@pytest.mark.slow
def test_a_cut_in_silence_is_noticed_while_the_connection_rests(proxy: FaultProxy) -> None:
    """By the system's probes: then not even a write is lost."""
    probes = "keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1000"
    with agentmem.connect(f"{proxy.url}?{probes}") as memory:
        memory.put("n", 1)
        swallow(proxy)
        eventually(lambda: all(is_readable(descriptor) for descriptor in resting(memory)), 30)
        before = proxy.connections
        assert memory.increment("n") == 2
        assert proxy.connections - before == 1


@in_silence
def test_probes_and_time_outs_are_set(proxy: FaultProxy) -> None:
    def settings(url: str) -> tuple[int, ...]:
        with agentmem.connect(url) as memory:
            memory.ping()
            with socket.socket(fileno=os.dup(resting(memory)[0])) as copy:
                names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
                return tuple(copy.getsockopt(socket.IPPROTO_TCP, name) for name in names)

    assert settings(proxy.url) == (30, 10, 3, 20_000)
    assert settings(f"{proxy.url}?keepalives_idle=7&tcp_user_timeout=9000") == (7, 10, 3, 9_000)


def test_threads_that_find_all_their_connections_cut(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=4) as memory:
        run_threads(4, lambda _: memory.increment("n"))
        proxy.cut()
        eventually(lambda: all(is_readable(descriptor) for descriptor in resting(memory)))
        run_threads(8, lambda _: memory.increment("n"))
        assert memory.get("n") == 12


CALLS: dict[str, tuple[Callable[[Memory], object], type[Exception]]] = {
    "get": (lambda m: m.get("key"), Unavailable),
    "search": (lambda m: m.search("*"), Unavailable),
    "put": (lambda m: m.put("key", 2), OutcomeUnknown),
    "append": (lambda m: m.append("list", 2), Unavailable),
    "put_many": (lambda m: m.put_many({f"{number}": number for number in range(6_000)}), OutcomeUnknown),
    "ping": (lambda m: m.ping(), Unavailable),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_is_stuck_is_waited_for_as_long_as_was_said(proxy: FaultProxy, name: str) -> None:
    """It acknowledges everything, so no time-out of the system sees it. A read is not tried again: why wait twice?"""
    call, expected = CALLS[name]
    with agentmem.connect(proxy.url, timeout=0.3) as memory:
        memory.put("key", 1)
        proxy.hang()
        before, started = proxy.connections, time.monotonic()
        with pytest.raises(expected, match="option timeout"):
            call(memory)
        assert time.monotonic() - started < 10
        assert proxy.connections == before
        proxy.accept()
        assert memory.get("key") in (1, 2)
        memory.append("list", 1)
        assert memory.check() == []


def test_patience_begins_anew_with_each_sign_of_life(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, timeout=2) as memory:
        assert len(memory.put_many({f"{number:05}": "x" * 100 for number in range(20_000)})) == 20_000
        assert sum(1 for _ in memory.items()) == 20_000
