"""What a call on a queue costs: the requests to Redis, counted on the wire, and the commands inside of its scripts."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.commands import IncrementCommand
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.faults import FaultProxy
from agentmem.testing.redis_local import LocalRedis
from tests.redis.queue_helpers import Work
from tests.redis.test_round_trips import Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.redis_server import RedisServer

SCRIPT = ["EVALSHA"]
COMMAND = (IncrementCommand("counter"),)


def ack_and_claim(work: Work, limit: int) -> object:
    return work.step(settles=work.settles("ack", *work.claim(limit, request_id="held")), claim=work.claims(limit))


CALLS: dict[str, tuple[Callable[[Work], object], list[str]]] = {
    "put": (lambda w: w.put("1"), SCRIPT),
    "put 100": (lambda w: w.put(*["1"] * 100, group="g"), SCRIPT),
    "claim": (lambda w: w.claim(), SCRIPT),
    "claim 100": (lambda w: w.claim(100), SCRIPT),
    "claim again": (lambda w: w.claim(5, request_id="held"), SCRIPT),
    "claim, then ack and claim": (lambda w: ack_and_claim(w, 5), SCRIPT * 2),
    "put and claim": (lambda w: w.step(puts=w.puts("1", "2"), claim=w.claims(2)), SCRIPT),
    "claim, then ack with commands": (
        lambda w: w.settle("ack", *w.claim(5, request_id="held"), commands=COMMAND),
        SCRIPT * 3,
    ),
    "put with commands": (lambda w: w.step(puts=w.puts("1"), commands=COMMAND), SCRIPT * 2),
    "peek": (lambda w: w.store.peek("default", "jobs", 10), SCRIPT),
    "counts": (lambda w: w.counts(), SCRIPT),
    "redrive": (lambda w: w.store.redrive("default", "jobs", 5), SCRIPT),
    "purge the dead": (lambda w: w.store.purge("default", "jobs", dead=True), SCRIPT),
    "names": (lambda w: w.store.names("default"), ["ZRANGEBYLEX"]),
}


@pytest.fixture(scope="module")
def connected(redis_server: RedisServer) -> Iterator[tuple[Memory, Requests]]:
    requests = Requests()
    url = redis_server.new_store()
    with FaultProxy(url, requests) as proxy, agentmem.connect(proxy.url, pool_size=1) as memory:
        yield memory, requests
    redis_server.drop_store(url)


def seed(work: Work) -> None:
    work.store.purge("default", "jobs", dead=False)
    work.put(*[str(n) for n in range(150)])
    work.settle("bury", *work.claim(10))
    work.claim(5, request_id="held")


@pytest.mark.parametrize("name", CALLS)
def test_requests_of_a_call_on_a_queue(connected: tuple[Memory, Requests], name: str) -> None:
    memory, requests = connected
    work = Work(memory)
    call, expected = CALLS[name]
    seed(work)
    call(work)  # gives the server the scripts, if it is the first to use them
    seed(work)
    assert requests.of(lambda: call(work)) == expected


def test_a_first_put_registers_its_partition(connected: tuple[Memory, Requests]) -> None:
    memory, requests = connected
    seed(Work(memory))  # the server has the script, also where this is the first test
    work = Work(memory, partition="fresh")
    assert requests.of(lambda: work.put("1")) == ["EVALSHA", "SET", "ZADD", "EVALSHA", "ZADD"]
    assert requests.of(lambda: work.put("1")) == SCRIPT
    assert requests.of(lambda: Work(memory, partition="not there").claim()) == SCRIPT
    memory.drop_partition("fresh")


def test_a_wait_costs_a_look_and_a_subscription(connected: tuple[Memory, Requests]) -> None:
    memory, requests = connected
    work = Work(memory, "waited for")
    work.store.wait("default", work.name, 0.05)  # opens the connection that listens
    assert requests.of(lambda: work.store.wait("default", work.name, 0.2)) == SCRIPT
    work.put("1")
    assert requests.of(lambda: work.store.wait("default", work.name, 30)) == SCRIPT
    work.store.purge("default", work.name, dead=False)


# How it grows

SIZES = (10, 100_000)


class Stocked:
    """A server whose queue has so many items in each state."""

    def __init__(self, server: LocalRedis, size: int) -> None:
        self.server = server
        self.memory = agentmem.connect(server.new_store(), pool_size=1, timeout=60)
        self.work = Work(self.memory)
        for start in range(0, size, 10_000):
            bodies = [str(n) for n in range(start, min(size, start + 10_000))]
            self.work.put(*bodies)
            self.work.put(*bodies[::10], delay_ms=3_600_000)
            self.work.put(*bodies[::10], group="g")
        for _ in range(0, size, 10_000):
            self.work.settle("bury", *self.work.claim(min(size // 10, 1_000)))

    def run(self, call: Callable[[Work], object]) -> tuple[dict[str, int], float]:
        """How often each command was run by a call, and the median of what its scripts took, in microseconds."""
        call(self.work)
        with self.server.client() as client:
            client.config_resetstat()
            call(self.work)
            stats: Any = client.info("commandstats")
            client.slowlog_reset()
            for _ in range(15):
                call(self.work)
            log: Any = client.slowlog_get(128)
        taken = median(entry["duration"] for entry in log if entry["command"].startswith(b"EVALSHA"))
        own = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}
        return {name: calls for name, calls in own.items() if name.partition("|")[0] not in ("config", "info")}, taken


@pytest.fixture(scope="module")
def stocked() -> Iterator[tuple[Stocked, Stocked]]:
    options = {"slowlog-log-slower-than": "0", "slowlog-max-len": "1024"}
    program = redis_binaries()[0]
    with LocalRedis(program, options=options) as first, LocalRedis(program, options=options) as second:
        few, many = (Stocked(server, size) for server, size in zip((first, second), SIZES, strict=True))
        yield few, many
        few.memory.close()
        many.memory.close()


def in_a_group(work: Work) -> object:
    work.put("1", group="another", priority=9)
    return work.settle("ack", *work.claim())


GROWTH: dict[str, Callable[[Work], object]] = {
    "put": lambda w: w.put("1"),
    "put, claim and ack": lambda w: (w.put("1", priority=9), w.settle("ack", *w.claim())),
    "claim and nack": lambda w: (w.put("1", priority=9), w.settle("nack", *w.claim()), w.settle("ack", *w.claim())),
    "claim and nack with a delay": lambda w: (w.put("1", priority=9), w.settle("nack", *w.claim(), delay_ms=60_000)),
    "claim and extend": lambda w: (w.put("1", priority=9), w.settle("extend", *w.claim(), delay_ms=60_000)),
    "put with a dedup key": lambda w: (w.put("1", dedup_key="k", priority=9), w.settle("ack", *w.claim())),
    "in a group": in_a_group,
    "peek": lambda w: w.store.peek("default", "jobs", 1),
    "counts": lambda w: w.counts(),
    "a wait that need not wait": lambda w: w.store.wait("default", "jobs", 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GROWTH)
def test_r27_what_is_in_a_queue_costs_nothing(stocked: tuple[Stocked, Stocked], name: str) -> None:
    """The same commands with 100,000 items as with ten, and about the same time: sorted sets grow by the logarithm."""
    (few, brief), (many, long) = (each.run(GROWTH[name]) for each in stocked)
    assert few == many
    assert sum(few.values()) < 60
    assert long < 10 * brief
