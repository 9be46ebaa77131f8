"""Who waits for a queue is told at once, over one connection, and polls where nobody may tell."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

import agentmem
from agentmem.errors import AgentMemError
from agentmem.redis import queue_subscriber, queue_wakeups
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_sentinels import RedisSentinels
from agentmem.testing.redis_server import key_prefix, open_client
from agentmem.testing.support import eventually, run_threads
from tests.redis.queue_helpers import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.faults import FaultProxy

#: Far above what a message takes, and below what the poll of a second look takes.
AT_ONCE = 0.4
NAME = "agentmem-wakeups"


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def told_after(work: Work, cause: Callable[[], object], *, waiters: int = 1, seconds: float = 20) -> list[float]:
    """How long after a cause each waiting thread goes on."""
    moments: list[float] = []

    def run(index: int) -> float:
        if index < waiters:
            work.store.wait(work.partition, work.name, seconds)
            return time.monotonic()
        time.sleep(0.25)
        moments.append(time.monotonic())
        cause()
        return 0.0

    ends = run_threads(waiters + 1, run)[:waiters]
    return [end - moments[0] for end in ends]


@pytest.fixture
def work(memory: Memory) -> Work:
    return Work(memory)


@pytest.fixture
def looks(work: Work, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments at which somebody looked whether something is ready."""
    found: list[float] = []
    run = work.repository.servers.run

    def counted(place: Any, script: Any, *arguments: Any) -> Any:
        if script.name == "queue_next":
            found.append(time.monotonic())
        return run(place, script, *arguments)

    monkeypatch.setattr(work.repository.servers, "run", counted)
    return found


def test_a_put_wakes_all_who_wait_for_its_queue_at_once(memory: Memory, work: Work, looks: list[float]) -> None:
    other = Work(memory, "other")
    assert all(0 <= each < AT_ONCE for each in told_after(work, lambda: work.put("1"), waiters=5))
    assert len(looks) <= 10

    def cause() -> None:
        work.put("2")
        time.sleep(0.7)
        other.put("1")

    assert told_after(other, cause)[0] >= 0.7
    assert len(listeners()) == 1


@pytest.mark.parametrize("way", ["nack", "ack a group's first", "redrive", "bury a group's first"])
def test_whatever_makes_an_item_ready_wakes(work: Work, way: str) -> None:
    work.put("1", "2", group="g")
    held = work.claim()
    if way == "redrive":
        work.settle("bury", *held)
        work.settle("bury", *work.claim())
    causes: dict[str, Callable[[], object]] = {
        "nack": lambda: work.settle("nack", *held),
        "ack a group's first": lambda: work.settle("ack", *held),
        "redrive": lambda: work.store.redrive("default", "jobs", 1),
        "bury a group's first": lambda: work.settle("bury", *held),
    }
    assert told_after(work, causes[way])[0] < AT_ONCE


def test_what_is_claimed_in_the_step_that_made_it_ready_wakes_nobody(work: Work, looks: list[float]) -> None:
    def cause() -> None:
        work.step(puts=work.puts("1"), claim=work.claims())

    assert told_after(work, cause, seconds=1.0)[0] > AT_ONCE
    assert 2 <= len(looks) <= 4


def test_a_wait_does_not_poll_at_short_intervals(work: Work, looks: list[float]) -> None:
    start = time.monotonic()
    work.store.wait("default", "jobs", 1.3)
    assert 1.3 <= time.monotonic() - start < 5
    assert len(looks) <= 4


@pytest.mark.parametrize("delay", [0.15, 0.7])
def test_what_time_makes_ready_is_seen_when_it_is(work: Work, looks: list[float], delay: float) -> None:
    work.put("1", delay_ms=int(delay * 1000))
    start = time.monotonic()
    work.store.wait("default", "jobs", 20)
    assert delay - 0.1 < time.monotonic() - start < delay + 0.5
    assert work.counts().ready == 1
    assert len(looks) <= 4


