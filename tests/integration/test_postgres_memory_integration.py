"""Memory on a real PostgreSQL: what users do, and what the server then holds."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Ack, Entry, NamespaceError, Put
from agentmem.testing.support import eventually, exactly, expire, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from tests.integration.conftest import Measure, Rows

pytestmark = [pytest.mark.integration, pytest.mark.postgres, pytest.mark.timeout(30)]

NESTED = {"plan": {"steps": [{"name": "parse", "done": True}, {"name": "run", "left": {"n": [1, [2, [3]]]}}]}}
COMPLEX = {
    "agent": "tëster-😀",
    "scores": [0.1, -0.0, 1e22, 2**70, -1],
    "flags": {"ok": True, "skipped": None},
    "": {"z": [], "a": {}},
    "log": 'line\n"quoted"\t\x00 \\ end',
}
DOCUMENTS = {f"aqe/docs/{number:02d}": {"number": number, "even": number % 2 == 0} for number in range(50)}

BODY = "SELECT body FROM memory_entries WHERE key = %s"
COUNT = "SELECT count(*) FROM memory_entries"
SECONDS_LEFT = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM memory_entries WHERE key = %s"


def stored(memory: Memory, key: str) -> Entry:
    entry = memory.entry(key)
    assert entry is not None
    return entry


class TestPostgresMemoryRealBasicOperations:
    def test_store_and_retrieve_simple_value(self, postgres_memory: Memory, postgres_schema_url: str, rows: Rows):
        written = postgres_memory.put("aqe/simple", "a value")
        assert postgres_memory.get("aqe/simple") == written.value == "a value"
        assert rows(BODY, "aqe/simple") == [('"a value"',)]
        with agentmem.connect(postgres_schema_url) as another:
            assert another.entry("aqe/simple") == written

    def test_store_and_retrieve_nested_data(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put("aqe/nested", NESTED)
        assert exactly(postgres_memory.get("aqe/nested")) == exactly(NESTED)
        path = "SELECT value #>> '{plan,steps,1,left,n,1,1,0}' FROM memory_entries WHERE key = %s"
        assert rows(path, "aqe/nested") == [("3",)]

    def test_store_and_retrieve_list_data(self, postgres_memory: Memory):
        items = [1, "two", 3.0, None, True, [4], {"five": 5}]
        postgres_memory.put("aqe/list", items)
        assert exactly(postgres_memory.get("aqe/list")) == exactly(items)
        assert postgres_memory.append("aqe/list", "six") == 8
        assert exactly(postgres_memory.get("aqe/list")) == exactly([*items, "six"])

    def test_store_complex_data(self, postgres_memory: Memory):
        written = postgres_memory.put("aqe/complex/é 😀 %_[]", COMPLEX, metadata={"owner": "tester"})
        read = stored(postgres_memory, "aqe/complex/é 😀 %_[]")
        assert exactly(read.value) == exactly(COMPLEX)
        assert (read.metadata, read.version, read.created_at) == ({"owner": "tester"}, written.version, read.updated_at)
        found = postgres_memory.search("aqe/complex/*", where={"flags.ok": True, "@metadata.owner": "tester"})
        assert [entry.version for entry in found] == [written.version]

    def test_retrieve_nonexistent_key_returns_none(self, postgres_memory: Memory):
        assert postgres_memory.get("aqe/absent") is None
        assert postgres_memory.entry("aqe/absent") is None
        assert not postgres_memory.exists("aqe/absent")
        assert postgres_memory.get("aqe/absent", "a default") == "a default"

    def test_overwrite_existing_key(self, postgres_memory: Memory, rows: Rows):
        first = postgres_memory.put("aqe/key", {"n": 1}, metadata={"by": "a"})
        second = postgres_memory.put("aqe/key", [2])
        assert (stored(postgres_memory, "aqe/key").value, second.metadata) == ([2], {})
        assert second.version > first.version
        assert (second.created_at, second.updated_at > first.updated_at) == (first.created_at, True)
        assert rows(COUNT) == [(1,)]

    def test_delete_key(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put_many({"aqe/key": 1, "aqe/other": 2})
        assert postgres_memory.delete("aqe/key") is True
        assert postgres_memory.get("aqe/key") is None
        assert rows("SELECT key FROM memory_entries") == [("aqe/other",)]

    def test_delete_nonexistent_key_no_error(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put("aqe/other", 2)
        assert postgres_memory.delete("aqe/absent") is False
        assert postgres_memory.delete_many(["aqe/absent", "aqe/too"]) == 0
        assert rows(COUNT) == [(1,)]


class TestPostgresMemoryRealTTL:
    def test_store_with_ttl(self, postgres_memory: Memory, rows: Rows):
        entry = postgres_memory.put("aqe/key", "for a minute", ttl=60)
        assert entry.expires_at is not None
        assert entry.expires_at - entry.updated_at == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=0.01))
        assert rows("SELECT expires_at FROM memory_entries") == [(entry.expires_at,)]
        assert postgres_memory.get("aqe/key") == "for a minute"

    def test_ttl_expiration_real_time(self, postgres_memory: Memory, rows: Rows):
        entry = postgres_memory.put("aqe/key", "for a second", ttl=1)
        assert entry.expires_at is not None
        seen = postgres_memory.get("aqe/key")
        ((now,),) = rows("SELECT clock_timestamp()")
        # On a machine that stood still for a second it may be over already.
        assert seen == "for a second" or now >= entry.expires_at
        eventually(lambda: not postgres_memory.exists("aqe/key"))
        ((now,),) = rows("SELECT clock_timestamp()")
        assert now >= entry.expires_at
        assert postgres_memory.get("aqe/key") is None
        assert postgres_memory.put("aqe/key", "again", if_absent=True).created_at >= entry.expires_at

    def test_store_without_ttl_persists(self, postgres_memory: Memory, rows: Rows):
        entry = postgres_memory.put("aqe/key", "for ever")
        expire(postgres_memory, "aqe/other")
        postgres_memory.purge_expired()
        assert stored(postgres_memory, "aqe/key") == entry
        assert rows("SELECT key, expires_at FROM memory_entries") == [("aqe/key", None)]

    def test_update_ttl_on_overwrite(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put("aqe/key", 1, ttl=60)
        assert 30 < rows(SECONDS_LEFT, "aqe/key")[0][0] <= 60
        postgres_memory.put("aqe/key", 2, ttl=3600)
        assert 3500 < rows(SECONDS_LEFT, "aqe/key")[0][0] <= 3600
        postgres_memory.put("aqe/key", 3)
        assert rows(SECONDS_LEFT, "aqe/key") == [(None,)]
        assert stored(postgres_memory, "aqe/key").expires_at is None


class TestPostgresMemoryRealSearch:
    def test_search_by_pattern(self, postgres_memory: Memory):
        postgres_memory.put_many(DOCUMENTS | {"aqe/plans/1": {"even": True}})
        assert {entry.key: entry.value for entry in postgres_memory.search("aqe/docs/*")} == DOCUMENTS
        found = postgres_memory.search("aqe/*/1*", where={"even": True})
        expected = [*(f"aqe/docs/{number}" for number in range(10, 20, 2)), "aqe/plans/1"]
        assert [entry.key for entry in found] == expected

    def test_search_no_matches(self, postgres_memory: Memory):
        postgres_memory.put_many(DOCUMENTS)
        for pattern, where in (("aqe/none/*", None), ("docs/*", None), ("*", {"number": {"$gt": 49}})):
            page = postgres_memory.search(pattern, where=where)
            assert (list(page), page.cursor, postgres_memory.count(pattern, where=where)) == ([], None, 0)

    def test_search_single_character_wildcard(self, postgres_memory: Memory):
        keys = ["aqe/a1b", "aqe/a22b", "aqe/a_b", "aqe/ab", "aqe/aéb", "aqe/a😀b"]
        postgres_memory.put_many(dict.fromkeys(keys, 0))
        assert [entry.key for entry in postgres_memory.search("aqe/a?b")] == [
            "aqe/a1b",
            "aqe/a_b",
            "aqe/aéb",
            "aqe/a😀b",
        ]
        assert [entry.key for entry in postgres_memory.search("aqe/a_b")] == ["aqe/a_b"]
        assert [entry.key for entry in postgres_memory.search("aqe/a%b")] == []

    def test_search_excludes_expired_keys(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put_many({"aqe/s/1": 1, "aqe/s/3": 3})
        expire(postgres_memory, "aqe/s/2")
        assert [entry.key for entry in postgres_memory.search("aqe/s/*")] == ["aqe/s/1", "aqe/s/3"]
        assert [entry.key for entry in postgres_memory.search("aqe/s/2")] == []
        assert postgres_memory.count("aqe/s/*") == 2
        assert rows(COUNT) == [(3,)], "the row is still there, and nobody sees it"


class TestPostgresMemoryRealPartitions:
    def test_store_in_partition(self, postgres_memory: Memory, rows: Rows):
        agents = postgres_memory.partition("agents")
        agents.put("aqe/key", "theirs")
        postgres_memory.put("aqe/key", "ours")
        assert (agents.get("aqe/key"), postgres_memory.get("aqe/key")) == ("theirs", "ours")
        assert rows("SELECT partition, body FROM memory_entries ORDER BY partition") == [
            ("agents", '"theirs"'),
            ("default", '"ours"'),
        ]
        assert [partition.name for partition in postgres_memory.partitions()] == ["agents", "default"]

    def test_clear_partition(self, postgres_memory: Memory, rows: Rows):
        agents, similar = postgres_memory.partition("agents"), postgres_memory.partition("agents2")
        for memory in (postgres_memory, agents, similar):
            memory.put_many({"aqe/key": 1, "aqe/another": 2})
        assert agents.clear() == 2
        assert list(agents.keys()) == []
        assert similar.get("aqe/key") == postgres_memory.get("aqe/key") == 1
        assert rows("SELECT DISTINCT partition FROM memory_entries ORDER BY 1") == [("agents2",), ("default",)]


class TestPostgresMemoryRealKeyListing:
    def test_list_keys_with_prefix(self, postgres_memory: Memory):
        postgres_memory.put_many(dict.fromkeys(["aqe/a_b/1", "aqe/a_b/2", "aqe/axb/3", "aqe/a_bc", "aqe/A_b/4"], 0))
        assert list(postgres_memory.keys("aqe/a_b/")) == ["aqe/a_b/1", "aqe/a_b/2"]
        assert list(postgres_memory.keys("aqe/a_b/", limit=1)) == ["aqe/a_b/1"]
        assert list(postgres_memory.keys("nothing/")) == []

    def test_list_all_keys(self, postgres_memory: Memory):
        keys = [f"aqe/{name}" for name in ("10", "9", "B", "a", "é", "\uffff", "😀")]
        postgres_memory.put_many(dict.fromkeys(reversed(keys), 0))
        expire(postgres_memory, "aqe/gone")
        postgres_memory.partition("other").put("aqe/elsewhere", 0)
        assert list(postgres_memory.keys()) == keys == sorted(keys)


class TestPostgresMemoryRealStats:
    def test_get_stats(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put_many({"aqe/1": 1, "aqe/2": 2})
        postgres_memory.partition("agents").put("aqe/1", 1)
        expire(postgres_memory, "aqe/dead")
        stats = postgres_memory.stats()
        assert (stats.entries, stats.expired_pending, stats.backend) == (3, 1, "postgresql")
        assert stats.partitions == {"agents": 1, "default": 2}
        ((version,),) = rows("SHOW server_version")
        assert stats.server_version
        assert version.startswith(stats.server_version)

    def test_stats_size_calculation(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put_many({"aqe/small": 1, "aqe/text": "é" * 1000})
        expire(postgres_memory, "aqe/dead", "x" * 500)
        living = "SELECT sum(octet_length(body))::int FROM memory_entries WHERE key <> 'aqe/dead'"
        assert [(postgres_memory.stats().value_bytes,)] == rows(living) == [(1 + 2002,)]
        postgres_memory.put("aqe/small", [1, 2])
        assert postgres_memory.stats().value_bytes == 5 + 2002
        postgres_memory.delete("aqe/text")
        assert postgres_memory.stats().value_bytes == 5


class TestPostgresMemoryRealConcurrency:
    def test_concurrent_writes(self, postgres_memory: Memory, measured: Measure):
        with measured("50 threads write a key each", 50, at_most_seconds=10):
            entries = run_threads(50, lambda n: postgres_memory.put(f"aqe/w/{n:02d}", {"writer": n}))
        assert {entry.key: entry.version for entry in postgres_memory.items("aqe/w/")} == {
            entry.key: entry.version for entry in entries
        }
        assert [postgres_memory.get(f"aqe/w/{n:02d}") for n in range(50)] == [{"writer": n} for n in range(50)]

    def test_concurrent_reads(self, postgres_memory: Memory, measured: Measure):
        entry = postgres_memory.put("aqe/shared", NESTED)
        with measured("100 reads of one key by 20 threads", 100, at_least_per_second=50):
            read = run_threads(20, lambda _: [stored(postgres_memory, "aqe/shared") for _ in range(5)])
        assert [each for five in read for each in five] == [entry] * 100
        assert exactly(read[0][0].value) == exactly(NESTED)

    def test_concurrent_mixed_operations(self, postgres_memory: Memory, rows: Rows):
        def work(index: int) -> list[Any]:
            if index < 20:
                return [
                    postgres_memory.put_many({"aqe/left": n, "aqe/right": n, f"aqe/m/{index}": n}) for n in range(5)
                ]
            return [postgres_memory.get_many(["aqe/left", "aqe/right"]) for _ in range(5)]

        postgres_memory.put_many({"aqe/left": -1, "aqe/right": -1})
        pairs = [pair for read in run_threads(50, work)[20:] for pair in read]
        assert len(pairs) == 30 * 5
        assert [pair for pair in pairs if pair["aqe/left"] != pair["aqe/right"]] == []
        assert {entry.key: entry.value for entry in postgres_memory.items("aqe/m/")} == {
            f"aqe/m/{index}": 4 for index in sorted(range(20), key=str)
        }

        def put_or_work(index: int) -> list[int]:
            jobs = postgres_memory.queue("aqe/queue")
            if index < 10:
                return [jobs.put(10 * index + number).id for number in range(10)]
            done: list[int] = []
            while len(done) < 10:
                (job,) = jobs.claim(1, wait=20)
                postgres_memory.apply([Ack(job), Put(f"aqe/done/{job.value}", index, if_absent=True)])
                done.append(job.id)
            return done

        ids = run_threads(20, put_or_work)
        put, done = (sorted(chain.from_iterable(own)) for own in (ids[:10], ids[10:]))
        assert put == done, "each was done once"
        assert postgres_memory.count("aqe/done/*") == 100
        assert rows("SELECT count(*) FROM queue_items") == [(0,)]


@pytest.mark.slow
@pytest.mark.strict
class TestPostgresMemoryRealPerformance:
    def test_bulk_write_performance(self, postgres_memory: Memory, rows: Rows, measured: Measure):
        with measured("put", 100, at_least_per_second=10):
            for number in range(100):
                postgres_memory.put(f"aqe/bulk/{number:03d}", NESTED)
        assert rows(COUNT) == [(100,)]

    def test_search_performance(self, postgres_memory: Memory, measured: Measure):
        postgres_memory.put_many(DOCUMENTS | {f"aqe/noise/{number:04d}": number for number in range(1000)})
        with measured("search, 50 of 50 found", 1, at_most_seconds=1):
            found = postgres_memory.search("aqe/docs/*", limit=50)
        assert {entry.key: entry.value for entry in found} == DOCUMENTS


class TestPostgresMemoryRealNamespace:
    def test_namespace_enforcement(self, postgres_memory: Memory, rows: Rows):
        attempts = [
            lambda: postgres_memory.put("key", 1),
            lambda: postgres_memory.put("AQE/key", 1),
            lambda: postgres_memory.put_many({"aqe/inside": 1, "aqe": 2}),
            lambda: postgres_memory.increment("aqe_/key"),
            lambda: postgres_memory.append("other/aqe/key", 1),
            lambda: postgres_memory.merge("key", {}),
            lambda: postgres_memory.update("key", lambda _: 1, default=0),
            lambda: postgres_memory.run(lambda tx: tx.put("key", 1)),
        ]
        for attempt in attempts:
            with pytest.raises(NamespaceError, match="expected it to begin with 'aqe/'") as caught:
                attempt()
            assert caught.value.namespace == "aqe/"
            assert repr(caught.value.key) in str(caught.value)
        assert rows(COUNT) == [(0,)]

    def test_valid_namespace_accepted(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put("aqe/a", 1)
        postgres_memory.put("aqe/deep/er/key", 1)
        assert postgres_memory.increment("aqe/a") == 2
        postgres_memory.run(lambda tx: tx.put("aqe/tx", 1))
        postgres_memory.partition("fenced", namespace="aqe/agents/").put("aqe/agents/1", 1)
        with pytest.raises(NamespaceError):
            postgres_memory.partition("fenced").put("aqe/other", 1)
        assert rows(COUNT) == [(4,)]


class TestPostgresMemoryRealCleanup:
    def test_cleanup_expired_entries(self, postgres_memory: Memory, rows: Rows):
        postgres_memory.put_many({f"aqe/t/{number}": number for number in range(5)}, ttl=1)
        postgres_memory.put("aqe/living", 1, ttl=3600)
        eventually(lambda: list(postgres_memory.keys("aqe/t/")) == [])
        assert rows(COUNT) == [(6,)]
        assert postgres_memory.purge_expired() >= 5
        assert rows("SELECT key FROM memory_entries") == [("aqe/living",)]
        assert postgres_memory.stats().expired_pending == 0
