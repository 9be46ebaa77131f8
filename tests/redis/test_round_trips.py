"""What a call costs: the requests to Redis, counted on the wire."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Append, Check, Delete, Increment, Put, VersionConflict
from agentmem.coordination.qtable import Snapshot
from agentmem.redis import scripts
from agentmem.testing.faults import FaultProxy
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import SHORT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.redis_server import RedisServer

HUNDRED = {f"many/{n:03}": n for n in range(100)}
THOUSAND = {f"bulk/{n:04}": {"n": n} for n in range(1_000)}


class Requests:
    """What clients have asked for: the names of commands, one list for each piece that was sent at once."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self._lock = threading.Lock()
        self._buffers: dict[int, bytes] = {}

    def __call__(self, connection: int, data: bytes) -> None:
        with self._lock:
            buffer = self._buffers.get(connection, b"") + data
            while end := _end_of_command(buffer):
                self.commands.append(_words(buffer[:end])[0].decode().upper())
                buffer = buffer[end:]
            self._buffers[connection] = buffer

    def of(self, call: Callable[[], object]) -> list[str]:
        """The commands of a call; a transaction of Redis, which is sent at once, counts as one."""
        start = len(self.commands)
        call()
        made = self.commands[start:]
        while "MULTI" in made:
            made[made.index("MULTI") : made.index("EXEC") + 1] = ["MULTI…EXEC"]
        return made


def _end_of_command(buffer: bytes) -> int:
    """How long the first command of the buffer is; 0 while it is not there as a whole."""
    line = buffer.find(b"\r\n")
    if line < 0:
        return 0
    end = line + 2
    for _ in range(int(buffer[1:line])):
        line = buffer.find(b"\r\n", end)
        if line < 0:
            return 0
        end = line + 2 + int(buffer[end + 1 : line]) + 2
    return end if end <= len(buffer) else 0


def _words(command: bytes) -> list[bytes]:
    return command.split(b"\r\n")[2::2]


def conflict(memory: Memory, **expectation: Any) -> None:
    with pytest.raises(VersionConflict):
        memory.put("key", 1, **expectation)


def in_transaction(memory: Memory) -> None:
    with memory.transaction() as tx:
        tx.put("key", tx.get("key"))


SCRIPT = ["EVALSHA"]
#: What is read, and what is written if it still stands.
PLANNED = ["EVALSHA", "EVALSHA"]

