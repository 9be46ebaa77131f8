"""Learned values behind the handle on Redis: what others may have written, and one slot for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

import agentmem
from agentmem import BackendError, CorruptEntry
from agentmem.testing.redis_server import key_prefix

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def memory(redis_url: str) -> Any:
    with agentmem.connect(redis_url) as memory:
        yield memory


def test_all_keys_of_a_table_are_in_the_slot_of_its_partition(memory: Memory, redis_server: RedisServer) -> None:
    part = memory.partition("p {1}%")
    part.qtable("q:{x}").update_many([("s:{y}", "a", 1.0), ("t", "a", 1.0)])
    with redis_server.client(decode_responses=False) as client:
        names = list(client.scan_iter(f"{key_prefix(memory_url(memory))}:{{*", count=1000))
    assert len(names) == 5  # the partition, its tables, the states, and two states' values
    assert len({key_slot(name) for name in names}) == 1


def memory_url(memory: Memory) -> str:
    from agentmem.handle import repository_of

    return str(repository_of(memory).location)  # type: ignore[attr-defined]  # of Redis


def test_what_others_wrote_is_told_and_not_learned_from(memory: Memory, redis_server: RedisServer) -> None:
    table = memory.qtable("q")
    table.update_many([("s", "a", 1.0), ("t", "a", 1.0)])
    prefix = key_prefix(memory_url(memory))
    with redis_server.client() as client:
        client.hset(f"{prefix}:{{default}}:v:q\0s", "a", "nonsense")
        client.hset(f"{prefix}:{{default}}:v:q\0t", "b", "inf 3")
        client.hset(f"{prefix}:{{default}}:v:q\0unlisted", "b", "1 3")
        client.zadd(f"{prefix}:{{default}}:t:q", {"empty": 0})
    for call in (lambda: table.values("s"), table.snapshot):
        with pytest.raises(CorruptEntry):
            call()
    with pytest.raises(BackendError):
        table.update("s", "a", 1.0)
    found = sorted((problem.kind, problem.key) for problem in memory.check())
    assert found == [("index", "q"), ("learned_value", "q"), ("learned_value", "q"), ("orphan", "unlisted")]
    assert table.values("t") != {}
    assert table.clear() == 3
