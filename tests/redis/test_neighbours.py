"""R5: a store sees and touches nothing but its own, whatever else lies in the same database, however it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

import agentmem
from agentmem import ConfigurationError, SchemaMismatch
from agentmem.redis.layout import VERSION, Layout
from agentmem.testing.redis_server import key_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from agentmem.memory import Memory
    from agentmem.testing.redis_local import LocalRedis

#: What reaches far.
SWEEPING: dict[str, Callable[[Memory], object]] = {
    "clear": lambda m: m.clear(),
    "delete_matching": lambda m: m.delete_matching("*"),
    "drop_partition": lambda m: m.drop_partition("default"),
    "purge_expired": lambda m: m.purge_expired(),
    "stats": lambda m: m.stats(),
    "check": lambda m: m.check(),
    "partitions": lambda m: m.partitions(),
}


def dump(client: redis.Redis) -> dict[bytes, Any]:
    """Everything in the database, expiries included."""
    found: Any = client.keys("*")
    return {key: (client.dump(key), client.pttl(key) > 0) for key in found}


@pytest.fixture
def database(own_server: LocalRedis) -> Iterator[redis.Redis]:
    """A database of this test's own, with what others have left in it."""
    with own_server.client() as client:
        client.flushdb()
        for prefix in ("agentmem", "agentmem:", "agentmem:{default}", "agentmem:{default}:e", "agentmem:{default}:m:x"):
            client.set(f"{prefix}-string", "1")
            client.hset(f"{prefix}-hash", "field", "1")
            client.zadd(f"{prefix}-set", {"member": 1})
        client.set("agentmem:default:e:key", "not ours")
        client.set("AGENTMEM:{default}:e:key", "not ours")
        client.set("other", "x" * 10_000, ex=100)
        yield client


@pytest.mark.parametrize("name", SWEEPING)
def test_r05_pitfall_what_is_not_ours_is_neither_seen_nor_touched(
    own_server: LocalRedis, database: redis.Redis, name: str
) -> None:
    """`clear` wipes siblings elsewhere, FLUSHDB everybody, and DBSIZE counts others' keys."""
    before = dump(database)
    with agentmem.connect(own_server.url()) as memory:
        memory.put_many({"key": 1, "a/b": 2})
        SWEEPING[name](memory)
        assert memory.check() == []
        assert memory.stats().entries == memory.count() <= 2
        assert memory.drop_partition("default") <= 2
    ours = {b"agentmem:layout"}
    assert {key: value for key, value in dump(database).items() if key not in ours} == before


@pytest.mark.parametrize("name", SWEEPING)
@pytest.mark.parametrize("other", ["agentmem2", "agentmem:x", "agentmem:", "agentme", "agentmem:layout", "a.entmem"])
def test_r05_stores_with_similar_prefixes_are_apart(
    own_server: LocalRedis, database: redis.Redis, other: str, name: str
) -> None:
    with (
        agentmem.connect(own_server.url()) as first,
        agentmem.connect(own_server.url(), key_prefix=other) as second,
    ):
        for memory in (first, second):
            memory.put_many({"key": 1, "x:{default}:e:key": 2})
            memory.partition("x").put("key", memory is first)
        SWEEPING[name](first)
        assert second.get_many(["key", "x:{default}:e:key"]) == {"key": 1, "x:{default}:e:key": 2}
        assert second.stats().partitions == {"default": 2, "x": 1}
        assert [each.name for each in second.partitions()] == ["default", "x"]
        assert second.check() == first.check() == []