CALLS: dict[str, tuple[Callable[[Memory], object], list[str]]] = {
    "get": (lambda m: m.get("key"), ["GET"]),
    "get missing": (lambda m: m.get("absent"), ["GET"]),
    "entry": (lambda m: m.entry("key"), ["GET"]),
    "exists": (lambda m: m.exists("key"), ["GETRANGE"]),
    "get_many": (lambda m: m.get_many(HUNDRED), ["MGET"]),
    "put": (lambda m: m.put("key", 1), SCRIPT),
    "put with ttl and metadata": (lambda m: m.put("key", 1, ttl=60, metadata={"a": 1}), SCRIPT),
    "put if_absent": (lambda m: m.put("new", 1, if_absent=True), SCRIPT),
    "put if_absent, conflict": (lambda m: conflict(m, if_absent=True), SCRIPT),
    "put if_version, conflict": (lambda m: conflict(m, if_version=1), SCRIPT),
    "put_many": (lambda m: m.put_many(THOUSAND), SCRIPT),
    "delete": (lambda m: m.delete("key"), SCRIPT),
    "delete missing": (lambda m: m.delete("absent"), SCRIPT),
    "pop": (lambda m: m.pop("key"), SCRIPT),
    "increment": (lambda m: m.increment("counter"), SCRIPT),
    "increment by a float": (lambda m: m.increment("counter", 0.5), SCRIPT),
    "touch": (lambda m: m.touch("key", 60), SCRIPT),
    "search": (lambda m: m.search("many/*", limit=50), SCRIPT),
    "search where": (lambda m: m.search("many/*", where={(): {"$gt": 5}}, limit=50), SCRIPT),
    "search by updated": (lambda m: m.search("many/*", order="updated", limit=50), SCRIPT),
    "count": (lambda m: m.count("many/*"), SCRIPT),
    "count where": (lambda m: m.count("many/*", where={(): 5}), SCRIPT),
    "keys": (lambda m: list(m.keys("many/")), SCRIPT),
    "items": (lambda m: list(m.items("many/00")), SCRIPT),
    "ping": (lambda m: m.ping(), ["PING"]),
    "append": (lambda m: m.append("list", 1, limit=5), PLANNED),
    "merge": (lambda m: m.merge("object", {"a": 1}), PLANNED),
    "delete_many": (lambda m: m.delete_many(HUNDRED), PLANNED),
    "apply": (lambda m: m.apply([Put("a", 1), Increment("counter"), Append("list", 1), Delete("b")]), PLANNED),
    "apply check": (lambda m: m.apply([Check("absent", None), Put("a", 1)]), PLANNED),
    "apply, nothing to do": (lambda m: m.apply([Check("absent", None), Delete("absent")]), SCRIPT),
    "transaction": (in_transaction, ["GET", *PLANNED]),
    "update": (lambda m: m.update("counter", lambda n: n + 1), ["GET", *PLANNED]),
    "delete_matching": (lambda m: m.delete_matching("many/*"), ["ZRANGEBYLEX", "EVALSHA"]),
    "delete_matching where": (lambda m: m.delete_matching("many/*", where={(): 5}), PLANNED),
    "clear": (lambda m: m.clear(), ["ZRANGEBYLEX", "EVALSHA"]),
    "purge_expired": (lambda m: m.purge_expired(), ["ZRANGEBYLEX", "EVALSHA"]),
    "partitions": (lambda m: m.partitions(), ["ZRANGEBYLEX", "HMGET"]),
    "learn": (lambda m: m.qtable("q").update("s", "a", 1.0, "s"), SCRIPT),
    "learn many": (lambda m: m.qtable("q").update_many([(f"s{n}", "a", 1.0, "s") for n in range(100)]), SCRIPT),
    "learned": (lambda m: m.qtable("q").best("s"), SCRIPT),
    "merge what was learned": (lambda m: m.qtable("q").merge(Snapshot([("s", "a", 1.0, 1)])), SCRIPT),
    "decay": (lambda m: m.qtable("q").decay(0.5), SCRIPT),
    "snapshot": (lambda m: m.qtable("q").snapshot(), SCRIPT),
    "qtables": (lambda m: m.qtables(), ["ZRANGEBYLEX"]),
}


@pytest.fixture(scope="module")
def connected(redis_server: RedisServer) -> Iterator[tuple[Memory, Requests]]:
    requests = Requests()
    url = redis_server.new_store()
    with FaultProxy(url, requests) as proxy, agentmem.connect(proxy.url, pool_size=1) as memory:
        yield memory, requests
    redis_server.drop_store(url)


@pytest.fixture
def wire(connected: tuple[Memory, Requests]) -> tuple[Memory, Requests]:
    """A handle with one connection, and the requests on it."""
    memory, _ = connected
    memory.clear()
    seed(memory)
    return connected


def seed(memory: Memory) -> None:
    memory.put_many({**HUNDRED, "key": 1, "counter": 1})
    memory.delete("new")


@pytest.mark.parametrize("name", CALLS)
def test_requests_of_a_call(wire: tuple[Memory, Requests], name: str) -> None:
    memory, requests = wire
    call, expected = CALLS[name]
    call(memory)  # gives the server the script, if it is the first to use it
    seed(memory)
    assert requests.of(lambda: call(memory)) == expected


def test_a_put_over_the_right_version_is_one_request(wire: tuple[Memory, Requests]) -> None:
    memory, requests = wire
    version = memory.put("key", 1).version
    assert requests.of(lambda: memory.put("key", 2, if_version=version)) == SCRIPT


def test_pages_cost_a_request_each(wire: tuple[Memory, Requests]) -> None:
    memory, requests = wire
    memory.put_many(THOUSAND)
    cursor = memory.search("bulk/*", limit=300).cursor
    assert requests.of(lambda: memory.search("bulk/*", limit=300, cursor=cursor)) == SCRIPT
    assert requests.of(lambda: list(memory.items("bulk/"))) == SCRIPT * 2  # 64, and then as many as 4 MB hold


