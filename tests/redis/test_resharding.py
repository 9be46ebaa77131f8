"""A slot that moves to another node of a cluster: whatever has arrived there, a script does all or nothing."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

import agentmem
from agentmem.errors import Unavailable
from agentmem.redis.layout import Layout
from agentmem.testing.redis_cluster import RedisCluster
from agentmem.testing.redis_server import key_prefix
from agentmem.testing.support import SHORT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentmem.memory import Memory

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOOKS = ["m", "k", "x", "s"]
ENTRIES = {"k1": 1, "k2": 2, "k3": 3}

SCRIPTS: dict[str, Callable[[Memory], Any]] = {
    "put": lambda memory: memory.put("k1", 100),
    "put of a new key": lambda memory: memory.put("new", 1),
    "put if absent": lambda memory: memory.put("k1", 100, if_absent=True),
    "put that sweeps": lambda memory: memory.put("k1", 100, ttl=60),
    "put_many": lambda memory: memory.put_many({"k1": 1, "new": 2}, ttl=60),
    "increment": lambda memory: memory.increment("k1"),
    "append": lambda memory: memory.append("list", 1),
    "delete": lambda memory: memory.delete("k1"),
    "touch": lambda memory: memory.touch("k1", 60),
    "clear": lambda memory: memory.clear(),
    "search": lambda memory: memory.search(),
    "count": lambda memory: memory.count(),
    "stats": lambda memory: memory.scoped("k").stats(),
}


class Move:
    """The way of a partition's slot from one node to another.

    Args:
        cluster: in which no slot has moved since its start, but for other partitions.
        base: what the names of the partition's keys begin with.
    """

    def __init__(self, cluster: RedisCluster, base: str) -> None:
        self.base = base
        self.slot = key_slot(base.encode())
        masters = cluster.masters
        ends = [(index + 1) * 16_384 // len(masters) for index in range(len(masters))]
        source = next(index for index, end in enumerate(ends) if self.slot < end)
        self._from, self._to = masters[source].client(), masters[source - 1].client()
        self._port, self._password = masters[source - 1].port, cluster.password

    def begin(self) -> None:
        self._to.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", self._from.cluster("MYID").decode())
        self._from.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", self._to.cluster("MYID").decode())

    def carry(self, *names: str) -> None:
        for name in names:
            moved = ("MIGRATE", "127.0.0.1", self._port, self.base + name, 0, 5000, "AUTH", self._password)
            # What has expired is a key to GETKEYSINSLOT until Redis takes it away.
            assert self._from.execute_command(*moved) in (b"OK", b"NOKEY")

    def end(self) -> None:
        self.carry(*(name.removeprefix(self.base) for name in self._left()))
        for client in (self._to, self._from):
            client.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self._to.cluster("MYID").decode())

    def _left(self) -> list[str]:
        names = self._from.cluster("GETKEYSINSLOT", self.slot, 1000)
        return [name if isinstance(name, str) else name.decode() for name in names]


@pytest.fixture(scope="module")
def cluster(program: Path) -> Iterator[RedisCluster]:
    """Three masters with a replica each."""
    with RedisCluster(program) as cluster:
        yield cluster


@pytest.fixture
def partition(cluster: RedisCluster) -> Iterator[tuple[Memory, Move]]:
    """A partition with entries, some of them expired and still in the books, and the way of its slot."""
    url, name = cluster.new_store(), secrets.token_hex(8)
    base = Layout(key_prefix(url)).place(name).meta[:-1].decode()
    with agentmem.connect(url, partition=name) as memory:
        memory.put_many({"dead1": 1, "dead2": 2}, ttl=SHORT)
        memory.put_many(ENTRIES)
        memory.put("living", 4, ttl=3600)
        eventually(lambda: memory.count() == 4)
        yield memory, Move(cluster, base)


@pytest.mark.parametrize(
    "carried",
    [[], ["e:k1"], ["k"], BOOKS, [*BOOKS, "e:k2"]],
    ids=["nothing yet", "an entry", "the index", "all books", "all but some entries"],
)
def test_r15_pitfall_a_script_does_all_or_nothing_while_the_slot_moves(
    partition: tuple[Memory, Move], carried: list[str]
) -> None:
    memory, move = partition
    move.begin()
    move.carry(*carried)
    for name, call in SCRIPTS.items():
        with pytest.raises(Unavailable) as caught:
            call(memory)
        assert caught.value.retryable, name
    assert {key: memory.get(key) for key in ENTRIES} == ENTRIES
    move.end()
    assert {entry.key: entry.value for entry in memory.items()} == {**ENTRIES, "living": 4}
    assert memory.increment("k1") == 2
    assert memory.check() == []