@pytest.mark.parametrize("prefix", ["", "a b", "a{b}", "a*", "a?", "a[b]", "é", "a" * 65, "a\n", "a%", None, 5])
def test_r31_a_prefix_that_could_mean_others_is_refused(redis_url: str, prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        agentmem.connect(redis_url.partition("?")[0], key_prefix=prefix)


# Names

AWKWARD = [
    "default",
    "{default}",
    "}default{",
    "a{b}c",
    "a}:e:key",
    "a}:m",
    "{}",
    "}{",
    "%7B",
    "%7b",
    "{",
    "%",
    "%%",
    "%25",
    "a:b",
    ":",
    " ",
    "a b",
    "*",
    "?",
    "[a]",
    "\\",
    "a/b",
    "é" * 64,
    "\U0001f600" * 32,
    "x" * 128,
    "e\u0301",
    "\xe9",
    "\n\r\t",
]

names = st.text(
    st.one_of(st.sampled_from("{}%:*?[]\\ /emkxs7BD25"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=24,
)


@settings(max_examples=300, deadline=None)
@given(prefix=st.sampled_from(["agentmem", "a:b", "agentmem:"]), partition=names, key=names)
def test_r05_what_a_name_says_can_be_read_back(prefix: str, partition: str, key: str) -> None:
    layout = Layout(prefix)
    place = layout.place(partition)
    assert layout.parse(place.entry + key.encode()) == (partition, b"e", key.encode())
    assert layout.parse(place.meta) == (partition, b"m", b"")
    assert layout.parse(place.listing) == (partition, b"k", b"")


@settings(max_examples=300, deadline=None)
@given(one=st.tuples(names, names), other=st.tuples(names, names))
def test_r05_no_two_entries_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    layout = Layout("agentmem")

    def of(partition: str, key: str) -> set[bytes]:
        place = layout.place(partition)
        return {place.entry + key.encode(), place.meta, place.listing, place.meta[:-1] + b"x", place.meta[:-1] + b"s"}

    shared = of(*one) & of(*other)
    assert len(shared) == (5 if one == other else 4 if one[0] == other[0] else 0)


@settings(max_examples=200, deadline=None)
@given(partition=names, key=names, prefix=st.sampled_from(["agentmem", "a:b"]))
def test_r05_a_partition_is_in_one_slot_of_a_cluster(prefix: str, partition: str, key: str) -> None:
    place = Layout(prefix, declare=True).place(partition)
    books: Any = place.keys[1:]
    slots = {key_slot(name) for name in (place.meta, place.listing, place.entry + key.encode(), *books)}
    assert len(slots) == 1
    assert key_slot(place.meta) == key_slot(place.meta[place.meta.index(b"{") + 1 : place.meta.index(b"}")])


def test_r05_awkward_names_do_not_collide(memory: Memory) -> None:
    """Each partition has an entry at each key, and a sweep of one leaves the others."""
    for name in AWKWARD:
        memory.partition(name).put_many({key: f"{name} {key}" for key in AWKWARD})
    assert memory.stats().partitions == dict.fromkeys(sorted(AWKWARD), len(AWKWARD))
    assert [each.name for each in memory.partitions()] == sorted(AWKWARD)
    assert memory.check() == []
    for name in AWKWARD[::2]:
        memory.partition(name).clear()
        assert memory.drop_partition(name) == 0
    for name in AWKWARD[1::2]:
        handle = memory.partition(name)
        assert handle.get_many(AWKWARD) == {key: f"{name} {key}" for key in AWKWARD}
        assert list(handle.keys()) == sorted(AWKWARD)
        handle.put("dead", 1, ttl=0.001)
    assert memory.check() == []
    assert [each.name for each in memory.partitions()] == sorted(AWKWARD[1::2])


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    several=st.sets(names.filter(lambda name: "\0" not in name and len(name.encode()) <= 128), min_size=2, max_size=4)
)
def test_r05_any_names_are_apart(memory: Memory, several: set[str]) -> None:
    for name in several:
        memory.partition(name).put("key", name)
    for name in several:
        assert memory.partition(name).get("key") == name
        assert memory.partition(name).count() == 1
    for name in several:
        assert memory.drop_partition(name) == 1
    assert memory.stats().entries == 0


# The version of the layout


def test_the_layout_is_written_once_and_checked(redis_url: str, raw: redis.Redis, layout: Layout) -> None:
    with agentmem.connect(redis_url, create="always") as memory:
        memory.put("key", 1)
    assert raw.get(layout.layout) == VERSION.encode()
    for create in ("auto", "always", "never"):
        with agentmem.connect(redis_url, create=create) as memory:
            assert memory.get("key") == 1


@pytest.mark.parametrize("version", ["0", "2", "", "1 ", b"\xff"])
def test_another_layout_is_refused(redis_url: str, raw: redis.Redis, layout: Layout, version: Any) -> None:
    raw.set(layout.layout, version)
    for create in ("auto", "always", "never"):
        with pytest.raises(SchemaMismatch) as caught:
            agentmem.connect(redis_url, create=create)
        assert repr(VERSION) in str(caught.value)
        assert key_prefix(redis_url) in str(caught.value)
    raw.delete(layout.layout)
    assert raw.keys(f"{key_prefix(redis_url)}*") == []


def test_a_store_that_must_be_there_and_is_not(redis_url: str, raw: redis.Redis) -> None:
    with pytest.raises(SchemaMismatch, match="there is no store"):
        agentmem.connect(redis_url, create="never")
    assert raw.keys(f"{key_prefix(redis_url)}*") == []
