"""R10: what somebody else left where an entry should be spoils that entry alone, and can be replaced and removed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentmem import Append, BackendError, CorruptEntry, Increment, InvalidOperation, Put, Touch
from agentmem.redis.layout import HEADER, Layout

if TYPE_CHECKING:
    import redis

    from agentmem.memory import Memory

NOW_US = 1_757_000_000_000_000
HEAD = HEADER.pack(1, NOW_US, NOW_US, NOW_US, 0, 0)

#: What may lie there: with a header of ours, with one of tomorrow, or with none.
FOREIGN = {
    "no UTF-8": HEAD + b'"\xff\xfe"',
    "half a character": HEAD + b'"\xc3',
    "a lone surrogate": HEAD + b'"\xed\xa0\x80"',
    "no JSON": HEAD + b"{",
    "no body": HEAD,
    "metadata that is no JSON": HEADER.pack(1, NOW_US, NOW_US, NOW_US, 0, 3) + b"\xff\xff\xff" + b"1",
    "metadata longer than all": HEADER.pack(1, NOW_US, NOW_US, NOW_US, 0, 60_000) + b"{}1",
    "a newer format": HEADER.pack(2, NOW_US, NOW_US, NOW_US, 0, 0) + b"1",
    "half a header": HEAD[:20],
    "one byte": b"\x01",
    "text": b"hello",
    "a long text": b"hello " * 50,
    "times of nobody's": HEADER.pack(1, 2**64 - 1, 2**64 - 1, 2**64 - 1, 0, 0) + b"1",
    "a version beyond doubles": HEADER.pack(1, 2**60, NOW_US, NOW_US, 0, 0) + b"1",
    "an expiry beyond the calendar": HEADER.pack(1, NOW_US, NOW_US, NOW_US, 2**63, 0) + b"1",
}


def plant(memory: Memory, raw: redis.Redis, layout: Layout, key: str, value: bytes) -> None:
    """Put the bytes in an entry's place, in the books and all."""
    memory.put(key, 1)
    raw.set(layout.place("default").entry + key.encode(), value)


@pytest.fixture(params=FOREIGN)
def spoilt(request: pytest.FixtureRequest, memory: Memory, raw: redis.Redis, layout: Layout) -> str:
    """A store with a spoilt entry between two good ones; the name of what it holds."""
    memory.put_many({"a": 1, "c": [3]})
    plant(memory, raw, layout, "b", FOREIGN[request.param])
    return str(request.param)


def test_r10_reads_of_others_go_on(memory: Memory, spoilt: str) -> None:
    assert memory.get_many(["a", "c"]) == {"a": 1, "c": [3]}
    assert list(memory.keys()) == ["a", "b", "c"]
    for order in ("key", "updated"):
        assert sorted(entry.key for entry in memory.search("*", order=order)) == ["a", "b", "c"]
    assert [entry.key for entry in memory.search("*", where={(): {"$gte": 1}}) if entry.key != "b"] == ["a"]
    assert memory.count() == memory.stats().entries == 3
    assert memory.exists("b")
    assert [entry.value for entry in memory.items() if entry.key != "b"] == [1, [3]]


def test_r10_it_alone_is_corrupt(memory: Memory, spoilt: str) -> None:
    if spoilt != "metadata that is no JSON":
        for call in (lambda: memory.get("b"), lambda: memory.get_many(["a", "b"])):
            with pytest.raises(CorruptEntry) as caught:
                call()
            assert caught.value.key == "b"
    assert {problem.key for problem in memory.check() if problem.key} == {"b"}


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.put("b", 2),
        lambda m: m.put_many({"b": 2}),
        lambda m: m.apply([Put("b", 2), Put("a", 2)]),
        lambda m: (m.delete("b"), m.put("b", 2, if_absent=True)),
        lambda m: (m.delete_many(["b"]), m.put("b", 2)),
        lambda m: (m.delete_matching("b"), m.put("b", 2)),
        lambda m: (m.clear(), m.put_many({"a": 2, "b": 2})),
    ],
    ids=["put", "put_many", "apply", "delete", "delete_many", "delete_matching", "clear"],
)
def test_r10_it_can_be_replaced_and_removed(memory: Memory, spoilt: str, call: Any) -> None:
    call(memory)
    assert memory.get("b") == 2
    assert memory.exists("a") or memory.count() == 2
    assert [problem for problem in memory.check() if problem.key is not None] == []
    memory.delete("b")
    assert not memory.exists("b")


