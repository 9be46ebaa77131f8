"""The scripts: a server may forget them, its clock decides, and they never read a body."""

from __future__ import annotations

import ast
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Append, Put, Touch, ValueTooLarge, values
from agentmem.moments import from_microseconds
from agentmem.redis import packing
from agentmem.redis.layout import HEADER, Layout
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import eventually, exactly, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from agentmem.memory import Memory

CALLS: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", 1),
    "put with ttl": lambda m: m.put("key", 1, ttl=60),
    "put_many": lambda m: m.put_many({"a": 1, "b": 2}),
    "increment": lambda m: m.increment("counter"),
    "touch": lambda m: m.touch("counter", 60),
    "delete": lambda m: m.delete("key"),
    "append": lambda m: m.append("list", 1),
    "apply": lambda m: m.apply([Put("key", 1), Append("list", 2)]),
    "search": lambda m: m.search("*", limit=1),
    "search by updated": lambda m: m.search("*", order="updated", limit=1),
    "count": lambda m: m.count("c*"),
    "stats": lambda m: m.stats(),
    "stats of a scope": lambda m: m.scoped("c").stats(),
    "policy": lambda m: m.partition("other", description="x"),
    "purge_expired": lambda m: m.purge_expired(),
    "delete_matching": lambda m: m.delete_matching("a*"),
    "check": lambda m: m.check(),
    "drop_partition": lambda m: m.drop_partition("other"),
}

#: What cjson, or a double, would not give back.
OPAQUE: list[Any] = [
    1757000000123456,
    2**63,
    2**200,
    -(2**63) - 1,
    1e22,
    1.0,
    -0.0,
    5e-324,
    0.1,
    [],
    {},
    [[], {}, [{}]],
    {"a": [], "b": {}, "": None},
    {"z": 1, "a": 2, "10": 3, "9": 4},
    None,
    "",
    "\u0000",
    "a\u0000b\r\n",
    "\ufeff\u2028é\U0001f600",
    "x" * 70_000,
]


@pytest.fixture(scope="module")
def server(program: Path) -> Iterator[LocalRedis]:
    """One whose scripts may be flushed, of each version."""
    with LocalRedis(program) as server:
        yield server


@pytest.fixture
def forgetful(server: LocalRedis) -> Iterator[tuple[Memory, redis.Redis]]:
    """A handle, and an administrator who can make its server forget."""
    with agentmem.connect(server.new_store()) as memory, server.client() as administrator:
        yield memory, administrator


def test_a_server_that_forgets_its_scripts_is_not_noticed(forgetful: tuple[Memory, redis.Redis]) -> None:
    memory, administrator = forgetful
    memory.partition("second").put("key", 1)
    for _ in range(2):
        for call in CALLS.values():
            administrator.script_flush()
            call(memory)
    assert memory.get("counter") == 2
    assert memory.get("list") == [1, 2, 1, 2]
    assert memory.check() == []


def test_a_server_that_forgets_all_the_time_loses_nothing(forgetful: tuple[Memory, redis.Redis]) -> None:
    memory, administrator = forgetful
    over = threading.Event()

    def work(index: int) -> None:
        if index == 0:
            while not over.is_set():
                administrator.script_flush()
            return
        try:
            for number in range(40):
                memory.increment("counter")
                memory.append("list", number, limit=3)
                memory.put_many({f"{index}/{number}": number, f"{index}/last": number})
                assert memory.stats().entries > 0
        finally:
            running.pop()
            if not running:
                over.set()

    running = [1, 2, 3]
    run_threads(4, work)
    assert memory.get("counter") == 120
    assert memory.count() == 3 * 41 + 2
    assert memory.check() == []


# The clock


def test_r21_a_clock_that_is_wrong_here_changes_nothing(
    memory: Memory, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, fraction = raw.time()
    before = from_microseconds(seconds * 1_000_000 + fraction)
    for wrong in (0.0, 4_000_000_000.0):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        monkeypatch.setattr(time, "time_ns", lambda wrong=wrong: int(wrong) * 10**9)
        entry = memory.put("key", 1, ttl=60)
        assert timedelta(0) <= entry.updated_at - before < timedelta(minutes=1)
        assert entry.expires_at is not None
        assert timedelta(0) <= entry.expires_at - entry.updated_at - timedelta(seconds=60) <= timedelta(milliseconds=1)
        assert memory.get("key") == 1
        memory.apply([Touch("key", 30), Append("list", 1)])
        assert memory.get("key") == 1
        assert memory.put("short", 1, ttl=0.05).version > entry.version
        eventually(lambda: not memory.exists("short"))
    assert memory.check() == []


def test_r21_nothing_in_the_backend_asks_for_the_time_here() -> None:
    asked = {"now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime"}
    modules = list((Path(agentmem.__file__).parent / "redis").glob("*.py"))
    assert len(modules) > 8
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in asked, f"{module.name}:{node.lineno}: {ast.unparse(node)}"


# Bodies


def stored(raw: redis.Redis, layout: Layout, key: str) -> tuple[bytes, bytes]:
    """The metadata and the body of an entry as they lie in Redis."""
    value: Any = raw.get(layout.place("default").entry + key.encode())
    length = HEADER.unpack_from(value)[-1]
    return value[HEADER.size : HEADER.size + length], value[HEADER.size + length :]


@pytest.mark.parametrize("value", OPAQUE, ids=lambda value: ascii(value)[:20])
def test_r06_scripts_pass_a_body_on_as_it_is(memory: Memory, raw: redis.Redis, layout: Layout, value: Any) -> None:
    body = values.encode(value, max_bytes=2**20).encode()
    memory.put("put", value, metadata={"as": "\u0000", "is": []})
    memory.put_many({"put_many": value, "other": 1})
    memory.apply([Put("apply", value), Append("list", 1)])
    memory.put("touched", value)
    memory.touch("touched", 60)
    memory.put("touched twice", value)
    memory.apply([Touch("touched twice", 60), Append("list", 1)])
    memory.append("items", value, value)
    for key in ("put", "put_many", "apply", "touched", "touched twice"):
        assert stored(raw, layout, key)[1] == body
        assert exactly(memory.get(key)) == exactly(value)
    assert stored(raw, layout, "put")[0] == values.encode({"as": "\u0000", "is": []}, max_bytes=99).encode()
    assert exactly(memory.get("items")) == exactly([value, value])
    assert exactly(memory.search("put", where={})[0].value) == exactly(value)
    assert exactly(memory.pop("put")) == exactly(value)
    assert memory.check() == []


def test_r08_a_batch_that_redis_cannot_take_is_refused_before_it_is_sent(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is one argument, and Redis ends the connection of who sends one above 512 MB."""
    monkeypatch.setattr(packing, "LARGEST_BYTES", 1_000)
    for call in (
        lambda: memory.put_many({f"{n}": "x" * 100 for n in range(10)}),
        lambda: memory.apply([Put("key", "x" * 1_000), Append("list", 1)]),
    ):
        with pytest.raises(ValueTooLarge, match=r"the batch is 1,[0-9]{3} bytes, the limit is 1,000 bytes"):
            call()
    assert memory.count() == 0
    assert len(memory.put_many({f"{n}": n for n in range(10)})) == 10


def test_no_script_decodes_json() -> None:
    folder = Path(agentmem.__file__).parent / "redis" / "lua"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.lua")}
    assert len(texts) > 10
    assert [name for name, text in texts.items() if "cjson" in text] == []
