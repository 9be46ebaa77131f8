"""PostgreSQL's indexes of values (ADR 0020): used where they help, built beside others, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

import agentmem
from agentmem import ConfigurationError, PermissionDenied, Unavailable, migrations
from agentmem.memory import Memory
from agentmem.sql import postgres, postgres_batches, postgres_indexes
from agentmem.sql.engines import normalised
from agentmem.sql.naming import DEFAULT
from agentmem.testing.contract.filter_table import DOCUMENTS, FOUND
from agentmem.testing.contract.filters import found
from agentmem.testing.pgbouncer import PgBouncer
from agentmem.testing.support import eventually, run_threads

pytestmark = pytest.mark.postgres

INDEXES = """
    SELECT c.relname, pg_get_expr(i.indpred, i.indrelid), i.indisvalid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'gin'
"""


@pytest.fixture
def url(postgres_schema_url: str) -> str:
    return postgres_schema_url


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A neighbour's."""
    with psycopg.connect(url, application_name="neighbour") as connection:
        yield connection


def indexes(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(INDEXES).fetchall()


def validity(url: str) -> list[bool]:
    return [is_valid for _, _, is_valid in indexes(url)]


ODD = ["jobs", "o'x\"\\ %s %(x)s {} : ü", "'", "\\", "a" * 128, "😀", "; DROP TABLE memory_entries; --", "$1 $$ :name"]


@pytest.mark.parametrize("names", [{}, {"schema": 'a"b c', "table_prefix": "p'ü "}], ids=["plain", "odd names"])
def test_partitions_of_any_name_have_their_own(url: str, names: dict[str, Any]) -> None:
    migrations.upgrade(url, **names)
    with agentmem.connect(url, **names) as memory:
        for name in ODD:
            memory.partition(name, index_values=True).put("key", {"a": name})
        assert len({index for index, _, _ in indexes(url)}) == len(ODD)
        assert all(memory.partition(name).count(where={"a": name}) == 1 for name in ODD)
        assert memory.check() == []
        assert [memory.drop_partition(name) for name in ODD[1:]] == [1] * (len(ODD) - 1)
        assert [predicate for _, predicate, _ in indexes(url)] == ["(partition = 'jobs'::text)"]
        memory.partition("jobs", index_values=False)
        assert indexes(url) == []


def test_installations_in_one_database_know_nothing_of_each_other(url: str) -> None:
    migrations.upgrade(url, table_prefix="am_")
    migrations.upgrade(url, schema="agents")
    places: list[dict[str, Any]] = [{}, {"table_prefix": "am_"}, {"schema": "agents"}]
    for place in places:
        with agentmem.connect(url, **place) as memory:
            memory.partition("jobs", index_values=True)
    assert validity(url) == [True] * 3
    for left, place in enumerate(reversed(places)):
        with agentmem.connect(url, **place) as memory:
            memory.partition("jobs", index_values=False)
        assert len(indexes(url)) == 2 - left


def test_the_longest_prefix_leaves_room_for_the_name(url: str) -> None:
    migrations.upgrade(url, table_prefix="p" * 24)
    with agentmem.connect(url, table_prefix="p" * 24) as memory:
        for name in ("a", "b"):
            memory.partition(name, index_values=True)
    assert {len(index) for index, _, _ in indexes(url)} == {63}


def test_a_partition_that_is_dropped_during_a_build_holds_no_writers_up(
    url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a build is in the way of the drop's, and behind that every writer would wait for the build's end."""
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 30)
    with agentmem.connect(url) as memory:
        memory.partition("jobs").put_many({"a": 1, "b": 2})
        connection.execute("LOCK TABLE memory_entries IN SHARE UPDATE EXCLUSIVE MODE")
        dropped: list[int] = []
        thread = threading.Thread(target=lambda: dropped.append(memory.drop_partition("jobs")))
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'"
        with psycopg.connect(url, autocommit=True) as other:
            eventually(lambda: other.execute(waiting).fetchone() == (1,))
        memory.put("key", 1)
        assert dropped == [], "the lock is still held"
        connection.rollback()
        thread.join(10)
        assert (dropped, memory.partition("jobs").count(), memory.check()) == ([2], 0, [])


def test_a_drop_gives_up_in_the_end(
    url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(postgres_batches, "LOCK_SECONDS", 0.1)
    with agentmem.connect(url) as memory:
        memory.partition("jobs").put("key", 1)
        connection.execute("LOCK TABLE memory_entries IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="lock time-out"):
            memory.drop_partition("jobs")
        connection.rollback()
        memory.drop_partition("jobs")
        assert memory.partitions() == []


def test_what_stands_as_wanted_takes_no_lock(url: str, connection: psycopg.Connection[Any]) -> None:
    with agentmem.connect(url) as memory:
        memory.partition("jobs", index_values=True)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (DEFAULT.lock_key,))
        connection.execute("LOCK TABLE memory_entries IN SHARE UPDATE EXCLUSIVE MODE")
        memory.partition("jobs", index_values=True)
        memory.partition("others", index_values=False)


def test_who_waits_in_vain_is_told_for_whom(
    url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_indexes, "WAIT_SECONDS", 0.2)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (DEFAULT.lock_key,))
    with agentmem.connect(url) as memory:
        with pytest.raises(Unavailable, match="application_name 'neighbour'") as caught:
            memory.partition("jobs", index_values=True)
        assert (caught.value.retryable, indexes(url), memory.partitions()) == (True, [], [])
        connection.rollback()
        memory.partition("jobs", index_values=True)
    assert validity(url) == [True]


CANCEL = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE query ~ 'CONCURRENTLY' AND datname = current_database() AND pid <> pg_backend_pid()
"""
BLOCKERS = {
    "a snapshot": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1",
    "a write": "UPDATE memory_entries SET key = key",
}


@pytest.mark.parametrize("blocker", BLOCKERS)
def test_a_build_outwaits_older_transactions_for_so_long_and_is_repeated(
    url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, blocker: str
) -> None:
    """What a build that was broken off leaves is dropped, at once or by whoever asks next."""
    monkeypatch.setattr(postgres_indexes, "WAIT_SECONDS", 1)
    with agentmem.connect(url) as memory:
        memory.partition("jobs").put("key", {"a": 1})
        connection.execute(BLOCKERS[blocker].encode())
        with pytest.raises(Unavailable, match="lock time-out"):
            memory.partition("jobs", index_values=True)
        connection.rollback()
        memory.partition("jobs", index_values=True)
        assert (validity(url), memory.check()) == ([True], [])


def test_a_build_does_not_wait_for_a_transaction_that_has_read(url: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("SELECT 1 FROM memory_entries")
    with agentmem.connect(url) as memory:
        memory.partition("jobs", index_values=True)
    assert validity(url) == [True]


def break_off_a_build(url: str, connection: psycopg.Connection[Any]) -> None:
    """As when a server or its client dies in the middle of it."""
    connection.execute("UPDATE memory_entries SET key = key")

    def build() -> None:
        with agentmem.connect(url) as memory, pytest.raises(Unavailable, match="canceling"):
            memory.partition("jobs", index_values=True)

    thread = threading.Thread(target=build)
    thread.start()
    with psycopg.connect(url, autocommit=True) as other, agentmem.connect(url) as memory:
        eventually(lambda: validity(url) == [False])
        assert memory.check() == [], "it is being built"
        # Its clean-up waits for the same writer, and is ended as well.
        while thread.is_alive():
            other.execute(CANCEL)
            thread.join(0.05)


@pytest.mark.parametrize("wanted", [True, False])
def test_what_a_broken_build_left_is_reported_and_removed(
    url: str, connection: psycopg.Connection[Any], wanted: bool
) -> None:
    with agentmem.connect(url) as memory:
        memory.partition("jobs").put("key", {"a": 1})
        break_off_a_build(url, connection)
        assert validity(url) == [False]
        (problem,) = memory.check()
        assert (problem.kind, problem.partition) == ("index", "jobs")
        assert memory.partition("jobs").count(where={"a": 1}) == 1
        connection.commit()
        memory.partition("jobs", index_values=wanted)
        assert (validity(url), memory.check()) == ([True] * wanted, [])


def test_many_at_once_build_it_once(url: str) -> None:
    with agentmem.connect(url, pool_size=2) as memory, agentmem.connect(url) as other:
        other.put_many({f"key/{number}": {"n": number} for number in range(2_000)})
        run_threads(8, lambda index: (memory, other)[index % 2].partition("default", index_values=True))
        assert (validity(url), memory.check()) == ([True], [])
        run_threads(8, lambda index: (memory, other)[index % 2].partition("default", index_values=index < 4))
        assert memory.check() == []


def test_it_belongs_to_no_transaction(url: str) -> None:
    engine = create_engine(normalised(make_url(url)))
    with agentmem.connect(url) as memory, engine.connect() as connection:
        memory.partition("jobs", index_values=True).put("key", {"a": 1})
        joined = memory.using(connection)
        for wanted in (True, False):
            with pytest.raises(ConfigurationError, match="index_values cannot be set in a transaction"):
                joined.partition("jobs", index_values=wanted)
        assert joined.drop_partition("jobs") == 1
        connection.commit()
        assert (validity(url), memory.check()) == ([True], [])
        assert memory.drop_partition("jobs") == 0
        assert indexes(url) == []
    engine.dispose()


@pytest.fixture
def role_url(url: str) -> Iterator[str]:
    """For a role that may use the tables and does not own them."""
    place = make_url(url)
    role = f"pod_{place.database}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pod'".encode())
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
        connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}".encode())
        yield place.set(username=role, password="pod").render_as_string(hide_password=False)
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


def test_a_role_that_does_not_own_the_tables_is_refused(url: str, role_url: str) -> None:
    with agentmem.connect(url) as owner, agentmem.connect(role_url) as memory:
        with pytest.raises(PermissionDenied, match="owner"):
            memory.partition("jobs", index_values=True, description="changes nothing")
        assert (memory.partitions(), indexes(url)) == ([], [])
        owner.partition("jobs", index_values=True)
        memory.partition("jobs", index_values=True).put("key", {"a": 1})
        with pytest.raises(PermissionDenied, match="owner"):
            memory.partition("jobs", index_values=False)
        assert (memory.drop_partition("jobs"), validity(url)) == (1, [True])
        owner.partition("jobs", index_values=False)
        assert indexes(url) == []


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_hosts_engine_with_one_connection_is_enough(url: str, autocommit: bool) -> None:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    engine = create_engine(normalised(make_url(url)), pool_size=1, max_overflow=0, pool_timeout=5, **options)
    with agentmem.connect(engine) as memory:
        memory.partition("jobs", index_values=True)
        assert validity(url) == [True]
        memory.drop_partition("jobs")
    assert (indexes(url), engine.pool.checkedout()) == ([], 0)  # type: ignore[attr-defined]  # a QueuePool
    engine.dispose()


def test_time_outs_of_the_role_and_of_ours_do_not_end_a_build(url: str, connection: psycopg.Connection[Any]) -> None:
    """What takes long because there is much to do: here, because a neighbour writes for a while."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {make_url(url).database} SET statement_timeout = '200ms'".encode())
    with agentmem.connect(url, timeout=0.3) as memory:
        memory.partition("jobs").put("key", {"a": 1})
        connection.execute("UPDATE memory_entries SET key = key")
        timer = threading.Timer(0.8, connection.rollback)
        timer.start()
        memory.partition("jobs", index_values=True)
        timer.join()
    assert validity(url) == [True]


def test_behind_pgbouncer_no_setting_is_left_to_others(url: str, pgbouncer: PgBouncer) -> None:
    place = pgbouncer.url(url)
    with agentmem.connect(place) as memory:
        memory.partition("jobs", index_values=True)
        assert validity(url) == [True]
        memory.partition("jobs", index_values=False)
        assert indexes(url) == []
    with psycopg.connect(place) as connection:
        settings = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
        assert connection.execute(settings).fetchone() == ("0", "0")


def test_it_outlives_a_downgrade_and_the_way_back(url: str) -> None:
    with agentmem.connect(url) as memory:
        memory.partition("jobs", index_values=True).put("key", {"a": 1})
    migrations.downgrade(url, "base")
    migrations.upgrade(url)
    with agentmem.connect(url) as memory:
        assert memory.partition("jobs", index_values=True).count(where={"a": 1}) == 1
        assert memory.drop_partition("jobs") == 1
    assert indexes(url) == []


def test_the_index_finds_what_the_table_of_filters_says(url: str, connection: psycopg.Connection[Any]) -> None:
    """In a table that is too small for any index the planner has to be told."""
    place = make_url(url).update_query_dict({"options": "-c enable_seqscan=off -c enable_indexscan=off"})
    with agentmem.connect(place.render_as_string(hide_password=False)) as memory:
        for key, value in DOCUMENTS.items():
            memory.put(key, value, metadata={"owner": key[0]} if key[0].isalpha() else None)
        memory.partition("default", index_values=True)
        wrong = {repr(where): found(memory, where) ^ keys for where, keys in FOUND}
        assert {where: difference for where, difference in wrong.items() if difference} == {}
    connection.autocommit = True
    eventually(lambda: int(connection.execute(SCANS).fetchall()[0][0]) >= 30)


SCANS = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname LIKE 'ix_memory_entries_value%'"
SEARCHES: dict[str, Callable[[Memory], object]] = {
    "search": lambda memory: memory.search(where={"n": 77}),
    "count": lambda memory: memory.count(where={"n": {"$in": [1, 2, 3]}}),
    "delete_matching": lambda memory: memory.delete_matching("*", where={"n": 9_999}),
}


@pytest.mark.parametrize("where", [{"n": 4_321}, {"n": {"$in": [4_321, 4_322]}}, {"n": 4_321, "m": {"$gte": 0}}])
def test_the_index_is_used_for_the_first_of_large_values(
    url: str, connection: psycopg.Connection[Any], where: dict[str, Any]
) -> None:
    """pitfall: of values above 1 KB the planner has no statistics, and hopes to find one soon in a walk by key."""
    text = "".join(map(str, range(600)))
    with agentmem.connect(url, pool_size=1) as memory, agentmem.connect(url) as other:
        values = ({"n": number, "m": number, "text": f"{text}{number}"} for number in range(5_000))
        memory.put_many({f"key/{value['n']:06}": value for value in values})
        memory.partition("default", index_values=True)
        assert [entry.value["n"] for entry in memory.search(where=where, limit=1)] == [4_321]
        assert len(other.search(where=where, limit=1)) == 1, "it finds out by itself"
    connection.autocommit = True
    each = 2 if "$in" in str(where) else 1
    eventually(lambda: connection.execute(SCANS).fetchone() == (2 * each,))


@pytest.mark.parametrize("name", SEARCHES)
def test_the_index_is_used_however_often_a_search_is_made(
    url: str, connection: psycopg.Connection[Any], name: str
) -> None:
    """pitfall: a prepared statement's plan for any values cannot use an index of one partition."""
    with agentmem.connect(url, pool_size=1) as memory:
        memory.put_many({f"key/{number:06}": {"n": number} for number in range(10_000)})
        memory.partition("default", index_values=True)
        for _ in range(25):
            SEARCHES[name](memory)
    connection.autocommit = True
    each = 3 if name == "count" else 1
    eventually(lambda: connection.execute(SCANS).fetchone() == (25 * each,))