def test_r10_what_needs_its_value_raises_and_changes_nothing(
    memory: Memory, raw: redis.Redis, layout: Layout, spoilt: str
) -> None:
    if spoilt == "metadata that is no JSON":
        assert memory.increment("b") == 2
        return
    name = layout.place("default").entry + b"b"
    before = raw.get(name)
    for call in (
        lambda: memory.append("b", 1),
        lambda: memory.merge("b", {"x": 1}),
        lambda: memory.increment("b", 10**17),
        lambda: memory.apply([Put("a", 5), Increment("b"), Append("c", 1)]),
    ):
        with pytest.raises((CorruptEntry, InvalidOperation)):
            call()
        assert raw.get(name) == before
    assert memory.get("a") == 1


def test_r10_a_touch_leaves_what_it_does_not_understand(
    memory: Memory, raw: redis.Redis, layout: Layout, spoilt: str
) -> None:
    memory.touch("b", 60)
    memory.apply([Touch("b", 70), Touch("a", 70)])
    kept: Any = raw.get(layout.place("default").entry + b"b")
    ours = FOREIGN[spoilt][HEADER.size :]
    assert kept[HEADER.size :] in (ours, b"\0" + FOREIGN[spoilt])
    assert memory.exists("b")
    assert memory.get("a") == 1


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda rest: b"\x01" + rest)))
@example(value=b"")
def test_r10_any_bytes_raise_an_error_of_ours_or_none(
    memory: Memory, raw: redis.Redis, layout: Layout, value: bytes
) -> None:
    plant(memory, raw, layout, "key", value)
    for call in (
        lambda: memory.get("key"),
        lambda: memory.get_many(["key"]),
        lambda: list(memory.search("*")),
        memory.check,
        lambda: memory.append("key", 1),
        lambda: memory.increment("key"),
        lambda: memory.touch("key", None),
        lambda: memory.pop("key"),
    ):
        with suppress(CorruptEntry, InvalidOperation):  # and no other
            call()
    memory.clear()
    assert memory.put("key", 1, if_absent=True).value == 1


def test_r10_a_key_of_another_type_spoils_nothing_else(memory: Memory, raw: redis.Redis, layout: Layout) -> None:
    name = layout.place("default").entry + b"b"

    def spoil() -> None:
        memory.put_many({"a": 1, "b": 2, "c": [3]})
        raw.delete(name)
        raw.rpush(name, "foreign")

    spoil()
    for order in ("key", "updated"):
        assert sorted(entry.key for entry in memory.search("*", order=order)) == ["a", "b", "c"]
    assert list(memory.keys()) == [entry.key for entry in memory.items()] == ["a", "b", "c"]
    assert memory.count("?") == memory.stats().entries == 3
    assert {problem.key for problem in memory.check() if problem.key} == {"b"}
    for call in (lambda: memory.append("b", 1), lambda: memory.increment("b"), lambda: memory.merge("b", {})):
        with pytest.raises(CorruptEntry, match="'b'"):
            call()
    for read in (lambda: memory.get("b"), lambda: memory.exists("b"), lambda: memory.touch("b", 60)):
        with pytest.raises(BackendError, match="WRONGTYPE"):
            read()
    assert raw.lrange(name, 0, -1) == [b"foreign"]
    for remove in (
        lambda: memory.put("b", 3),
        lambda: memory.delete("b"),
        lambda: memory.delete_many(["b"]),
        lambda: memory.delete_matching("b"),
        memory.clear,
        lambda: memory.drop_partition("default"),
    ):
        spoil()
        assert remove()
        assert memory.get("b") in (3, None)
