"""A server that says no: out of memory, a replica, loading, and the like. Then nothing was changed (R29)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis

import agentmem
from agentmem import (
    AgentMemError,
    Append,
    BackendError,
    PermissionDenied,
    Put,
    Unavailable,
)
from agentmem.redis import scripts
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import eventually, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentmem.memory import Memory
    from agentmem.testing.faults import FaultProxy

LARGE = "x" * 200_000

WRITES: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", LARGE),
    "put with ttl": lambda m: m.put("key", LARGE, ttl=60),
    "put of a new key": lambda m: m.put("new", 1),
    "put_many": lambda m: m.put_many({f"many/{n}": LARGE for n in range(5)} | {"key": 2}),
    "increment": lambda m: m.increment("counter"),
    "append": lambda m: m.append("list", 2),
    "merge": lambda m: m.merge("object", {"b": 2}),
    "apply": lambda m: m.apply([Put("key", 2), Append("list", 2), Put("new", LARGE)]),
    "update": lambda m: m.update("key", lambda _: LARGE),
    "touch": lambda m: m.touch("key", 60),
    "a first put": lambda m: m.partition("fresh").put("key", 1),
}


def seed(memory: Memory) -> None:
    memory.put_many({"key": 1, "counter": 1, "list": [1], "object": {"a": 1}})


# Out of memory


@pytest.fixture(scope="module")
def small(program: Path) -> Iterator[LocalRedis]:
    """A server that takes no more than some megabytes, and then says so."""
    with LocalRedis(program, options={"maxmemory": "6mb", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture
def roomy(small: LocalRedis) -> Iterator[tuple[Memory, redis.Redis]]:
    """A handle on that server, which is empty, and an administrator."""
    with small.client() as administrator:
        administrator.flushall()
        with agentmem.connect(small.new_store()) as memory:
            seed(memory)
            yield memory, administrator


def fill(memory: Memory, **options: Any) -> int:
    """Put large entries until the server has had enough; how many there are."""
    for n in range(100):
        try:
            memory.put(f"filler/{n}", LARGE, **options)
        except Unavailable as error:
            assert "maxmemory" in str(error)  # noqa: PT017 - the first that is refused ends the loop
            return n
    raise AssertionError("it took them all")


@pytest.mark.parametrize("name", WRITES)
def test_r15_a_server_at_its_limit_changes_nothing(roomy: tuple[Memory, redis.Redis], name: str) -> None:
    memory, administrator = roomy
    before = snapshot(memory)
    administrator.config_set("maxmemory", 1_000)
    try:
        with pytest.raises(Unavailable, match="maxmemory") as caught:
            WRITES[name](memory)
        assert caught.value.retryable
        assert snapshot(memory) == before
        assert [each.name for each in memory.partitions()] == ["default"]
        assert memory.delete("list")
        assert memory.check() == []
    finally:
        administrator.config_set("maxmemory", "6mb")
    WRITES[name](memory)
    assert memory.check() == []


def test_r15_a_batch_that_meets_the_limit_is_whole_or_nothing(roomy: tuple[Memory, redis.Redis]) -> None:
    """What a script has begun to write it may finish, above the limit as well."""
    memory, administrator = roomy
    batch, found = {f"many/{n:02}": LARGE for n in range(10)}, set()
    used: Any = administrator.info("memory")
    for megabytes in range(10):
        administrator.config_set("maxmemory", used["used_memory"] + megabytes * 2**20)
        with suppress(Unavailable):
            assert len(memory.put_many(batch)) == 10
        found.add(memory.count("many/*"))
        memory.delete_matching("many/*")
    administrator.config_set("maxmemory", "6mb")
    assert found == {0, 10}
    assert memory.check() == []


def test_a_server_at_its_limit_serves_reads_and_deletes_and_then_writes_again(
    roomy: tuple[Memory, redis.Redis],
) -> None:
    memory, _ = roomy
    assert fill(memory) > 10
    assert memory.get("key") == 1
    assert memory.count() == len(list(memory.keys())) == memory.stats().entries
    assert memory.pop("filler/0") == LARGE
    assert memory.delete_matching("filler/1*") > 0
    assert memory.delete_many(["filler/2", "filler/3"]) == 2
    assert memory.put("key", LARGE).value == LARGE
    assert memory.increment("counter") == 2
    assert memory.check() == []


def test_r28_a_server_at_its_limit_is_counted(roomy: tuple[Memory, redis.Redis]) -> None:
    """It refuses every command in a transaction, those that read as well."""
    memory, administrator = roomy
    memory.partition("other").put("key", 1)
    before = memory.stats().partitions
    assert len(before) == 2
    administrator.config_set("maxmemory", 1_000)
    try:
        assert memory.stats().partitions == before
    finally:
        administrator.config_set("maxmemory", "6mb")
    memory.drop_partition("other")


def test_entries_that_expired_make_room_at_the_limit(roomy: tuple[Memory, redis.Redis]) -> None:
    memory, _ = roomy
    assert fill(memory, ttl=1) > 10
    eventually(lambda: memory.count("filler/*") == 0)
    assert memory.purge_expired() > 0
    assert memory.put("key", LARGE).value == LARGE
    assert memory.check() == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_r28_a_server_that_forgets_entries_is_named(roomy: tuple[Memory, redis.Redis], policy: str) -> None:
    memory, administrator = roomy
    assert not [each for each in memory.stats().server["warnings"] if "maxmemory-policy" in each]
    administrator.config_set("maxmemory-policy", policy)
    try:
        warnings = memory.stats().server["warnings"]
    finally:
        administrator.config_set("maxmemory-policy", "noeviction")
    assert [each for each in warnings if f"maxmemory-policy is {policy}" in each and "noeviction" in each]


def test_check_finds_what_a_server_has_evicted(roomy: tuple[Memory, redis.Redis]) -> None:
    memory, administrator = roomy
    administrator.config_set("maxmemory-policy", "volatile-ttl")  # which spares the books
    try:
        for n in range(60):
            memory.put(f"{n}", LARGE, ttl=60 + n)
    finally:
        administrator.config_set("maxmemory-policy", "noeviction")
    lost = {problem.key for problem in memory.check() if "evicted" in problem.detail}
    assert len(lost) > 20
    assert not lost & {entry.key for entry in memory.items()}
    memory.clear()
    assert memory.check() == []


# Whatever else a server may say

IN_A_SCRIPT = "-ERR Error running script (call to f_0123): @user_script:90: @user_script: 90: -"
ANSWERS: dict[str, tuple[str, type[AgentMemError]]] = {
    "loading": ("-LOADING Redis is loading the dataset in memory", Unavailable),
    "busy": ("-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Unavailable),
    "disk full": ("-MISCONF Errors writing to the AOF file: No space left on device", Unavailable),
    "disk full, in a script": (f"{IN_A_SCRIPT}MISCONF Errors writing to the AOF file", Unavailable),
    "memory": ("-OOM command not allowed when used memory > 'maxmemory'.", Unavailable),
    "memory, in a script": (f"{IN_A_SCRIPT}OOM command not allowed when used memory > 'maxmemory'.", Unavailable),
    "replica, in a script": (f"{IN_A_SCRIPT}READONLY You can't write against a read only replica.", Unavailable),
    "replica": ("-READONLY You can't write against a read only replica.", Unavailable),
    "primary down": ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Unavailable),
    "no replicas": ("-NOREPLICAS Not enough good replicas to write.", Unavailable),
    "cluster down": ("-CLUSTERDOWN The cluster is down", Unavailable),
    "try again": ("-TRYAGAIN Multiple keys request during rehashing of slot", Unavailable),
    "no login": ("-NOAUTH Authentication required.", PermissionDenied),
    "no permission": ("-NOPERM this user has no permissions to run the 'evalsha' command", PermissionDenied),
    "nonsense": ("-ERR something else", BackendError),
    "type": ("-WRONGTYPE Operation against a key holding the wrong kind of value", BackendError),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_r29_what_a_server_answers_has_a_name(proxy: FaultProxy, behind: Memory, name: str) -> None:
    """A write that was answered was not applied: that is never an unknown outcome."""
    answer, expected = ANSWERS[name]
    for call, command in (
        (lambda: behind.put("key", 2), scripts.PUT.sha),
        (lambda: behind.append("list", 2), scripts.COMMIT.sha),
        (lambda: behind.get("key"), b"GET"),
    ):
        call()
        for _ in range(2):  # a read may look twice
            proxy.answer(answer.encode() + b"\r\n", containing=command)
        with pytest.raises(AgentMemError) as caught:
            call()
        proxy.relent()
        assert type(caught.value) is expected
        assert isinstance(caught.value.__cause__, redis.RedisError)
        assert behind.get("key") == 2
    assert behind.check() == []


@pytest.mark.parametrize(
    "answer", [b"*1\r\n$3\r\nabc\r\n", b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"!!\r\n", b"HTTP/1.1 400\r\n\r\n"]
)
def test_r29_a_server_that_is_no_redis(answer: bytes, proxy: FaultProxy, redis_url: str) -> None:
    """Some other protocol on the port, or a proxy's page of errors: whatever is said, the error is one of ours."""
    for skip in range(3):
        proxy.answer(answer, skip=skip)
        with suppress(AgentMemError), agentmem.connect(proxy.url, timeout=0.2) as memory:
            memory.get("key")
        proxy.relent()
        proxy.cut()
    with agentmem.connect(redis_url) as memory:
        assert memory.count() == 0
