"""Memory on a real Redis: what users do, and what the server then holds."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem import Closed, Entry, OutcomeUnknown, Unavailable
from agentmem.testing.support import eventually, exactly, expire, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.servers import RedisServer
    from tests.integration.conftest import Inside, Measure

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.timeout(30)]

NESTED = {"plan": {"steps": [{"name": "parse", "done": True}, {"name": "run", "left": {"n": [1, [2, [3]]]}}]}}
COMPLEX = {
    "agent": "tëster-😀",
    "scores": [0.1, -0.0, 1e22, 2**70, 1757000000123456],
    "flags": {"ok": True, "skipped": None},
    "": {"z": [], "a": {}},
    "log": 'line\n"quoted"\t\x00 \\ end',
}
DOCUMENTS = {f"aqe/docs/{number:02d}": {"number": number, "even": number % 2 == 0} for number in range(50)}


def stored(memory: Memory, key: str) -> Entry:
    entry = memory.entry(key)
    assert entry is not None
    return entry


def write_until_killed(memory: Memory, acknowledged: dict[str, int], killed: threading.Event, index: int) -> None:
    """Put one entry after the other and note those that the server has confirmed."""
    number = 0
    while not killed.is_set():
        key = f"aqe/load/{index}/{number:05d}"
        try:
            acknowledged[key] = memory.put(key, number).version
        except (OutcomeUnknown, Unavailable):
            assert killed.wait(20), "the server went away by itself"
        number += 1


class TestRedisMemoryRealBasicOperations:
    def test_store_and_retrieve_simple_value(self, redis_memory: Memory, redis_url: str, inside: Inside):
        written = redis_memory.put("aqe/simple", "a value")
        assert redis_memory.get("aqe/simple") == written.value == "a value"
        raw = inside.client.get(inside.name("aqe/simple"))
        assert isinstance(raw, bytes)
        assert raw.endswith(b'"a value"')
        with agentmem.connect(redis_url) as another:
            assert another.entry("aqe/simple") == written

    def test_store_and_retrieve_nested_data(self, redis_memory: Memory):
        redis_memory.put("aqe/nested", NESTED)
        assert exactly(redis_memory.get("aqe/nested")) == exactly(NESTED)
        merged = redis_memory.merge("aqe/nested", {"plan": {"owner": {"name": "a-1"}}})
        assert merged.value == {"plan": {**NESTED["plan"], "owner": {"name": "a-1"}}}

    def test_store_and_retrieve_list_data(self, redis_memory: Memory):
        # Lua's own JSON would make an object of the empty list and a float of the long integer.
        items = [1, "two", 3.0, None, True, [], {"five": 1757000000123456}]
        redis_memory.put("aqe/list", items)
        assert exactly(redis_memory.get("aqe/list")) == exactly(items)
        assert redis_memory.append("aqe/list", "six") == 8
        assert exactly(redis_memory.get("aqe/list")) == exactly([*items, "six"])

    def test_store_complex_data(self, redis_memory: Memory):
        written = redis_memory.put("aqe/complex/é 😀 {x}[*]?", COMPLEX, metadata={"owner": "tester"})
        read = stored(redis_memory, "aqe/complex/é 😀 {x}[*]?")
        assert exactly(read.value) == exactly(COMPLEX)
        assert (read.metadata, read.version, read.created_at) == ({"owner": "tester"}, written.version, read.updated_at)
        found = redis_memory.search("aqe/complex/*", where={"flags.ok": True, "@metadata.owner": "tester"})
        assert [entry.version for entry in found] == [written.version]

    def test_retrieve_nonexistent_key_returns_none(self, redis_memory: Memory):
        assert redis_memory.get("aqe/absent") is None
        assert redis_memory.entry("aqe/absent") is None
        assert not redis_memory.exists("aqe/absent")
        assert redis_memory.get("aqe/absent", "a default") == "a default"

    def test_overwrite_existing_key(self, redis_memory: Memory):
        first = redis_memory.put("aqe/key", {"n": 1}, metadata={"by": "a"})
        second = redis_memory.put("aqe/key", [2])
        assert (stored(redis_memory, "aqe/key").value, second.metadata) == ([2], {})
        assert second.version > first.version
        assert (second.created_at, second.updated_at > first.updated_at) == (first.created_at, True)
        assert redis_memory.count() == 1

    def test_delete_key(self, redis_memory: Memory, inside: Inside):
        redis_memory.put_many({"aqe/key": 1, "aqe/other": 2})
        assert redis_memory.delete("aqe/key") is True
        assert redis_memory.get("aqe/key") is None
        assert inside.pttl("aqe/key") == -2
        assert list(redis_memory.keys()) == ["aqe/other"]

    def test_delete_nonexistent_key_no_error(self, redis_memory: Memory):
        redis_memory.put("aqe/other", 2)
        assert redis_memory.delete("aqe/absent") is False
        assert redis_memory.delete_many(["aqe/absent", "aqe/too"]) == 0
        assert list(redis_memory.keys()) == ["aqe/other"]


class TestRedisMemoryRealTTL:
    def test_store_with_ttl(self, redis_memory: Memory, inside: Inside):
        entry = redis_memory.put("aqe/key", "for a minute", ttl=60)
        assert 30_000 < inside.pttl("aqe/key") <= 60_000
        assert entry.expires_at is not None
        assert 59.9 < (entry.expires_at - entry.updated_at).total_seconds() < 60.1
        assert redis_memory.get("aqe/key") == "for a minute"

    def test_ttl_expiration_real_time(self, redis_memory: Memory, inside: Inside):
        entry = redis_memory.put("aqe/key", "for a second", ttl=1)
        assert entry.expires_at is not None
        seen, left = redis_memory.get("aqe/key"), inside.pttl("aqe/key")
        # On a machine that stood still for a second it may be over already.
        assert seen == "for a second" or left == -2
        eventually(lambda: not redis_memory.exists("aqe/key"))
        assert redis_memory.get("aqe/key") is None
        assert inside.pttl("aqe/key") == -2
        assert redis_memory.put("aqe/key", "again", if_absent=True).created_at >= entry.expires_at

    def test_store_without_ttl_persists(self, redis_memory: Memory, inside: Inside):
        entry = redis_memory.put("aqe/key", "for ever")
        assert inside.pttl("aqe/key") == -1
        expire(redis_memory, "aqe/other")
        redis_memory.purge_expired()
        assert stored(redis_memory, "aqe/key") == entry
        assert inside.pttl("aqe/key") == -1

    def test_update_ttl_on_overwrite(self, redis_memory: Memory, inside: Inside):
        redis_memory.put("aqe/key", 1, ttl=60)
        assert 0 < inside.pttl("aqe/key") <= 60_000
        redis_memory.put("aqe/key", 2, ttl=3600)
        assert 3_500_000 < inside.pttl("aqe/key") <= 3_600_000
        redis_memory.put("aqe/key", 3)
        assert inside.pttl("aqe/key") == -1
        assert stored(redis_memory, "aqe/key").expires_at is None


class TestRedisMemoryRealSearch:
    def test_search_by_pattern(self, redis_memory: Memory):
        redis_memory.put_many(DOCUMENTS | {"aqe/plans/1": {"even": True}})
        assert {entry.key: entry.value for entry in redis_memory.search("aqe/docs/*")} == DOCUMENTS
        found = redis_memory.search("aqe/*/1*", where={"even": True})
        expected = [*(f"aqe/docs/{number}" for number in range(10, 20, 2)), "aqe/plans/1"]
        assert [entry.key for entry in found] == expected

    def test_search_no_matches(self, redis_memory: Memory):
        redis_memory.put_many(DOCUMENTS)
        for pattern, where in (("aqe/none/*", None), ("docs/*", None), ("*", {"number": {"$gt": 49}})):
            page = redis_memory.search(pattern, where=where)
            assert (list(page), page.cursor, redis_memory.count(pattern, where=where)) == ([], None, 0)

    def test_search_with_redis_patterns(self, redis_memory: Memory):
        redis_memory.put_many(dict.fromkeys(["aqe/a", "aqe/b", "aqe/[ab]", "aqe/é", "aqe/^a", "aqe/*", "aqe/a-b"], 0))

        def found(pattern: str) -> list[str]:
            return [entry.key for entry in redis_memory.search(pattern)]

        # `*`, `?` and the escape are what they are to Redis, but that `?` is a character, not a byte.
        assert found("aqe/a*") == ["aqe/a", "aqe/a-b"]
        assert found("aqe/?") == ["aqe/*", "aqe/a", "aqe/b", "aqe/é"]
        assert found(r"aqe/\*") == ["aqe/*"]
        # What Redis takes for a class of characters is text here, as on every backend.
        assert found("aqe/[ab]") == ["aqe/[ab]"]
        assert found("aqe/[^a]") == found("aqe/[a-z]") == []

    def test_search_excludes_expired_keys(self, redis_memory: Memory):
        redis_memory.put_many({"aqe/s/1": 1, "aqe/s/3": 3})
        expire(redis_memory, "aqe/s/2")
        assert [entry.key for entry in redis_memory.search("aqe/s/*")] == ["aqe/s/1", "aqe/s/3"]
        assert list(redis_memory.search("aqe/s/2")) == []
        assert redis_memory.count("aqe/s/*") == 2


class TestRedisMemoryRealPartitions:
    def test_store_in_partition(self, redis_memory: Memory, inside: Inside):
        agents = redis_memory.partition("agents")
        agents.put("aqe/key", "theirs")
        redis_memory.put("aqe/key", "ours")
        assert (agents.get("aqe/key"), redis_memory.get("aqe/key")) == ("theirs", "ours")
        assert {inside.name("aqe/key"), inside.name("aqe/key", "agents")} <= inside.names()
        assert [partition.name for partition in redis_memory.partitions()] == ["agents", "default"]

    def test_clear_partition(self, redis_memory: Memory, inside: Inside):
        agents, similar = redis_memory.partition("agents"), redis_memory.partition("agents*")
        for memory in (redis_memory, agents, similar):
            memory.put_many({"aqe/key": 1, "aqe/another": 2})
        inside.client.set("agents", "somebody else's key")
        assert agents.clear() == 2
        assert list(agents.keys()) == []
        assert similar.get("aqe/key") == redis_memory.get("aqe/key") == 1
        assert inside.name("aqe/key", "agents") not in inside.names()
        assert inside.client.delete("agents") == 1


class TestRedisMemoryRealKeyListing:
    def test_list_keys_with_prefix(self, redis_memory: Memory):
        redis_memory.put_many(dict.fromkeys(["aqe/x[1]/1", "aqe/x[1]/2", "aqe/x1/3", "aqe/x[1]", "aqe/X[1]/4"], 0))
        assert list(redis_memory.keys("aqe/x[1]/")) == ["aqe/x[1]/1", "aqe/x[1]/2"]
        assert list(redis_memory.keys("aqe/x[1]/", limit=1)) == ["aqe/x[1]/1"]
        assert list(redis_memory.keys("aqe/*")) == []

    def test_list_all_keys(self, redis_memory: Memory, inside: Inside):
        keys = [f"aqe/{number:04d}" for number in range(1500)]
        redis_memory.put_many(dict.fromkeys(keys, 0))
        expire(redis_memory, "aqe/gone")
        redis_memory.partition("other").put("aqe/elsewhere", 0)
        assert list(redis_memory.keys()) == keys
        assert len(inside.names()) > len(keys), "our own books are not among them"

    def test_keys_are_sorted(self, redis_memory: Memory):
        keys = [f"aqe/{name}" for name in ("", "!", "10", "9", "B", "a", "é", "\uffff", "😀")]
        redis_memory.put_many(dict.fromkeys(reversed(keys), 0))
        assert list(redis_memory.keys()) == keys == sorted(keys)
        assert [entry.key for entry in redis_memory.search(descending=True)] == keys[::-1]


class TestRedisMemoryRealStats:
    def test_get_stats(self, redis_memory: Memory, inside: Inside):
        redis_memory.put_many({"aqe/1": 1, "aqe/2": 2})
        redis_memory.partition("agents").put("aqe/1", "é")
        stats, info = redis_memory.stats(), inside.client.info()
        assert (stats.entries, stats.backend, stats.value_bytes) == (3, "redis", 1 + 1 + 4)
        assert stats.partitions == {"agents": 1, "default": 2}
        assert stats.server_version == info["redis_version"]
        server = stats.server
        for field in ("role", "maxmemory_policy", "aof_last_write_status"):
            assert server[field] == info[field]
        assert server["appendonly"] is bool(info["aof_enabled"])
        assert server["appendfsync"] in ("always", "everysec", "no")
        assert 0 <= info["uptime_in_seconds"] - server["uptime_seconds"] < 30
        assert server["connected_clients"] >= 1
        assert 0 <= server["hit_rate"] <= 1

    def test_stats_show_memory_usage(self, disposable_redis_server: RedisServer):
        # On a server of its own: others would give memory back at the same time.
        with agentmem.connect(disposable_redis_server.url()) as memory:
            before = memory.stats()
            memory.put_many({f"aqe/{number}": "x" * 500_000 for number in range(4)})
            after = memory.stats()
            assert after.server["used_memory_bytes"] - before.server["used_memory_bytes"] > 2_000_000
            assert after.value_bytes - before.value_bytes == 4 * 500_002
            with disposable_redis_server.client() as client:
                assert client.info("memory")["used_memory"] > 2_000_000


class TestRedisMemoryRealConcurrency:
    def test_concurrent_writes(self, redis_memory: Memory, measured: Measure):
        with measured("50 threads write a key each", 50, at_most_seconds=5):
            entries = run_threads(50, lambda n: redis_memory.put(f"aqe/w/{n:02d}", {"writer": n}))
        assert {entry.key: entry.version for entry in redis_memory.items("aqe/w/")} == {
            entry.key: entry.version for entry in entries
        }
        assert [redis_memory.get(f"aqe/w/{n:02d}") for n in range(50)] == [{"writer": n} for n in range(50)]

    def test_concurrent_reads(self, redis_memory: Memory, measured: Measure):
        entry = redis_memory.put("aqe/shared", NESTED)
        with measured("100 reads of one key by 20 threads", 100):
            read = run_threads(20, lambda _: [stored(redis_memory, "aqe/shared") for _ in range(5)])
        assert [each for five in read for each in five] == [entry] * 100
        assert exactly(read[0][0].value) == exactly(NESTED)

    def test_atomic_operations(self, redis_memory: Memory):
        assert sorted(run_threads(10, lambda _: redis_memory.increment("aqe/counter"))) == list(range(1, 11))
        assert redis_memory.get("aqe/counter") == 10
        run_threads(10, lambda n: redis_memory.append("aqe/log", n))
        assert sorted(redis_memory.get("aqe/log")) == list(range(10))
        run_threads(10, lambda n: redis_memory.merge("aqe/status", {f"agent-{n}": n}))
        assert redis_memory.get("aqe/status") == {f"agent-{n}": n for n in range(10)}
        run_threads(10, lambda _: redis_memory.update("aqe/sum", lambda value: value + 1, default=0, attempts=100))
        assert redis_memory.get("aqe/sum") == 10
        jobs = redis_memory.queue("aqe/queue")
        ids = run_threads(10, lambda n: jobs.put(n).id)
        taken = [job for own in run_threads(10, lambda _: jobs.claim(1)) for job in own]
        assert sorted(job.value for job in taken) == list(range(10)), "each by one of them"
        assert sorted(job.id for job in taken) == sorted(ids)
        run_threads(10, lambda n: taken[n].ack())
        assert sum(jobs.counts()) == 0


@pytest.mark.slow
@pytest.mark.strict
class TestRedisMemoryRealPerformance:
    def test_bulk_write_performance(self, redis_memory: Memory, measured: Measure):
        with measured("put", 100, at_least_per_second=50):
            for number in range(100):
                redis_memory.put(f"aqe/bulk/{number:03d}", NESTED)
        assert redis_memory.count("aqe/bulk/*") == 100

    def test_read_performance(self, redis_memory: Memory, measured: Measure):
        redis_memory.put_many(DOCUMENTS)
        keys = [*DOCUMENTS, *DOCUMENTS]
        with measured("get", len(keys), at_least_per_second=100):
            values = [redis_memory.get(key) for key in keys]
        assert values == [DOCUMENTS[key] for key in keys]

    def test_search_performance(self, redis_memory: Memory, measured: Measure):
        redis_memory.put_many(DOCUMENTS | {f"aqe/noise/{number:04d}": number for number in range(1000)})
        with measured("search, 50 of 50 found", 1, at_most_seconds=0.5):
            found = redis_memory.search("aqe/docs/*", limit=50)
        assert {entry.key: entry.value for entry in found} == DOCUMENTS


class TestRedisMemoryRealPersistence:
    @pytest.mark.fault
    def test_data_persists_after_kill_and_restart(self, durable_redis: RedisServer):
        acknowledged: dict[str, int] = {}
        killed = threading.Event()
        with agentmem.connect(durable_redis.url()) as memory:
            memory.put("aqe/lasting", "with its TTL", ttl=3600, metadata={"by": "a-1"})
            jobs, table = memory.queue("aqe/queue", lease=60), memory.qtable("aqe/q")
            jobs.put_many(["begun", "open"])
            (begun,) = jobs.claim(1)
            worth = table.update("state", "action", 1 / 3, done=True)
            writers = partial(write_until_killed, memory, acknowledged, killed)
            load = threading.Thread(target=run_threads, args=(4, writers), daemon=True)
            load.start()
            eventually(lambda: len(acknowledged) > 400)
            durable_redis.kill()
            killed.set()
            load.join(30)
            durable_redis.start()
            found = {entry.key: entry.version for entry in memory.items("aqe/load/")}
            assert acknowledged.items() <= found.items()
            assert len(found) <= len(acknowledged) + 4, "no more than was in flight"
            lasting = stored(memory, "aqe/lasting")
            assert (lasting.value, lasting.metadata) == ("with its TTL", {"by": "a-1"})
            assert lasting.expires_at is not None
            assert jobs.counts()._asdict() == {"ready": 1, "delayed": 0, "blocked": 0, "leased": 1, "dead": 0}
            begun.ack()
            assert [(job.value, job.attempts) for job in jobs.claim(2)] == [("open", 1)]
            assert list(table.snapshot()) == [("state", "action", worth, 1)]
            assert memory.check() == []

    def test_metadata_preserved(self, disposable_redis_server: RedisServer):
        metadata = {"owner": "tëster", "tags": ["a", {"b": None}], "n": 2**70}
        with agentmem.connect(disposable_redis_server.url()) as memory:
            memory.put("aqe/key", [1], metadata=metadata)
            memory.append("aqe/key", 2)
            memory.update("aqe/key", lambda items: [*items, 3])
            memory.touch("aqe/key", 3600)
            before = stored(memory, "aqe/key")
            disposable_redis_server.restart()
            after = stored(memory, "aqe/key")
            assert after == before
            assert (after.value, exactly(after.metadata)) == ([1, 2, 3], exactly(metadata))
            assert memory.put("aqe/key", []).metadata == {}


class TestRedisMemoryRealConnectionPool:
    def test_connection_pool_reuse(self, disposable_redis_server: RedisServer):
        with disposable_redis_server.client() as client:

            def opened() -> int:
                return int(client.info("stats")["total_connections_received"])

            before = opened()
            with agentmem.connect(disposable_redis_server.url()) as memory:
                for number in range(100):
                    memory.put("aqe/key", number)
                    assert memory.get("aqe/key") == number
            assert opened() - before == 1

    def test_connection_pool_handles_load(self, disposable_redis_server: RedisServer):
        def work(index: int) -> list[int | float]:
            return [memory.increment(f"aqe/own/{index}") for _ in range(10)] + [memory.increment("aqe/all")]

        with disposable_redis_server.client() as client:
            before = int(client.info("stats")["total_connections_received"])
            with agentmem.connect(disposable_redis_server.url(), pool_size=3) as memory:
                counted = run_threads(30, work)
                assert int(client.info("stats")["total_connections_received"]) - before <= 3
                assert memory.get("aqe/all") == 30
        assert [own[:10] for own in counted] == [list(range(1, 11))] * 30
        assert sorted(own[10] for own in counted) == list(range(1, 31))


class TestRedisMemoryRealCleanup:
    def test_cleanup_expired_noop(self, redis_memory: Memory, inside: Inside):
        redis_memory.put("aqe/living", 1, ttl=3600)
        books = inside.names()
        redis_memory.put_many({f"aqe/t/{number}": number for number in range(5)}, ttl=0.2)
        eventually(lambda: all(inside.pttl(f"aqe/t/{number}") == -2 for number in range(5)))
        assert inside.names() == books, "the values went by themselves"
        assert list(redis_memory.keys()) == ["aqe/living"]
        assert len(inside.index()) == 6
        assert redis_memory.purge_expired() == 5
        assert inside.index() == [b"aqe/living"]
        assert redis_memory.purge_expired() == 0
        assert (redis_memory.get("aqe/living"), redis_memory.stats().expired_pending) == (1, 0)

    def test_close_connection(self, disposable_redis_server: RedisServer):
        with disposable_redis_server.client() as client:
            memory = agentmem.connect(disposable_redis_server.url(), pool_size=5)
            run_threads(5, lambda n: [memory.put(f"aqe/{n}", n) for _ in range(20)])
            assert len(client.client_list()) > 1
            memory.close()
            memory.close()
            calls = (
                memory.ping,
                lambda: memory.get("aqe/1"),
                lambda: memory.put("aqe/1", 2),
                lambda: memory.partition("p"),
            )
            for call in calls:
                with pytest.raises(Closed):
                    call()
            eventually(lambda: len(client.client_list()) == 1)
