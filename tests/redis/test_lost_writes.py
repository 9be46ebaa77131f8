"""R18: a write whose request or reply is lost was applied once or not at all, and says that nobody knows which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Append, OutcomeUnknown, Put, Unavailable
from agentmem.redis import scripts
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.redis.scripts import Script
    from agentmem.testing.faults import FaultProxy
    from agentmem.testing.redis_server import RedisServer

#: Calls, and the script by which each takes effect.
WRITES: dict[str, tuple[Callable[[Memory], object], Script]] = {
    "put": (lambda m: m.put("key", 2), scripts.PUT),
    "put if_absent": (lambda m: m.put("new", 2, if_absent=True), scripts.PUT),
    "increment": (lambda m: m.increment("key"), scripts.INCREMENT),
    "put_many": (lambda m: m.put_many({"key": 2, "new": 2}), scripts.PUT_MANY),
    "delete": (lambda m: m.delete("key"), scripts.DELETE),
    "pop": (lambda m: m.pop("key"), scripts.DELETE),
    "touch": (lambda m: m.touch("key", 60), scripts.TOUCH),
    "append": (lambda m: m.append("list", 2), scripts.COMMIT),
    "merge": (lambda m: m.merge("object", {"b": 2}), scripts.COMMIT),
    "apply": (lambda m: m.apply([Put("key", 2), Append("list", 2), Put("new", 3)]), scripts.COMMIT),
    "transaction": (lambda m: m.run(lambda tx: tx.put("key", tx.get("key") + 1)), scripts.COMMIT),
    "update": (lambda m: m.update("key", lambda n: n + 1), scripts.COMMIT),
    "delete_many": (lambda m: m.delete_many(["key", "list"]), scripts.COMMIT),
    "delete_matching": (lambda m: m.delete_matching("k*"), scripts.REMOVE),
    "delete_matching where": (lambda m: m.delete_matching("*", where={"a": 1}), scripts.REMOVE),
    "clear": (lambda m: m.clear(), scripts.REMOVE),
    "purge_expired": (lambda m: m.purge_expired(), scripts.PURGE),
    "define": (lambda m: m.partition("default", default_ttl=60), scripts.DEFINE),
    "drop": (lambda m: m.drop_partition("default"), scripts.FORGET),
    "a first put": (lambda m: m.partition("fresh").put("key", 1), scripts.PUT),
}
all_writes = pytest.mark.parametrize("name", WRITES)


@pytest.fixture
def reference(redis_server: RedisServer) -> Iterator[Memory]:
    """Another store, where each call goes as it should; by way of it the server has the scripts already."""
    url = redis_server.new_store()
    with agentmem.connect(url) as memory:
        seed(memory)
        yield memory
    redis_server.drop_store(url)


@pytest.fixture
def broken(proxy: FaultProxy) -> Iterator[Memory]:
    """A handle whose connections go through the proxy, and break there."""
    with agentmem.connect(proxy.url) as memory:
        seed(memory)
        yield memory


def seed(memory: Memory) -> None:
    """The same entries, one of them expired, whatever there was."""
    for partition in ("default", "fresh"):
        memory.drop_partition(partition)
    memory.put_many({"key": 1, "list": [1], "object": {"a": 1}})
    memory.put("dead", 1, ttl=0.001)
    eventually(lambda: memory.stats().expired_pending == 1)


def state(memory: Memory) -> Any:
    """What a call may have changed, moments and versions aside."""
    partitions = {each.name: each.default_ttl for each in memory.partitions()}
    entries = [
        (name, entry.key, entry.value, entry.expires_at is None)
        for name in partitions
        for entry in memory.partition(name).items()
    ]
    return partitions, entries, memory.stats().expired_pending


@pytest.mark.parametrize("fault", ["lose_reply", "halve_reply"])
@all_writes
def test_r18_a_write_whose_reply_is_lost_was_applied_once(
    proxy: FaultProxy, broken: Memory, reference: Memory, name: str, fault: str
) -> None:
    """It is never tried again: an increment that were would count twice."""
    call, script = WRITES[name]
    call(reference)
    before = proxy.connections
    # A first put finds no partition, and is made by its second attempt.
    getattr(proxy, fault)(containing=script.sha, skip=int(name == "a first put"))
    with pytest.raises(OutcomeUnknown):
        call(broken)
    assert proxy.connections == before
    assert state(broken) == state(reference)
    assert broken.check() == []


@all_writes
def test_r18_a_write_whose_request_is_lost_was_not_applied(
    proxy: FaultProxy, broken: Memory, reference: Memory, name: str
) -> None:
    call, script = WRITES[name]
    call(reference)
    before = state(broken)
    proxy.lose_request(containing=script.sha)
    with pytest.raises(OutcomeUnknown):
        call(broken)
    if name != "drop":  # whose entries went first
        assert state(broken) == before
    call(broken)
    assert state(broken) == state(reference)
    assert broken.check() == []


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
@all_writes
def test_r18_whatever_is_lost_a_call_that_says_it_was_not_applied_was_not(
    proxy: FaultProxy, broken: Memory, reference: Memory, name: str, fault: str
) -> None:
    """Request by request: the call succeeds, or nobody knows, or nothing was changed."""
    call, _ = WRITES[name]
    call(reference)
    wanted, step, ended = state(reference), 0, set()
    while True:
        seed(broken)
        before = state(broken)
        getattr(proxy, fault)(skip=step)
        try:
            call(broken)
            expected = [wanted]
        except Unavailable:
            expected = [before]
        except OutcomeUnknown:
            ended.add("unknown")
            expected = [before, wanted] if name != "drop" else [state(broken)]  # which works in steps
        if proxy.relent():
            break
        assert state(broken) in expected
        assert broken.check() == []
        step += 1
    assert step >= 1
    assert "unknown" in ended
