"""Work queues on Redis: agentmem, the same work in bare Lua by redis-py, and the peers that are installed.

What is durable is the server's, which is one for all. The peers promise less: what huey's `dequeue` took is gone if its
worker dies, and RQ's workers take one job at a time.
"""

from __future__ import annotations

import json
from typing import Any

import redis

from benchmarks.queues import ITEMS, Huey, QueueContender, nothing

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


class HueyOnRedis(Huey):
    """Its list and its blocking pop."""

    def opened(self, url: str) -> Any:
        from huey import RedisHuey

        return RedisHuey("bench", url=url, results=False)


class RQ(QueueContender):
    """RQ: a worker in this process, which is the fastest it has."""

    name = "RQ"
    most = 1
    needs = "rq"

    def __init__(self, url: str) -> None:
        from rq import Queue, SimpleWorker

        self._client = redis.Redis.from_url(url)
        self._queue = Queue("bench", connection=self._client)
        self._worker = SimpleWorker([self._queue], connection=self._client)

    def put(self, values: list[Any]) -> None:
        prepared = [self._queue.prepare_data(nothing, (each,), result_ttl=0) for each in values]
        self._queue.enqueue_many(prepared)

    def work(self, _: int) -> int:
        self._worker.work(burst=True, max_jobs=ITEMS, logging_level="ERROR")
        return ITEMS

    def close(self) -> None:
        self._client.close()


MAKERS = BareLua, (HueyOnRedis, RQ)