def test_r27_many_that_expired_are_not_passed_one_by_one(wire: tuple[Memory, Requests]) -> None:
    memory, requests = wire
    memory.put_many({f"dead/{n:04}": n for n in range(500)}, ttl=SHORT)
    memory.put("dead/then", 1)
    eventually(lambda: memory.count("dead/*") == 1)
    assert len(requests.of(lambda: memory.search("dead/*", limit=1))) < 12
    assert len(requests.of(lambda: list(memory.keys("dead/", limit=1)))) < 12


def test_large_values_come_in_pieces(wire: tuple[Memory, Requests]) -> None:
    """A megabyte each: neither the server nor we hold all of them at once."""
    memory, requests = wire
    memory.put_many({f"large/{n}": "x" * 1_000_000 for n in range(14)})
    for call in (memory.check, lambda: memory.search("large/*"), lambda: memory.count("*", where={"a": 1})):
        assert requests.of(call).count("EVALSHA") >= 3
    memory.delete_matching("large/*")


def test_stats_of_a_store_are_one_transaction(wire: tuple[Memory, Requests]) -> None:
    memory, requests = wire
    memory.partition("other").put("key", 1)
    memory.stats()
    made = requests.of(memory.stats)
    assert made[:3] == ["ZRANGEBYLEX", "HMGET", "HMGET"]  # the partitions
    assert made[3:5] == ["EVALSHA", "MULTI…EXEC"]
    assert set(made[5:]) <= {"INFO", "CONFIG"}
    memory.drop_partition("other")


def test_r11_a_first_put_into_a_partition_registers_it(wire: tuple[Memory, Requests]) -> None:
    memory, requests = wire
    memory.put("key", 1)  # gives the server the script, if this test is the first to use it
    fresh = memory.partition("fresh")
    assert requests.of(lambda: fresh.put("key", 1)) == ["EVALSHA", "SET", "ZADD", "EVALSHA", "ZADD"]
    assert requests.of(lambda: fresh.put("other", 1)) == SCRIPT
    memory.drop_partition("fresh")


def test_a_script_that_the_server_does_not_know_costs_one_more_request(own_server: LocalRedis) -> None:
    requests = Requests()
    with (
        FaultProxy(own_server.new_store(), requests) as proxy,
        agentmem.connect(proxy.url, pool_size=1) as memory,
        own_server.client() as administrator,
    ):
        memory.put_many({"key": 1, "counter": 1})
        for name in ("put", "increment", "delete", "put_many", "search", "count", "touch"):
            administrator.script_flush()
            call, expected = CALLS[name]
            assert requests.of(lambda call=call: call(memory)) == [*expected, "EVAL"]  # type: ignore[misc]
            assert requests.of(lambda call=call: call(memory)) == expected  # type: ignore[misc]


def test_a_connection_costs_no_request_that_it_does_not_need(own_server: LocalRedis) -> None:
    requests = Requests()
    with FaultProxy(own_server.new_store(), requests) as proxy, agentmem.connect(proxy.url) as memory:
        assert "AUTH" in requests.commands
        assert not {"SELECT", "HELLO", "COMMAND", "INFO"} & set(requests.commands)
        memory.ping()
        opened = len(requests.commands)
        threading.Event().wait(1.1)
        memory.get("key")
        assert requests.commands[opened:] == ["GET"], "a connection that rested is not pinged"
    assert scripts.PUT.sha.decode() not in requests.commands


def test_wait_replicas_costs_a_request(disposable_redis_server: RedisServer) -> None:
    requests = Requests()
    with FaultProxy(disposable_redis_server.new_store(), requests) as proxy:
        options = {"wait_replicas": 1, "wait_timeout": 0.01, "pool_size": 1}
        with agentmem.connect(proxy.url, **options) as memory:  # type: ignore[arg-type]
            with pytest.raises(agentmem.OutcomeUnknown):
                memory.put("key", 1)
            assert requests.commands[-1] == "WAIT"
            assert requests.of(lambda: memory.get("key")) == ["GET"]
