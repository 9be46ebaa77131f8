"""Work queues on Redis: agentmem, the same work in bare Lua by redis-py, and the peers that are installed.

What is durable is the server's, which is one for all. The peers promise less: what huey's `dequeue` took is gone if its
worker dies, and RQ's workers take one job at a time.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

import redis

import agentmem
from benchmarks.stores import places
from benchmarks.workload import value

ITEMS = 200
"""How many items a round takes out, of each contender."""
SIZES = (1, 20, 100)
STANDING = 1_000
"""How many lie in the queue all the time."""

_PUT = """
for i, body in ipairs(ARGV) do
  local id = string.format('%016d', redis.call('INCR', KEYS[4]))
  redis.call('HSET', KEYS[1], id, body)
  redis.call('ZADD', KEYS[2], 0, id)
end
"""
_CLAIM = """
local clock = redis.call('TIME')
local ids = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)
if #ids == 0 then return {} end
local leases, till = {}, clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[2]
for i, id in ipairs(ids) do
  leases[2 * i - 1], leases[2 * i] = till, id
end
redis.call('ZREM', KEYS[2], unpack(ids))
redis.call('ZADD', KEYS[3], unpack(leases))
return {ids, redis.call('HMGET', KEYS[1], unpack(ids))}
"""
_ACK = """
redis.call('ZREM', KEYS[3], unpack(ARGV))
return redis.call('HDEL', KEYS[1], unpack(ARGV))
"""


class QueueContender(ABC):
    """A queue of one backend.

    Attributes:
        name: in tables.
        most: how many items it takes out at once.
    """

    name: ClassVar[str]
    most: ClassVar[int] = max(SIZES)

    @abstractmethod
    def put(self, values: list[Any]) -> None:
        """Put them, at once where it can."""

    @abstractmethod
    def work(self, size: int) -> int:
        """Claim so many and acknowledge them; return how many there were."""

    def close(self) -> None:
        """The end."""
        return  # nothing, by default


class BareLua(QueueContender):
    """A hash and two sorted sets, a script for each call, and nothing else: no fences, groups, delays or attempts."""

    name = "Lua by redis-py"

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._keys = ["{bare}:items", "{bare}:ready", "{bare}:leases", "{bare}:last"]
        self._put, self._claim, self._ack = (self._client.register_script(text) for text in (_PUT, _CLAIM, _ACK))

    def put(self, values: list[Any]) -> None:
        self._put(keys=self._keys, args=[json.dumps(each) for each in values])

    def work(self, size: int) -> int:
        found: Any = self._claim(keys=self._keys, args=[size, 60_000])
        ids, bodies = found
        done = [json.loads(body) for body in bodies]
        self._ack(keys=self._keys, args=ids)
        return len(done)

    def close(self) -> None:
        self._client.close()


class OurQueue(QueueContender):
    """`memory.queue`: a claim, then an ack."""

    name = "agentmem"

    def __init__(self, url: str) -> None:
        self._memory = agentmem.connect(url)
        self._queue = self._memory.queue("bench", lease=3_600)

    def put(self, values: list[Any]) -> None:
        self._queue.put_many(values)

    def work(self, size: int) -> int:
        jobs = self._queue.claim(size)
        self._queue.ack(*jobs)
        return len(jobs)

    def close(self) -> None:
        self._memory.close()


class OurRelay(OurQueue):
    """`ack_and_claim`: what a worker that goes on does, in one round trip."""

    name = "agentmem, ack_and_claim"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._held: list[Any] = []

    def work(self, size: int) -> int:
        self._held = self._queue.ack_and_claim(self._held, size)
        return len(self._held)


class Huey(QueueContender):
    """huey: what is taken is gone from Redis at once, so there is nothing to acknowledge."""

    name = "huey"
    most = 1

    def __init__(self, url: str) -> None:
        from huey import RedisHuey

        self._huey = RedisHuey("bench", url=url, results=False)
        self._task = self._huey.task()(_nothing)

    def put(self, values: list[Any]) -> None:
        for each in values:
            self._task(each)

    def work(self, _: int) -> int:
        self._huey.execute(self._huey.dequeue())
        return 1


class RQ(QueueContender):
    """RQ: a worker in this process, which is the fastest it has."""

    name = "RQ"
    most = 1

    def __init__(self, url: str) -> None:
        from rq import Queue, SimpleWorker

        self._client = redis.Redis.from_url(url)
        self._queue = Queue("bench", connection=self._client)
        self._worker = SimpleWorker([self._queue], connection=self._client)

    def put(self, values: list[Any]) -> None:
        prepared = [self._queue.prepare_data(_nothing, (each,), result_ttl=0) for each in values]
        self._queue.enqueue_many(prepared)

    def work(self, _: int) -> int:
        self._worker.work(burst=True, max_jobs=ITEMS, logging_level="ERROR")
        return ITEMS

    def close(self) -> None:
        self._client.close()


def _nothing(value: Any) -> None:
    """The task of the peers."""


@contextmanager
def contenders(*, with_peers: bool = False) -> Iterator[list[QueueContender]]:
    """All that are there, each with a database of its own on one server, and something in its queue."""
    makers: list[Callable[[str], QueueContender]] = [BareLua, OurQueue, OurRelay]
    if with_peers:
        makers += [maker for module, maker in (("huey", Huey), ("rq", RQ)) if find_spec(module)]
    with ExitStack() as stack:
        made: list[QueueContender] = []
        for maker, url in zip(makers, stack.enter_context(places("redis", len(makers))), strict=True):
            contender = maker(url)
            stack.callback(contender.close)
            contender.put([value(n) for n in range(STANDING)])
            made.append(contender)
        yield made


def measure(made: list[QueueContender], rounds: int) -> dict[str, dict[str, float]]:
    """Items per second by size and contender, claimed and acknowledged in turn: the median of the rounds."""
    rates: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for contender in made:
            started = time.perf_counter()
            for start in range(0, ITEMS, 100):
                contender.put([value(start + n) for n in range(100)])
            _note(rates, "put by 100", contender, ITEMS / (time.perf_counter() - started), number)
        for size in SIZES:
            for contender in made:
                if size <= contender.most:
                    _note(rates, f"claim and ack by {size}", contender, _drained(contender, size), number)
                    contender.put([value(n) for n in range(ITEMS)])
        for contender in made:
            _drained(contender, min(contender.most, 100))
    return {name: {who: statistics.median(each) for who, each in by.items()} for name, by in rates.items()}


def _note(
    rates: dict[str, dict[str, list[float]]], name: str, contender: QueueContender, rate: float, number: int
) -> None:
    found = rates.setdefault(name, {}).setdefault(contender.name, [])
    if number:  # the first round warms up
        found.append(rate)


def _drained(contender: QueueContender, size: int) -> float:
    started, done = time.perf_counter(), 0
    while done < ITEMS:
        done += contender.work(size)
    return done / (time.perf_counter() - started)


def main() -> None:
    """Run alone, and print rates, and their ratios to bare Lua."""
    warnings.simplefilter("ignore")
    with contenders(with_peers=True) as made:
        for name, by in measure(made, 15).items():
            first = next(iter(by.values()))
            print(name, {who: f"{rate:,.0f}/s, {rate / first:.2f}" for who, rate in by.items()})


if __name__ == "__main__":
    main()
