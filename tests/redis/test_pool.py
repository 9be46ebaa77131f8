"""Connections of our own: few for many threads, none left after the end (R32, R35), none held after an interrupt."""

from __future__ import annotations

import os
import resource
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Closed, OutcomeUnknown, PoolTimeout, Put, Unavailable
from agentmem.testing.faults import FaultProxy
from agentmem.testing.support import eventually, interrupt_everywhere, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.redis_local import LocalRedis

CALLS: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", 1),
    "get": lambda m: m.get("key"),
    "get_many": lambda m: m.get_many(["key", "other"]),
    "apply": lambda m: m.apply([Put("key", 1), Put("other", 2)]),
    "append": lambda m: m.append("list", 1, limit=2),
    "search": lambda m: m.search("k*"),
    "stats": lambda m: m.stats(),
    "clear": lambda m: m.partition("other").clear(),
}


# Few


def connections(memory: Memory) -> Any:
    """Those that the handle lends to its calls."""
    return next(memory._gateway.repository.servers.each())  # type: ignore[attr-defined]


@contextmanager
def held(proxy: FaultProxy, memory: Memory) -> Iterator[list[Any]]:
    """Keep a connection busy: a read that gets its answer at the end of this. Yields what it found."""
    found: list[Any] = []
    memory.put("held", 1)
    before = proxy.requests
    proxy.hang()
    reader = threading.Thread(target=lambda: found.append(memory.get("held")))
    reader.start()
    eventually(lambda: proxy.requests > before)
    yield found
    proxy.accept()
    reader.join(30)
    assert not reader.is_alive()


def test_r32_no_connection_becomes_free_in_time(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=1, pool_timeout=0.25) as memory:
        with held(proxy, memory) as found:
            for call in (lambda: memory.get("key"), lambda: memory.put("key", 1)):
                with pytest.raises(PoolTimeout, match=r"0\.25 s.* 1 .*pool_size") as caught:
                    call()
                assert isinstance(caught.value, TimeoutError)
                assert caught.value.retryable
        assert found == [1]
        assert memory.put("key", 1).value == 1


def test_r32_a_thread_that_waits_gets_the_connection_that_becomes_free(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=1, pool_timeout=30) as memory:
        late: list[Any] = []
        with held(proxy, memory):
            reader = threading.Thread(target=lambda: late.append(memory.get("held")))
            reader.start()
            time.sleep(0.1)
            assert late == []
        reader.join(30)
        assert late == [1]


@pytest.mark.parametrize("pool_size", [1, 3])
def test_r32_a_pool_is_never_exceeded(proxy: FaultProxy, pool_size: int) -> None:
    with agentmem.connect(proxy.url, pool_size=pool_size) as memory:
        run_threads(24, lambda index: [memory.increment("counter") for _ in range(20)])
        assert memory.get("counter") == 480
        assert proxy.connections <= pool_size


def test_pitfall_ten_first_calls_open_as_many_connections_as_there_are_places(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=2) as memory:
        run_threads(10, lambda index: memory.put(f"{index}", index))
        assert proxy.connections <= 2
        assert memory.count() == 10


def test_a_failure_in_flight_gives_its_place_in_the_pool_back(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=1, pool_timeout=2) as memory:
        memory.put("key", 0)
        for _ in range(3):
            memory.ping()
            proxy.lose_reply()
            with pytest.raises(OutcomeUnknown):
                memory.put("key", 1)
            proxy.refuse()
            with pytest.raises(Unavailable):
                memory.get("key")
            proxy.accept()
        assert memory.get("key") == 1


def test_an_error_that_the_server_answers_costs_no_connection(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=1) as memory:
        memory.put("text", "no number")
        for _ in range(3):
            with pytest.raises(agentmem.VersionConflict):
                memory.put("text", 1, if_absent=True)
            with pytest.raises(agentmem.InvalidOperation):
                memory.increment("text")
        assert proxy.connections == 1


def test_more_descriptors_than_select_takes(own_server: LocalRedis) -> None:
    """A busy server has more than 1,024 of them; select(2) does not know those beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    filler = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        with agentmem.connect(own_server.new_store()) as memory:
            memory.put("key", 1)
            assert memory.get("key") == 1
    finally:
        for descriptor in filler:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Closed


def test_r35_close_ends_the_connections(own_server: LocalRedis) -> None:
    with own_server.client() as observer:
        memory = agentmem.connect(own_server.new_store())
        run_threads(4, lambda _: memory.increment("counter"))
        assert len(observer.client_list()) > 1
        memory.close()
        memory.close()
        eventually(lambda: len(observer.client_list()) == 1)
    for call in CALLS.values():
        with pytest.raises(Closed):
            call(memory)


def test_r35_a_call_in_flight_ends_in_peace_when_the_handle_is_closed(proxy: FaultProxy, redis_url: str) -> None:
    memory = agentmem.connect(proxy.url, pool_size=1)
    with held(proxy, memory) as found:
        memory.close()
    assert found == [1]
    with pytest.raises(Closed):
        memory.get("held")


def test_r35_threads_that_write_while_the_handle_closes_are_told(own_server: LocalRedis) -> None:
    memory = agentmem.connect(own_server.new_store(), pool_size=2)

    def work(index: int) -> int:
        if index == 0:
            time.sleep(0.05)
            memory.close()
            return 0
        for number in range(1_000_000):
            try:
                memory.put(f"{index}", number)
            except Closed:
                return number
        return 0

    assert sum(run_threads(5, work)) > 0
    with own_server.client() as observer:
        eventually(lambda: len(observer.client_list()) == 1)


# Interrupted


# Python ignores, and reports, what is raised while an object is finalised: some steps are there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_at_any_step_leaves_nothing_taken(redis_url: str, name: str) -> None:
    with agentmem.connect(redis_url, pool_size=1) as memory:
        for warm in CALLS.values():
            warm(memory)
        assert interrupt_everywhere(memory, lambda: CALLS[name](memory)) > 20
        assert memory.check() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_step_of_the_first_call_leaves_nothing_taken(redis_url: str) -> None:
    """That is while a connection is opened."""
    with agentmem.connect(redis_url, pool_size=1) as memory:

        def first() -> None:
            connections(memory)._close_idle()
            memory.get("key")

        first()
        assert interrupt_everywhere(memory, first, every=5) > 100
