"""The books about entries that Redis takes away by itself: exact at any moment, cleared by and by, and verified."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem import Append, Delete, Increment, InvalidOperation, Put, Touch, values
from agentmem.moments import microseconds
from agentmem.redis.layout import Layout, Place
from agentmem.testing.support import SHORT, eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from agentmem.memory import Memory
    from agentmem.testing.redis_server import RedisServer


@pytest.fixture
def place(layout: Layout) -> Place:
    return layout.place("default")


def books(place: Place) -> dict[str, bytes]:
    return {letter: place.meta[:-1] + letter.encode() for letter in "mkxs"}


# Expiry


def test_r22_every_count_is_exact_while_values_expire(memory: Memory, raw: redis.Redis, place: Place) -> None:
    memory.put_many({f"keep/{n}": n for n in range(5)})
    for n in range(40):
        memory.put(f"dies/{n}", "x" * n, ttl=0.02 + n / 400)
    while memory.exists("dies/39"):
        before, found, after = memory.count(), len(list(memory.keys())), memory.stats().entries
        assert before >= found >= after >= 5
    assert memory.count() == memory.stats().entries == len(list(memory.items())) == 5
    assert memory.count("dies/*") == memory.count("d*") == memory.count("*es/?") == 0
    assert memory.stats().value_bytes == 5
    assert memory.check() == []
    assert raw.zcard(books(place)["k"]) == memory.stats().expired_pending + 5


def moment_ms(raw: redis.Redis, name: bytes) -> int:
    """The millisecond through which Redis keeps a key."""
    with raw.pipeline() as both:
        both.time()
        both.pttl(name)
        (seconds, fraction), left_ms = both.execute()
    return int(seconds * 1000 + fraction // 1000 + left_ms)


@pytest.mark.parametrize(
    "write",
    [
        lambda m: m.put("key", 2, ttl=60),
        lambda m: m.put_many({"key": 2, "other": 2}, ttl=60.0001),
        lambda m: m.touch("key", 60),
        lambda m: m.increment("key", ttl=60),
        lambda m: m.apply([Put("key", 3, ttl=59), Increment("key"), Touch("other", None)]),
    ],
    ids=["put", "put_many", "touch", "increment", "apply"],
)
def test_r21_redis_forgets_an_entry_when_it_expires(
    memory: Memory, raw: redis.Redis, place: Place, write: Callable[[Memory], object]
) -> None:
    memory.put("key", 1)
    write(memory)
    entry = memory.entry("key")
    assert entry is not None
    assert entry.expires_at is not None
    expires_ms = microseconds(entry.expires_at) // 1000
    assert abs(moment_ms(raw, place.entry + b"key") - expires_ms) <= 2
    assert raw.zscore(books(place)["x"], b"key") == expires_ms
    memory.touch("key", None)
    assert raw.pttl(place.entry + b"key") == -1
    assert raw.zscore(books(place)["x"], b"key") is None


def test_r23_writers_with_a_ttl_clear_what_expired(memory: Memory, raw: redis.Redis, place: Place) -> None:
    for n in range(10):
        memory.put(f"dead/{n}", n, ttl=SHORT)
    eventually(lambda: memory.stats().expired_pending == 10)
    listed = lambda: raw.zcard(books(place)["k"])  # noqa: E731
    memory.put("for ever", 1)
    memory.increment("counter")
    assert listed() == 12
    memory.put("a while", 1, ttl=60)
    assert listed() == 11
    memory.put_many({"a": 1, "b": 2, "c": 3}, ttl=60)
    assert listed() == 11
    assert memory.purge_expired() == 5
    assert listed() == memory.count() == 6
    assert raw.zcard(books(place)["x"]) == raw.hlen(books(place)["s"]) == 4
    assert memory.check() == []


def test_r23_a_steady_stream_of_short_lives_leaves_no_heap(memory: Memory, raw: redis.Redis, place: Place) -> None:
    for n in range(300):
        memory.put(f"{n}", n, ttl=0.001)
    assert raw.zcard(books(place)["k"]) < 60
    eventually(lambda: memory.count() == 0)
    assert memory.check() == []


def test_r23_purges_that_compete_remove_each_entry_once(memory: Memory) -> None:
    for start in range(0, 3_000, 1_000):
        memory.put_many({f"{n:04}": n for n in range(start, start + 1_000)}, ttl=0.001)
        memory.partition(f"other {start}").put("dead", 1, ttl=0.001)
    eventually(lambda: memory.stats().entries == 0)
    pending = memory.stats().expired_pending
    assert sum(run_threads(4, lambda _: memory.purge_expired(batch=100))) == pending
    assert memory.stats().expired_pending == 0
    assert memory.check() == []


def test_r23_so_many_have_expired_that_they_are_cleared_to_be_counted(
    memory: Memory, raw: redis.Redis, place: Place
) -> None:
    memory.put_many({f"{n}": n for n in range(5_000)}, ttl=0.3)
    memory.put("keep", 1)
    eventually(lambda: memory.count("1*") == 0)
    assert memory.stats().entries == memory.count() == memory.count("k*") == 1
    assert raw.zcard(books(place)["k"]) <= 2_001
    assert memory.check() == []


def test_r28_bytes_are_those_of_the_living(memory: Memory) -> None:
    memory.put("a", "é")  # four bytes of JSON
    memory.put("b", "x", metadata={"not": "counted"})
    assert memory.stats().value_bytes == 7
    memory.put("a", "xx")
    memory.touch("a", 60)
    memory.append("list", 1, 2)
    assert memory.stats().value_bytes == 12
    memory.put("b", "y" * 100, ttl=SHORT)
    eventually(lambda: not memory.exists("b"))
    assert memory.stats().value_bytes == 9
    memory.put("b", "z")
    assert memory.stats().value_bytes == 12
    memory.delete_many(["a", "list"])
    assert memory.stats().value_bytes == 3
    memory.clear()
    assert memory.stats().value_bytes == 0


# What check finds

DAMAGE: dict[str, tuple[Callable[[redis.Redis, Place], object], str, str | None, str]] = {
    "an entry was evicted": (lambda r, p: r.delete(p.entry + b"key"), "index", "key", "evicted"),
    "one with a TTL was evicted": (lambda r, p: r.delete(p.entry + b"mortal"), "index", "mortal", "evicted"),
    "the index lost a key": (lambda r, p: r.zrem(p.listing, b"key"), "orphan", "key", "index does not hold"),
    "the index is gone": (lambda r, p: r.delete(p.listing), "orphan", "key", "index does not hold"),
    "a size is wrong": (lambda r, p: r.hset(books(p)["s"], "mortal", 8), "index", "mortal", "the index says b'8'"),
    "a size is gone": (lambda r, p: r.hdel(books(p)["s"], "mortal"), "index", "mortal", "bytes"),
    "an expiry is wrong": (lambda r, p: r.zadd(books(p)["x"], {"mortal": 5e12}), "index", "mortal", "5000000000000 ms"),
    "an expiry is gone": (lambda r, p: r.zrem(books(p)["x"], "mortal"), "index", "mortal", "it expires at"),
    "an expiry too many": (lambda r, p: r.zadd(books(p)["x"], {"key": 5e12}), "index", "key", "5000000000000 ms"),
    "the sum is wrong": (lambda r, p: r.hincrby(p.meta, "bytes", 3), "index", None, "bytes are noted"),
    "the sum is gone": (lambda r, p: r.hdel(p.meta, "bytes"), "index", None, "bytes are noted"),
    "a foreign entry": (lambda r, p: r.set(p.entry + b"new", "x"), "orphan", "new", "index does not hold"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_check_finds_what_was_damaged_by_hand(memory: Memory, raw: redis.Redis, place: Place, name: str) -> None:
    memory.put("key", "value")
    memory.put("mortal", "value", ttl=60)
    memory.append("list", 1)
    assert memory.check() == []
    damage, kind, key, detail = DAMAGE[name]
    damage(raw, place)
    found = [problem for problem in memory.check() if problem.key == key]
    assert [(problem.kind, problem.partition) for problem in found] == [(kind, "default")]
    assert detail in found[0].detail


def test_check_finds_a_partition_that_is_not_registered(memory: Memory, raw: redis.Redis, layout: Layout) -> None:
    memory.partition("a{b}:c%").put("key", 1)
    assert raw.zrem(layout.partitions, "a{b}:c%") == 1
    problems = memory.check()
    assert [(each.kind, each.partition, each.key) for each in problems] == [("orphan", "a{b}:c%", None)]
    memory.partition("a{b}:c%", description="registers it again")
    assert memory.check() == []


@pytest.mark.parametrize(
    "write",
    [
        lambda memory: memory.partition("doomed").put("key", 1),
        lambda memory: memory.partition("doomed", default_ttl=60),
    ],
    ids=["put", "define"],
)
def test_a_partition_that_is_dropped_while_it_is_made_is_registered(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, write: Callable[[Memory], object]
) -> None:
    """Whoever drops the one before takes its name off the list, after the writer has put it there."""
    writes = memory._gateway.repository._writes  # type: ignore[attr-defined]
    register = writes.register

    def overtaken(partition: str) -> None:
        register(partition)
        monkeypatch.setattr(writes, "register", register)
        memory.drop_partition(partition)

    monkeypatch.setattr(writes, "register", overtaken)
    write(memory)
    assert "doomed" in [partition.name for partition in memory.partitions()]
    assert memory.check() == []


def test_a_store_that_lost_everything_is_one_again_when_it_is_written(
    memory: Memory, raw: redis.Redis, layout: Layout, redis_url: str
) -> None:
    """As after a restart without persistence, or FLUSHDB: who connects anew finds what the others write."""
    memory.put("key", 1)
    raw.delete(*raw.scan_iter(f"{layout.prefix}:*"))
    with pytest.raises(agentmem.SchemaMismatch):
        agentmem.connect(redis_url, create="never")
    memory.put("key", 2)
    with agentmem.connect(redis_url, create="never") as other:
        assert other.get("key") == 2
        assert [partition.name for partition in other.partitions()] == ["default"]
        assert other.check() == []


def test_a_partition_that_is_written_all_the_time_can_be_dropped(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues: Any = memory._gateway.repository.queues
    doomed, drop = memory.partition("doomed"), queues.drop

    def overtaken(partition: str) -> None:
        doomed.put("late", 1)
        drop(partition)

    doomed.put_many({"key": 1, "other": 2})
    monkeypatch.setattr(queues, "drop", overtaken)
    assert memory.drop_partition("doomed") == 3
    assert memory.partitions() == []
    assert memory.check() == []


def test_an_entry_of_a_partition_whose_hash_was_evicted_can_be_removed(
    memory: Memory, raw: redis.Redis, place: Place
) -> None:
    """Who only reads does not touch the hash: so it is what Redis takes first under `allkeys-lru`."""
    version = memory.put_many({"key": 1, "other": 2, "third": 3})["key"].version
    for remove in (
        lambda: memory.delete("key", if_version=version),
        lambda: memory.pop("other"),
        lambda: memory.delete_many(["third"]),
    ):
        raw.delete(place.meta)
        assert remove()
    assert memory.get_many(["key", "other", "third"]) == {}
    assert memory.check() == []


def test_the_books_are_right_again_after_a_clear(memory: Memory, raw: redis.Redis, place: Place) -> None:
    """An eviction leaves a key in the index and its bytes in the sum."""
    memory.put_many({"key": "value", "other": 1})
    raw.delete(place.entry + b"key")
    assert memory.check() != []
    memory.clear()
    assert memory.check() == []
    assert memory.stats().value_bytes == memory.stats().entries == 0


def test_a_delete_is_enough_where_the_entry_is_gone_already(memory: Memory, raw: redis.Redis, place: Place) -> None:
    memory.put_many({"key": "value", "other": 1})
    raw.delete(place.entry + b"key")
    assert memory.delete_matching("key") == 0
    assert raw.zrange(place.listing, 0, -1) == [b"other"]
    assert memory.put("key", 1, if_absent=True).value == 1


# Anything, in any order

keys = st.sampled_from(["a", "b", "c", "a/1", "a/2"])
ttls = st.sampled_from([None, None, 0.001, 0.003, 60])
scalars = st.one_of(st.integers(-5, 5), st.text(max_size=4), st.lists(st.integers(0, 3), max_size=3))
operations = st.one_of(
    st.builds(Put, keys, scalars, ttl=ttls),
    st.builds(Delete, keys),
    st.builds(Increment, keys, st.sampled_from([1, 0.5]), ttl=ttls),
    st.builds(Append, keys, st.integers(0, 9).map(lambda n: (n,))),
    st.builds(Touch, keys, ttls),
)
steps = st.one_of(
    operations.map(lambda one: lambda m: m.apply([one])),
    st.lists(operations, min_size=2, max_size=5).map(lambda many: lambda m: m.apply(many)),
    st.tuples(st.dictionaries(keys, scalars, min_size=1), ttls).map(lambda a: lambda m: m.put_many(a[0], ttl=a[1])),
    st.tuples(keys, ttls).map(lambda a: lambda m: m.touch(*a)),
    st.tuples(keys, ttls).map(lambda a: lambda m: m.increment(a[0], ttl=a[1])),
    st.lists(keys).map(lambda several: lambda m: m.delete_many(several)),
    st.sampled_from(["a*", "a/*", "*", "?"]).map(lambda pattern: lambda m: m.delete_matching(pattern)),
    st.sampled_from(["a*", "*"]).map(lambda pattern: lambda m: m.delete_matching(pattern, where={(): {"$gte": 1}})),
    st.integers(1, 3).map(lambda batch: lambda m: m.purge_expired(batch=batch)),
    st.just(lambda m: time.sleep(0.004)),
    st.just(lambda m: m.drop_partition("default")),
    keys.map(lambda key: lambda m: m.pop(key)),
)


@pytest.fixture(scope="module")
def shared(redis_server: RedisServer) -> Iterator[Memory]:
    """One store for all examples."""
    url = redis_server.new_store()
    with agentmem.connect(url) as memory:
        yield memory
    redis_server.drop_store(url)


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(steps, min_size=3, max_size=25))
def test_whatever_is_done_the_books_are_right(shared: Memory, script: list[Callable[[Memory], Any]]) -> None:
    shared.clear()
    for step in script:
        with suppress(InvalidOperation):
            step(shared)
    for _ in range(2):
        assert shared.check() == []
        living = list(shared.items())
        if all(entry.expires_at is None for entry in living):
            sizes = sum(len(values.encode(entry.value, max_bytes=999).encode()) for entry in living)
            stats = shared.stats()
            assert (stats.entries, stats.value_bytes, shared.count()) == (len(living), sizes, len(living))
        shared.purge_expired()
