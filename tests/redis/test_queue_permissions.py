"""R27: what a server must permit for queues, on top of nothing; docs/backends/redis.md says the same."""

from __future__ import annotations

import pytest

import agentmem
from agentmem import PermissionDenied
from agentmem.testing.support import eventually
from tests.redis.queue_helpers import LEASE_MS, Work
from tests.redis.test_permissions import FOR_CHECK, Administrator, administrator, minimal, server  # noqa: F401

#: Beyond what entries need; `subscribe` and `publish` only so that who waits is told at once.
FOR_QUEUES = [
    "zpopmin",
    "zrangebylex",
    "zrangebyscore",
    "zadd",
    "zrem",
    "zcard",
    "hget",
    "hmget",
    "hset",
    "hdel",
    "exists",
]
QUEUES_ALONE = [*FOR_QUEUES, "unlink", "eval", "evalsha", "time", "get", "set"]
AT_CHECK = ["zrange", "hlen"]


def whole_surface(work: Work) -> None:
    for _ in range(2):
        work.put("1", "2", dedup_key="k", group="g", max_attempts=1)
        work.put("3", "4", delay_ms=1)
        work.put("5", group="g")
        eventually(lambda: work.counts().delayed == 0)
        items = work.claim(2, request_id="r")
        work.settle("extend", *items, delay_ms=LEASE_MS)
        work.settle("nack", items[0])
        work.settle("bury", items[1])
        work.settle("ack", *work.claim(9, lease_ms=LEASE_MS))
        work.claim(9, lease_ms=1)
        work.store.redrive("default", "jobs", 9)
        work.store.wait("default", "jobs", 0.05)
        work.texts()
        work.store.names("default")
        work.store.purge("default", "jobs", dead=False)


def test_r27_queues_need_few_commands_and_no_channel(administrator: Administrator) -> None:  # noqa: F811
    with agentmem.connect(administrator.user(*minimal(administrator, *QUEUES_ALONE))) as memory:
        whole_surface(Work(memory))
        Work(memory).put("1")
        with pytest.raises(PermissionDenied):
            memory.check()
    checking = [*QUEUES_ALONE, *FOR_CHECK, *AT_CHECK, "get"]
    with agentmem.connect(administrator.user(*minimal(administrator, *checking))) as memory:
        assert memory.check() == []


def test_r27_every_command_that_queues_are_said_to_need_is_needed(administrator: Administrator) -> None:  # noqa: F811
    with agentmem.connect(
        administrator.user(*minimal(administrator, *QUEUES_ALONE, "subscribe", "publish"), "&*")
    ) as m:
        administrator.calls()
        whole_surface(Work(m))
        called = set(administrator.calls())
    of_others = {"auth", "hello", "client", "config", "script", "unsubscribe"}
    named = {*QUEUES_ALONE, "subscribe", "publish"}
    assert {name for name in called if name.partition("|")[0] not in of_others} == named - {"get"}
