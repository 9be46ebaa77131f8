"""Connections that were cut while they rested, and servers that are away, stuck, or come back (R34)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis

import agentmem
from agentmem import Append, OutcomeUnknown, Put, Unavailable
from agentmem.testing.faults import FaultProxy
from agentmem.testing.processes import free_port
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.redis_local import LocalRedis
    from agentmem.testing.redis_server import RedisServer

READS: dict[str, Callable[[Memory], object]] = {
    "get": lambda m: m.get("key"),
    "entry": lambda m: m.entry("key"),
    "exists": lambda m: m.exists("key"),
    "get_many": lambda m: m.get_many(["key", "list"]),
    "search": lambda m: list(m.search("k*")),
    "search by updated": lambda m: list(m.search("k*", order="updated")),
    "search where": lambda m: list(m.search("*", where={"a": 1})),
    "count": lambda m: m.count("k*"),
    "children": lambda m: m.children(),
    "stats": lambda m: m.stats().entries,
    "stats of a scope": lambda m: m.scoped("k").stats().entries,
    "partitions": lambda m: m.partitions(),
    "check": lambda m: m.check(),
    "ping": lambda m: m.ping(),
}
WRITES: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", 2),
    "increment": lambda m: m.increment("key"),
    "put_many": lambda m: m.put_many({"key": 2, "new": 2}),
    "delete": lambda m: m.delete("key"),
    "touch": lambda m: m.touch("key", 60),
    "append": lambda m: m.append("list", 2),
    "apply": lambda m: m.apply([Put("key", 2), Append("list", 2)]),
    "clear": lambda m: m.clear(),
    "purge_expired": lambda m: m.purge_expired(),
    "policy": lambda m: m.partition("default", default_ttl=60),
    "a first put": lambda m: m.partition("fresh").put("key", 1),
    "drop_partition": lambda m: m.drop_partition("default"),
}
CALLS = {**READS, **WRITES}

#: No time-out of a test's own: far above what is expected.
QUICK_SECONDS = 3.0


def kill_clients(server: RedisServer) -> None:
    """End every other connection, as an administrator would, and wait until they are gone."""
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: len(client.client_list()) == 1)


# Cut while it rests


@pytest.mark.parametrize("name", CALLS)
def test_r34_a_call_on_a_connection_that_was_killed_at_rest_works(own_server: LocalRedis, name: str) -> None:
    with agentmem.connect(own_server.new_store()) as memory:
        memory.put_many({"key": 1, "list": [1], "object": {"a": 1}})
        kill_clients(own_server)
        CALLS[name](memory)
        assert memory.check() == []


@pytest.mark.parametrize("name", ["get", "search", "put", "increment", "apply"])
def test_r34_a_call_on_a_connection_that_was_reset_at_rest_works(proxy: FaultProxy, behind: Memory, name: str) -> None:
    proxy.cut()
    time.sleep(0.1)
    CALLS[name](behind)
    assert behind.check() == []


def test_r34_all_connections_of_a_pool_were_cut_at_rest(proxy: FaultProxy, behind: Memory) -> None:
    run_threads(8, lambda _: behind.get("key"))
    proxy.cut()
    time.sleep(0.1)
    run_threads(8, lambda index: behind.put(f"{index}", index))
    assert behind.count() == 11


def test_r34_a_server_that_closes_idle_connections_is_not_noticed(own_server: LocalRedis) -> None:
    with own_server.client() as client, agentmem.connect(own_server.new_store()) as memory:
        memory.put("key", 1)
        client.config_set("timeout", 1)
        try:
            eventually(lambda: len(client.client_list()) == 1)  # the server's own clock ends the other one
        finally:
            client.config_set("timeout", 0)
        assert memory.increment("key") == 2


# Cut in flight, for reads; test_lost_writes.py is about writes


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply", "halve_reply"])
@pytest.mark.parametrize("name", READS)
def test_r34_a_read_is_retried_once(proxy: FaultProxy, behind: Memory, name: str, fault: str) -> None:
    expected = READS[name](behind)
    before = proxy.connections
    getattr(proxy, fault)()
    assert READS[name](behind) == expected
    assert proxy.connections == before + 1


def test_r34_a_read_is_not_retried_for_ever(proxy: FaultProxy, behind: Memory) -> None:
    behind.get("key")
    before = proxy.connections
    for _ in range(2):
        proxy.lose_reply(containing=b"GET")
    with pytest.raises(Unavailable) as caught:
        behind.get("key")
    assert caught.value.retryable
    assert proxy.connections == before + 1
    assert behind.get("key") == 1


# Stuck


@pytest.fixture
def hasty(proxy: FaultProxy) -> Iterator[Memory]:
    """A handle that waits half a second for an answer."""
    with agentmem.connect(proxy.url, timeout=0.5, connect_timeout=0.5) as memory:
        memory.put("key", 1)
        memory.increment("counter")
        yield memory


@pytest.mark.parametrize("name", ["get", "search", "count", "ping"])
def test_r18_pitfall_a_mute_server_is_waited_for_once(proxy: FaultProxy, hasty: Memory, name: str) -> None:
    """Not eleven times, nor twice: who has waited in vain for one answer would only wait in vain for another."""
    READS[name](hasty)
    proxy.hang()
    before, began = proxy.connections, time.monotonic()
    with pytest.raises(Unavailable) as caught:
        READS[name](hasty)
    assert time.monotonic() - began < QUICK_SECONDS
    assert caught.value.retryable
    assert proxy.connections == before
    proxy.accept()
    assert hasty.get("key") == 1


def test_r18_a_write_to_a_mute_server_is_not_repeated(proxy: FaultProxy, hasty: Memory) -> None:
    proxy.hang()
    before = proxy.connections
    with pytest.raises(OutcomeUnknown):
        hasty.increment("counter")
    assert proxy.connections == before
    proxy.accept()
    eventually(lambda: hasty.get("counter") in (1, 2))
    assert hasty.increment("counter") in (2, 3)


def test_a_mute_server_is_not_connected_to_for_long(proxy: FaultProxy, hasty: Memory) -> None:
    proxy.hang()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        agentmem.connect(proxy.url, timeout=0.5)
    proxy.cut()
    time.sleep(0.1)
    with pytest.raises(Unavailable):  # it certainly reached nobody
        hasty.put("key", 2)
    assert time.monotonic() - began < QUICK_SECONDS


# Away


def test_pitfall_a_refused_connection_is_told_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        agentmem.connect(f"redis://127.0.0.1:{free_port()}/0")
    assert time.monotonic() - began < QUICK_SECONDS
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


def test_r34_a_server_that_is_away_and_comes_back(proxy: FaultProxy, behind: Memory) -> None:
    proxy.refuse()
    for call in CALLS.values():
        with pytest.raises(Unavailable) as caught:
            call(behind)
        assert caught.value.retryable
        assert isinstance(caught.value.__cause__, redis.RedisError)
    proxy.accept()
    assert behind.get("key") == 1
    assert behind.put("key", 2).value == 2
    assert behind.check() == []


def test_r34_it_survives_the_restart_of_its_server(disposable_redis_server: RedisServer) -> None:
    server = disposable_redis_server
    with agentmem.connect(server.new_store()) as memory:
        memory.put("key", 1)
        server.stop()
        for call in (lambda: memory.get("key"), lambda: memory.put("key", 2), lambda: memory.append("list", 2)):
            with pytest.raises(Unavailable):
                call()
        server.start()
        assert memory.get("key") == 1
        memory.put("key", 2)
        server.restart()
        memory.put("key", 3)
        assert memory.get("key") == 3
        assert memory.check() == []


def test_r34_threads_survive_a_restart_and_count_what_was_confirmed(disposable_redis_server: RedisServer) -> None:
    server, over = disposable_redis_server, threading.Event()
    with agentmem.connect(server.new_store(), pool_size=3) as memory:

        def work(index: int) -> Counter[str]:
            if index:
                return counted(memory, over)
            time.sleep(0.05)
            server.restart()
            time.sleep(0.05)
            over.set()
            return Counter()

        figures: Counter[str] = sum(run_threads(5, work), Counter())
        found: Any = memory.get("counter")
        assert figures["confirmed"] <= found <= figures["confirmed"] + figures["OutcomeUnknown"]
        assert figures["Unavailable"] > 0
        assert memory.check() == []


def counted(memory: Memory, over: threading.Event) -> Counter[str]:
    """Increment until it is over; how many increments were confirmed, and how the others ended."""
    figures: Counter[str] = Counter()
    while not over.is_set():
        try:
            memory.increment("counter")
            figures["confirmed"] += 1
        except (OutcomeUnknown, Unavailable) as error:
            figures[type(error).__name__] += 1
            time.sleep(0.002)
    return figures
