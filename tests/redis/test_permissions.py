"""What a server must permit, and what a user without permission is told (R27, R29)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
import redis

import agentmem
from agentmem import Append, Check, Delete, Increment, Merge, PermissionDenied, Put, Touch
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_server import key_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentmem.memory import Memory

#: What an ACL user needs for everything but `check`, on keys `~<key_prefix>:*`. docs/backends/redis.md says the same.
READING = ["get", "mget", "getrange", "hget", "hgetall", "hmget", "hlen", "strlen", "exists"]
INDEX = ["zadd", "zrem", "zcard", "zcount", "zlexcount", "zrangebylex", "zrevrangebylex", "zrangebyscore"]
WRITING = ["set", "setrange", "persist", "pexpireat", "unlink", "hset", "hdel", "hincrby"]
SERVER = ["eval", "evalsha", "time", "ping", "info", "multi", "exec"]
MINIMAL = [*READING, *INDEX, *WRITING, *SERVER]
#: What `check` needs beyond; `wait_replicas` needs `wait`, a cluster `asking` and `cluster|slots`.
FOR_CHECK = ["scan", "zscore"]
#: What a shared server's administrator never grants, and what blocks a server (R27).
FORBIDDEN = [
    "keys",
    "flushdb",
    "flushall",
    "scan",
    "config",
    "dbsize",
    "monitor",
    "debug",
    "script",
    "rename",
    "swapdb",
]

SURFACE: dict[str, Callable[[Memory], object]] = {
    "ping": lambda m: m.ping(),
    "put": lambda m: m.put("key", 1, ttl=60, metadata={"a": 1}),
    "put over": lambda m: m.put("key", 2),
    "put if_absent": lambda m: m.put("new", 1, if_absent=True),
    "put_many": lambda m: m.put_many({"a/1": 1, "a/2": [2], "b": 3}),
    "get": lambda m: m.get("key"),
    "get_many": lambda m: m.get_many(["key", "b"]),
    "exists": lambda m: m.exists("key"),
    "increment": lambda m: m.increment("counter", 2, ttl=60),
    "append": lambda m: m.append("list", 1),
    "merge": lambda m: m.merge("object", {"a": 1}),
    "touch": lambda m: (m.touch("key", 60), m.touch("key", None)),
    "update": lambda m: m.update("counter", lambda n: n + 1),
    "apply": lambda m: m.apply(
        [Put("p", 1), Increment("counter"), Append("list", 2), Merge("object", {"b": 2}), Touch("b", 5), Delete("a/1")]
    ),
    "apply check": lambda m: m.apply([Check("absent", None), Put("p", 2)]),
    "transaction": lambda m: m.run(lambda tx: tx.put("t", tx.get("counter"))),
    "search": lambda m: [
        m.search("*", order=order, descending=d) for order in ("key", "updated") for d in (True, False)
    ],
    "search where": lambda m: m.search("*", where={"a": 1}),
    "keys": lambda m: list(m.keys("a/")),
    "items": lambda m: list(m.items()),
    "children": lambda m: m.children(),
    "count": lambda m: (m.count(), m.count("a*"), m.count("*", where={"a": 1})),
    "pop": lambda m: m.pop("p"),
    "delete": lambda m: m.delete("new"),
    "delete_many": lambda m: m.delete_many(["t", "nothing"]),
    "delete_matching": lambda m: (m.delete_matching("a/*"), m.delete_matching("*", where={"a": 1})),
    "purge_expired": lambda m: (m.put("dead", 1, ttl=0.001), m.purge_expired()),
    "policy": lambda m: m.partition("other", default_ttl=60, namespace="x/", description="").put("x/1", 1),
    "clear a policy": lambda m: m.partition("other", default_ttl=None, namespace=None),
    "partitions": lambda m: m.partitions(),
    "stats": lambda m: (m.stats(), m.scoped("a/").stats()),
    "learn": lambda m: m.qtable("q").update_many([("s", "a", 1.0, "s"), ("t", "a", 1.0, "s", True)]),
    "learned": lambda m: (m.qtable("q").best("s"), m.qtable("q").decay(0.5), m.qtables()),
    "snapshot": lambda m: m.qtable("r").merge(m.qtable("q").snapshot()),
    "replay": lambda m: (m.qtable("q").record([("s", "a", 1.0)]), m.qtable("q").sample(1)),
    "forget": lambda m: m.qtable("q").clear(),
    "clear": lambda m: m.clear(),
    "drop_partition": lambda m: m.drop_partition("other"),
}


@pytest.fixture(scope="module")
def server(program: Path) -> Iterator[LocalRedis]:
    with LocalRedis(program) as server:
        yield server


class Administrator:
    """Makes users."""

    def __init__(self, server: LocalRedis) -> None:
        self._server = server
        self.prefix = key_prefix(server.new_store())

    def user(self, *rules: str, password: str = "word") -> str:
        """A new user under these rules of an ACL; its URL."""
        name = f"user-{secrets.token_hex(4)}"
        with self._server.client() as client:
            client.execute_command("ACL", "SETUSER", name, "on", f">{password}", *rules)
        return f"redis://{name}:{password}@127.0.0.1:{self._server.port}/0?key_prefix={self.prefix}"

    def calls(self) -> dict[str, int]:
        """How often each command was called, inside of scripts as well, since the last time."""
        with self._server.client() as client:
            stats: Any = client.info("commandstats")
            client.script_flush()
            client.config_resetstat()
        return {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}


@pytest.fixture
def administrator(server: LocalRedis) -> Administrator:
    return Administrator(server)


def minimal(administrator: Administrator, *commands: str) -> list[str]:
    return [f"~{administrator.prefix}:*", "resetchannels", "-@all", *(f"+{command}" for command in commands)]


def test_r27_the_whole_surface_needs_few_commands_and_its_own_keys(administrator: Administrator) -> None:
    """No KEYS, no SCAN, no FLUSHDB, no CONFIG: stats then lack what CONFIG would tell, and `check` is refused."""
    with agentmem.connect(administrator.user(*minimal(administrator, *MINIMAL))) as memory:
        for call in SURFACE.values():
            call(memory)
        assert "appendfsync" not in memory.stats().server
        assert memory.stats().server["appendonly"] is True
        with pytest.raises(PermissionDenied, match="scan"):
            memory.check()
    with agentmem.connect(administrator.user(*minimal(administrator, *MINIMAL, *FOR_CHECK))) as memory:
        assert memory.check() == []


def test_r27_every_command_that_is_asked_for_is_needed(administrator: Administrator) -> None:
    """And nothing else is called: what the server has counted is what the list says."""
    with agentmem.connect(administrator.user(*minimal(administrator, *MINIMAL, *FOR_CHECK))) as memory:
        administrator.calls()
        for call in SURFACE.values():
            call(memory)
        memory.put("key", 1)
        memory.check()
        called = set(administrator.calls())
    of_others = {"auth", "hello", "client", "config", "script"}
    assert {name for name in called if name.partition("|")[0] not in of_others} == {*MINIMAL, *FOR_CHECK}


def test_r27_what_blocks_or_reaches_far_is_never_called(administrator: Administrator) -> None:
    denied = [f"-{command}" for command in FORBIDDEN]
    with agentmem.connect(administrator.user("~*", "+@all", *denied)) as memory:
        for call in SURFACE.values():
            call(memory)


@pytest.mark.parametrize(
    "rules",
    [
        ["~*", "-@all", "+get", "+mget", "+ping"],
        ["~*", "+@all", "-@write"],
        ["~somewhere:*", "+@all"],
        ["~*", "+@all", "-@scripting", "-set"],
    ],
    ids=["reads", "no writes", "other keys", "no scripts"],
)
def test_r29_a_user_without_permission_is_told(administrator: Administrator, server: LocalRedis, rules: Any) -> None:
    with agentmem.connect(f"{server.url()}?key_prefix={administrator.prefix}") as memory:
        memory.put("key", 1)
        with pytest.raises(PermissionDenied) as caught, agentmem.connect(administrator.user(*rules)) as guest:
            guest.put("key", 2)
        assert isinstance(caught.value.__cause__, redis.RedisError)
        assert memory.get("key") == 1
        assert memory.check() == []


def test_r29_one_who_may_only_read_reads(administrator: Administrator, server: LocalRedis) -> None:
    with agentmem.connect(f"{server.url()}?key_prefix={administrator.prefix}") as memory:
        memory.put_many({"key": 1, "a/b": 2})
    rules = ["~*", "-@all", "+@read", "+eval", "+evalsha", "+time", "+ping"]
    with agentmem.connect(administrator.user(*rules)) as guest:
        assert guest.get("key") == 1
        assert guest.count() == len(guest.search("*")) == 2
        assert guest.children() == ["a/", "key"]
        for call in (
            lambda: guest.put("key", 2),
            lambda: guest.put_many({"key": 2, "new": 3}),
            lambda: guest.append("list", 1),
            lambda: guest.delete("key"),
            lambda: guest.increment("key"),
            guest.clear,
        ):
            with pytest.raises(PermissionDenied):
                call()
        assert guest.get_many(["key", "new", "a/b"]) == {"key": 1, "a/b": 2}


def test_r29_one_who_loses_permission_while_connected_is_told(administrator: Administrator, server: LocalRedis) -> None:
    url = administrator.user("~*", "+@all")
    name = url.partition("//")[2].partition(":")[0]
    with agentmem.connect(url) as memory, server.client() as client:
        memory.put("key", 1)
        client.execute_command("ACL", "SETUSER", name, "-@all", "+get")
        with pytest.raises(PermissionDenied):
            memory.put("key", 2)
        assert memory.get("key") == 1
        client.execute_command("ACL", "DELUSER", name)  # which ends its connections
        with pytest.raises(PermissionDenied):
            memory.get("key")


@pytest.mark.parametrize("password", ["tr0ub4dor", "tr0ub%254dor", "tr0ub%404dor", ""])
def test_r30_a_wrong_password_is_refused_and_not_shown(server: LocalRedis, password: str) -> None:
    for user in ("", "default", "nobody"):
        login = f"{user}:{password}" if password else user
        with pytest.raises(PermissionDenied) as caught:
            agentmem.connect(f"redis://{login}@127.0.0.1:{server.port}/0")
        shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__cause__.__dict__}"
        assert "tr0ub" not in shown
        assert "4dor" not in shown
        assert server.password not in shown
