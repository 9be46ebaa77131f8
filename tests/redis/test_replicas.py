"""A server and its replica: what is read there, what is waited for, and who may not be written to (R17, R29)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem import Append, OutcomeUnknown, Put, Unavailable, VersionConflict
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import eventually, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentmem.memory import Memory

WRITES: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", 2),
    "put with ttl": lambda m: m.put("key", 2, ttl=60),
    "put of a new key": lambda m: m.put("new", 1),
    "put_many": lambda m: m.put_many({f"many/{n}": 2 for n in range(5)} | {"key": 2}),
    "increment": lambda m: m.increment("counter"),
    "append": lambda m: m.append("list", 2),
    "merge": lambda m: m.merge("object", {"b": 2}),
    "apply": lambda m: m.apply([Put("key", 2), Append("list", 2), Put("new", 2)]),
    "touch": lambda m: m.touch("key", 60),
    "a first put": lambda m: m.partition("fresh").put("key", 1),
}


def seed(memory: Memory) -> None:
    memory.put_many({"key": 1, "counter": 1, "list": [1], "object": {"a": 1}})


@pytest.fixture(scope="module")
def pair(program: Path) -> Iterator[tuple[LocalRedis, LocalRedis]]:
    """A server, and a replica of it."""
    with LocalRedis(program) as primary:
        options = {"replicaof": f"127.0.0.1 {primary.port}", "masterauth": f'"{primary.password}"'}
        with LocalRedis(program, options=options, password=primary.password) as replica:
            yield primary, replica
            for server in (replica, primary):  # in good order they would wait for each other
                server.kill()


@pytest.fixture
def replicated(pair: tuple[LocalRedis, LocalRedis]) -> tuple[LocalRedis, LocalRedis]:
    """Both in step, with a store that was just made."""
    primary, replica = pair
    with primary.client() as administrator:
        administrator.config_set("min-replicas-to-write", 0)
        administrator.flushall()
    with agentmem.connect(primary.url()) as memory, replica.client() as observer:
        seed(memory)
        eventually(lambda: observer.info("replication")["master_link_status"] == "up")
        eventually(lambda: observer.exists("agentmem:{default}:e:object"))
    return pair


def test_a_replica_is_read_and_not_written(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    primary, replica = replicated
    with agentmem.connect(primary.url()) as memory, agentmem.connect(replica.url()) as copy:
        eventually(lambda: snapshot(copy) == snapshot(memory))
        for call in (*WRITES.values(), lambda m: m.delete("key"), lambda m: m.clear()):
            with pytest.raises(Unavailable, match="replica"):
                call(copy)
        assert copy.stats().server["role"] == "slave"
        assert snapshot(copy) == snapshot(memory)


def test_r28_a_replica_counts_what_it_may_not_clear(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    """Where very many have expired, who may write clears them to count the rest; who may not looks at each."""
    primary, replica = replicated
    with agentmem.connect(primary.url()) as memory, agentmem.connect(replica.url()) as copy:
        memory.put_many({f"dead/{n:04}": n for n in range(2_500)}, ttl=0.3)
        eventually(lambda: copy.stats().expired_pending == 2_500)
        assert copy.stats().entries == copy.count() == 4
        assert copy.stats().value_bytes == memory.stats().value_bytes
        assert copy.count("k*") == 1
        assert copy.count("dead/*") == 0


def test_r34_a_primary_that_became_a_replica_is_let_go(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    """Whoever holds its old connections would be refused for ever, when the name leads elsewhere already."""
    primary, _ = replicated
    with primary.client() as client, agentmem.connect(primary.url(), pool_size=1) as memory:
        memory.ping()
        before = {each["id"] for each in client.client_list()}
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Unavailable):
            memory.put("key", 2)
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert memory.put("key", 3).value == 3
        now = {each["id"]: each for each in client.client_list()}
        assert [each for each in now.values() if each["id"] not in before and each["cmd"].startswith("eval")]


def test_r17_a_write_waits_for_replicas(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    primary, replica = replicated
    with (
        agentmem.connect(primary.url(), wait_replicas=1, wait_timeout=5) as memory,
        agentmem.connect(replica.url()) as copy,
    ):
        for n in range(10):
            memory.put("key", n)
            assert copy.get("key") == n
            memory.append("list", n)
            assert copy.get("list") == [1, *range(n + 1)]
            memory.put_many({f"{n}": n})
            memory.delete(f"{n}")
            assert copy.count() == 4
        memory.partition("default", description="seen")
        assert [each.description for each in copy.partitions()] == ["seen"]
        memory.drop_partition("default")
        assert copy.count() == 0
        assert memory.stats().server["wait_replicas"] == 1


def test_r17_too_few_replicas_leave_the_outcome_unknown(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    primary, _ = replicated
    with agentmem.connect(primary.url(), partition="new", wait_replicas=2, wait_timeout=0.3) as memory:
        for n, call in enumerate((lambda: memory.put("key", 1), lambda: memory.increment("key"), memory.clear)):
            with pytest.raises(OutcomeUnknown, match=r"[01] of 2 replicas .* 0\.3 s .*wait_replicas"):
                call()
            assert memory.get("key") == [1, 2, None][n]
        assert memory.check() == []


def test_r17_replicas_are_waited_for_longer_than_for_a_reply(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    """Each has its own time-out, and the connection is not taken for broken."""
    primary, _ = replicated
    with agentmem.connect(primary.url(), wait_replicas=2, wait_timeout=0.9, timeout=0.6) as memory:
        with pytest.raises(OutcomeUnknown, match=r"1 of 2 replicas .* 0\.9 s"):
            memory.put("key", 2)
        assert memory.get("key") == 2


def test_r17_who_writes_nothing_waits_for_nobody(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    """A conflict is a conflict, however few replicas there are."""
    primary, _ = replicated
    with agentmem.connect(primary.url(), wait_replicas=9, wait_timeout=0.3) as memory:
        for call in (
            lambda: memory.put("key", 2, if_absent=True),
            lambda: memory.put("key", 2, if_version=1),
            lambda: memory.delete("key", if_version=1),
            lambda: memory.apply([Put("key", 2), Put("list", 2, if_absent=True)]),
        ):
            with pytest.raises(VersionConflict):
                call()
        assert memory.delete("absent") is memory.touch("absent", 60) is False
        assert memory.pop("absent") is None
        assert memory.purge_expired() == 0
        assert memory.partition("nowhere").clear() == 0
        assert memory.get("key") == 1


def test_r17_a_server_that_wants_replicas_itself(replicated: tuple[LocalRedis, LocalRedis]) -> None:
    """Redis 6 asks this of commands alone, not of scripts: there only `wait_replicas` helps."""
    primary, _ = replicated
    with primary.client() as client, agentmem.connect(primary.url()) as memory:
        client.config_set("min-replicas-to-write", 2)
        assert memory.stats().server["min_replicas_to_write"] == 2
        before = snapshot(memory)
        for name, write in WRITES.items():
            if primary.version < "7" and name != "a first put":
                write(memory)
                continue
            with pytest.raises(Unavailable, match="NOREPLICAS"):
                write(memory)
        assert memory.check() == []
        assert primary.version < "7" or snapshot(memory) == before