def test_r33_thread_and_connection_end_when_nobody_waits_any_more(
    work: Work, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_wakeups, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(queue_wakeups, "_ROUND_SECONDS", 0.1)
    channel = work.repository.layout.place("default").queues + b":jobs"
    work.put("1")
    work.store.wait("default", "jobs", 5)
    assert len(listeners()) == 1
    eventually(lambda: raw.pubsub_numsub(channel)[0][1] == 1)
    eventually(lambda: not listeners())
    eventually(lambda: raw.pubsub_numsub(channel)[0][1] == 0)
    work.settle("ack", *work.claim())
    assert told_after(work, lambda: work.put("2"))[0] < AT_ONCE


def test_r35_close_ends_the_thread_and_every_wait(redis_url: str) -> None:
    memory = agentmem.connect(redis_url)
    work = Work(memory)

    def wait(index: int) -> float:
        if index == 3:
            time.sleep(0.25)
            memory.close()
            return 0
        start = time.monotonic()
        work.store.wait("default", "jobs", 30)
        with pytest.raises(agentmem.Closed):
            work.store.wait("default", "jobs", 30)
        return time.monotonic() - start

    assert max(run_threads(4, wait)) < 10
    assert listeners() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_r33_a_forked_child_listens_for_itself(work: Work) -> None:
    work.put("0")
    work.store.wait("default", "jobs", 5)
    work.settle("ack", *work.claim())
    assert len(listeners()) == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if told_after(work, lambda: work.put("1"))[0] < AT_ONCE and len(listeners()) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    work.settle("ack", *work.claim())
    assert told_after(work, lambda: work.put("2"))[0] < AT_ONCE


# Connections that break


def test_r34_a_connection_that_is_cut_is_made_again(own_server: LocalRedis) -> None:
    with agentmem.connect(own_server.new_store()) as memory, own_server.client() as client:
        work = Work(memory)
        channel = work.repository.layout.place("default").queues + b":jobs"
        work.put("1")
        work.store.wait("default", "jobs", 5)
        work.settle("ack", *work.claim())
        eventually(lambda: client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1)
        assert told_after(work, lambda: work.put("2"))[0] < 1.0
        work.settle("ack", *work.claim())

        def cause() -> None:
            eventually(lambda: client.pubsub_numsub(channel)[0][1] == 1)
            work.put("3")

        assert told_after(work, cause)[0] < 10
        assert len(listeners()) == 1


def test_r34_waiters_outlive_a_server_that_restarts(disposable_redis_server: LocalRedis) -> None:
    server = disposable_redis_server
    with agentmem.connect(server.new_store()) as memory:
        work = Work(memory)

        def cause() -> None:
            server.restart()
            work.put("1")

        def wait(index: int) -> None:
            if index == 2:
                time.sleep(0.25)
                cause()
                return
            while True:
                try:
                    work.store.wait("default", "jobs", 20)
                    if work.counts().ready:
                        return
                except AgentMemError:
                    time.sleep(0.05)

        run_threads(3, wait)
        work.settle("ack", *work.claim())
        assert told_after(work, lambda: work.put("2"))[0] < 1.0


def test_a_server_that_is_silent_is_asked_and_then_left(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_subscriber, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(queue_wakeups, "_ROUND_SECONDS", 0.1)
    heard: list[bytes] = []
    proxy._observer = lambda _, data: heard.append(data)
    with agentmem.connect(proxy.url) as memory:
        work = Work(memory)
        work.store.wait("default", "jobs", 1.0)
        assert b"".join(heard).count(b"PING") >= 1
        assert sum(b"SUBSCRIBE" in each for each in heard) == 1
        proxy.hang()
        eventually(lambda: not listeners() or proxy.connections >= 3)
        proxy.accept()
        assert told_after(work, lambda: work.put("1"))[0] < 1.5


# Who may not listen, and other ways to a server


@pytest.mark.parametrize("rules", [["resetchannels"], ["allchannels", "-subscribe", "-publish"]])
def test_without_permission_for_channels_all_is_as_before_but_slower(rules: list[str]) -> None:
    with LocalRedis(redis_binaries()[-1], users=[f"worker on >word ~* +@all {' '.join(rules)}"]) as server:
        url = f"redis://worker:word@127.0.0.1:{server.port}/0?key_prefix=agentmem-quiet"
        with agentmem.connect(url) as memory:
            work = Work(memory)
            assert told_after(work, lambda: work.put("1"))[0] < 1.0
            work.settle("ack", *work.claim())
            start = time.monotonic()
            work.store.wait("default", "jobs", 0.5)
            assert time.monotonic() - start >= 0.5
            eventually(lambda: not listeners())
            assert memory.check() == []


HOSTS: dict[str, Callable[[str], Any]] = {
    "plain": redis.Redis.from_url,
    "decoding, RESP3": lambda url: redis.Redis.from_url(url, decode_responses=True, protocol=3),
    "RESP2": lambda url: redis.Redis.from_url(url, protocol=2),
    "a blocking pool of one": lambda url: redis.Redis(
        connection_pool=redis.BlockingConnectionPool.from_url(url, max_connections=1, timeout=5)
    ),
    "health checks": lambda url: redis.Redis.from_url(url, health_check_interval=1, socket_timeout=5),
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_hosts_client_is_listened_by_beside_its_pool(redis_url: str, host: str) -> None:
    with HOSTS[host](redis_url.partition("?")[0]) as client:
        with agentmem.connect(client, key_prefix=key_prefix(redis_url)) as memory:
            work = Work(memory)
            assert max(told_after(work, lambda: work.put("1"), waiters=3)) < AT_ONCE
            assert len(client.connection_pool._get_in_use_connections()) == 0
        assert client.ping()


def test_over_a_unix_socket(own_server: LocalRedis) -> None:
    with agentmem.connect(own_server.socket_url(), key_prefix="agentmem-socket") as memory:
        work = Work(memory)
        assert told_after(work, lambda: work.put("1"))[0] < AT_ONCE
        memory.drop_partition("default")


@pytest.mark.slow
def test_in_a_cluster_every_node_tells(cluster_url: str) -> None:
    """Also a host's cluster client, and partitions of other nodes than the one that is listened to."""
    with agentmem.connect(cluster_url) as memory, open_client(cluster_url) as client:
        for n in range(6):
            work = Work(memory, partition=f"p{n}")
            assert told_after(work, lambda work=work: work.put("1"))[0] < AT_ONCE  # type: ignore[misc]
        assert len(listeners()) == 1
        with agentmem.connect(client, key_prefix=key_prefix(cluster_url)) as other:
            work = Work(other, partition="of the host")
            assert told_after(work, lambda: work.put("1"))[0] < AT_ONCE


@pytest.mark.slow
@pytest.mark.fault
def test_after_a_failover_the_new_master_is_listened_to() -> None:
    with (
        RedisSentinels(redis_binaries()[-1], sentinel_password="word") as group,
        agentmem.connect(group.new_store()) as memory,
    ):
        work = Work(memory)
        work.put("1")
        work.store.wait("default", "jobs", 5)
        work.settle("ack", *work.claim())
        group.failover()

        def told() -> bool:
            try:
                found = told_after(work, lambda: work.put("2"))[0] < AT_ONCE
                work.store.purge("default", "jobs", dead=False)
            except AgentMemError:
                return False
            return found

        eventually(told, timeout=60)


@pytest.fixture(autouse=True)
def _alone() -> None:
    """No thread of an earlier test is counted."""
    eventually(lambda: not listeners())
