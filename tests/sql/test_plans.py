"""The plans that the hot statements get, pinned: by index, in order, and nothing that grows with what is stored."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import ClientCursor
from sqlalchemy import event

import agentmem
from agentmem.sql import migrations
from agentmem.sql.backend import open_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

ROWS = 20_000
PRIMARY = "pk_memory_entries"
EXPIRY = "ix_memory_entries_expires_at"

Plan = list[tuple[str, str | None]]
Call = Callable[[Any], object]

FILL = """
    INSERT INTO memory_entries (partition, key, body, version, created_at, updated_at, expires_at)
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1)
    SELECT CASE WHEN i < {rows} / 2 THEN 'default' ELSE 'p' || (i % 50) END, 'run/' || (i % 100) || '/' || i,
           '{{"n": ' || i || '}}', i + 1, {now}, {now}, CASE WHEN i % 20 = 0 THEN {past} END
    FROM n
"""


def second_page(memory: Memory, descending: bool = False) -> None:
    page = memory.search("run/7/*", limit=20, descending=descending)
    memory.search("run/7/*", limit=20, cursor=page.cursor, descending=descending)


#: Calls whose last statement is by the primary key, in its order: nothing is sorted.
BY_KEY: dict[str, Call] = {
    "get": lambda m: m.get("run/7/7"),
    "exists": lambda m: m.exists("run/7/7"),
    "get_many": lambda m: m.get_many([f"run/{n}/{n}" for n in range(20)]),
    "first page": lambda m: m.search("run/7/*", limit=20),
    "second page": second_page,
    "first page descending": lambda m: m.search("run/7/*", limit=20, descending=True),
    "second page descending": lambda m: second_page(m, descending=True),
    "page of everything": lambda m: m.search("*", limit=20),
    "page of a pattern": lambda m: m.search("run/7/*7", limit=20),
    "page with a filter": lambda m: m.search("run/7/*", where={"n": {"$gt": 100}}, limit=20),
    "literal pattern": lambda m: m.search("run/7/7"),
    "children": lambda m: m.children("run/"),
    "keys": lambda m: next(m.keys("run/")),
}  # fmt: skip

#: Calls that may sort, but see no more than the literal prefix covers.
WITHIN_PREFIX: dict[str, Call] = {
    "by updated": lambda m: m.search("run/7/*", order="updated", limit=20),
    "count": lambda m: m.count("run/7/*"),
    "count with a filter": lambda m: m.count("run/7/*", where={"n": {"$gt": 100}}),
}  # fmt: skip

WRITES: dict[str, Call] = {
    "put": lambda m: m.put("run/7/7", 1),
    "put if_absent": lambda m: (m.delete("run/new"), m.put("run/new", 1, if_absent=True)),
    "put if_version": lambda m: m.put("run/8/8", 1, if_version=m.put("run/8/8", 0).version),
    "increment": lambda m: m.increment("counter"),
    "delete": lambda m: m.delete("run/9/9"),
}  # fmt: skip


# PostgreSQL


class Recording(psycopg.Cursor[Any]):
    """Remembers what was executed."""

    seen: list[tuple[Any, Any]] = []  # noqa: RUF012 - one list for all cursors is what is wanted
    options: list[dict[str, Any]] = []  # noqa: RUF012

    def execute(self, query: Any, params: Any = None, **options: Any) -> Recording:
        self.seen.append((query, params))
        self.options.append(options)
        return super().execute(query, params, **options)


def set_cursor_factory(connection: psycopg.Connection[Any], record: object) -> None:
    connection.cursor_factory = Recording


@pytest.fixture(scope="module", params=["plain", "indexed"])
def postgres(
    request: pytest.FixtureRequest, postgres_server: PostgresServer
) -> Iterator[tuple[Memory, psycopg.Connection[Any]]]:
    """A handle whose statements are recorded, over a table of 20,000 rows that was analysed, and a connection.

    Of an index of values (ADR 0020) no plan must take notice but those of filters.
    """
    url = postgres_server.new_database()
    migrations.upgrade(url)
    repository = open_url(url, {})
    event.listen(repository.engine, "connect", set_cursor_factory)
    with psycopg.connect(url, autocommit=True) as connection, repository, agentmem.connect(repository) as memory:
        memory.put("counter", 0)
        connection.execute(FILL.format(rows=ROWS, now="now()", past="now() - interval '1 hour'").encode())
        connection.execute("VACUUM ANALYZE memory_entries")
        if request.param == "indexed":
            memory.partition("default", index_values=True)
        yield memory, connection
    postgres_server.drop_database(url)


def last_statement(memory: Memory, call: Call) -> tuple[str, dict[str, Any]]:
    Recording.seen.clear()
    call(memory)
    return Recording.seen[-1]


def custom_plan(connection: psycopg.Connection[Any], statement: str, parameters: dict[str, Any]) -> Plan:
    """The plan for these very parameters."""
    text = ClientCursor(connection).mogrify(statement, parameters)
    return nodes(connection.execute(f"EXPLAIN (FORMAT JSON) {text}".encode()).fetchone())


def generic_plan(connection: psycopg.Connection[Any], statement: str, parameters: dict[str, Any]) -> Plan:
    """The plan for any parameters, which a server may take for a prepared statement."""
    names = list(parameters)
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement).replace("%%", "%")
    values = ClientCursor(connection).mogrify(", ".join(["%s"] * len(names)), list(parameters.values()))
    arguments = f"({values})" if names else ""
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute(f"PREPARE pinned AS {text}".encode())
    try:
        return nodes(connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE pinned {arguments}".encode()).fetchone())
    finally:
        connection.execute("DEALLOCATE pinned")


def nodes(row: Any) -> Plan:
    """The nodes of a plan that touch a table or sort."""
    found = []
    waiting = [row[0][0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.get("Plans", ()))
        if "Scan" in node["Node Type"] or "Sort" in node["Node Type"]:
            found.append((node["Node Type"], node.get("Index Name", node.get("Relation Name"))))
    return found


PLANNERS = pytest.mark.parametrize("planner", [custom_plan, generic_plan])


@PLANNERS
@pytest.mark.parametrize("name", BY_KEY)
def test_postgresql_reads_by_the_primary_key_in_its_order(
    postgres: tuple[Memory, psycopg.Connection[Any]], name: str, planner: Callable[..., Plan]
) -> None:
    memory, connection = postgres
    plan = planner(connection, *last_statement(memory, BY_KEY[name]))
    assert [node for node in plan if node[0] in ("Index Scan", "Index Only Scan")] == plan
    assert {index for _, index in plan} == {PRIMARY}


@PLANNERS
@pytest.mark.parametrize("name", WITHIN_PREFIX)
def test_postgresql_looks_at_nothing_beyond_the_prefix(
    postgres: tuple[Memory, psycopg.Connection[Any]], name: str, planner: Callable[..., Plan]
) -> None:
    memory, connection = postgres
    statement, parameters = last_statement(memory, WITHIN_PREFIX[name])
    plan = planner(connection, statement, parameters)
    assert {index for kind, index in plan if "Index" in kind} == {PRIMARY}
    assert "Seq Scan" not in {kind for kind, _ in plan}
    assert {"low", "high"} <= parameters.keys()


@PLANNERS
@pytest.mark.parametrize("name", WRITES)
def test_postgresql_writes_by_the_primary_key(
    postgres: tuple[Memory, psycopg.Connection[Any]], name: str, planner: Callable[..., Plan]
) -> None:
    memory, connection = postgres
    plan = planner(connection, *last_statement(memory, WRITES[name]))
    assert ("Seq Scan", "memory_entries") not in plan
    assert {index for kind, index in plan if kind == "Index Scan" and index != "pk_partitions"} <= {PRIMARY}


def test_postgresql_purges_by_the_partial_index(postgres: tuple[Memory, psycopg.Connection[Any]]) -> None:
    memory, connection = postgres
    statement = last_statement(memory, lambda m: m.purge_expired(batch=10, max_seconds=0.001))
    plan = custom_plan(connection, *statement)
    assert {index for kind, index in plan if "Index" in kind} >= {EXPIRY, PRIMARY}
    assert ("Seq Scan", "memory_entries") not in plan
    for each in (plan, generic_plan(connection, *statement)):
        assert ("Index Scan", EXPIRY) in each
        assert "Sort" not in {kind for kind, _ in each}


@PLANNERS
def test_postgresql_removes_by_the_primary_key(
    postgres: tuple[Memory, psycopg.Connection[Any]], planner: Callable[..., Plan]
) -> None:
    memory, connection = postgres
    plan = planner(connection, *last_statement(memory, lambda m: m.delete_matching("run/99/*")))
    assert ("Index Scan", PRIMARY) in plan
    assert "Sort" not in {kind for kind, _ in plan}
    assert ("Seq Scan", "memory_entries") not in plan


#: Calls that look values up where they are indexed; a value is in one of 10,000 entries.
BY_VALUE: dict[str, Call] = {
    "equality": lambda m: m.search(where={"n": 77}),
    "equality, the first alone": lambda m: m.search(where={"n": 77}, limit=1),
    "equality, newest first": lambda m: m.search(where={"n": 77}, order="updated", descending=True),
    "equality under a prefix": lambda m: m.search("run/*", where={"n": 77}),
    "one of several": lambda m: m.search(where={"n": {"$in": [1, 2, 3]}}),
    "either": lambda m: m.search(where={"$or": [{"n": 1}, {"n": 2}]}),
    "with something else": lambda m: m.search(where={"n": 77, "$not": {"m": 1}, "@version": {"$gt": 0}}),
    "in depth": lambda m: m.search(where={"a.b": 77}),
    "in a list": lambda m: m.search(where={("a", 0, "b"): 77}),
    "an object": lambda m: m.search(where={"a": {"$eq": {"b": 77}}}),
    "contained in a list": lambda m: m.search(where={"a": {"$contains": 77}}),
    "a list in a list": lambda m: m.search(where={"a": {"$contains": [77]}}),
    "count": lambda m: m.count(where={"n": 77}),
    "delete_matching": lambda m: m.delete_matching("*", where={"n": 123_456}),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_VALUE)
def test_postgresql_finds_values_by_their_index_where_there_is_one(
    postgres: tuple[Memory, psycopg.Connection[Any]], name: str
) -> None:
    memory, connection = postgres
    indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%USING gin%'").fetchall()
    plan = custom_plan(connection, *last_statement(memory, BY_VALUE[name]))
    used = {index for kind, index in plan if kind == "Bitmap Index Scan"}
    assert used - {PRIMARY} == {index for (index,) in indexes}
    assert Recording.options[-1] == {"prepare": False}, "a plan for any values cannot use it"


@pytest.mark.parametrize(
    "where", [{"n": {"$gt": 5}}, {"n": {"$ne": 5}}, {"n": {"$exists": True}}, {"p": {"$contains": "x"}}]
)
def test_postgresql_walks_by_key_where_an_index_says_nothing(
    postgres: tuple[Memory, psycopg.Connection[Any]], where: dict[str, Any]
) -> None:
    memory, connection = postgres
    plan = custom_plan(connection, *last_statement(memory, lambda m: m.search("run/7/*", where=where)))
    assert plan == [("Index Scan", PRIMARY)]


def is_walk(statement: Any) -> bool:
    """Whether `check` goes on from one page of entries to the next with this."""
    return "ORDER BY memory_entries.partition" in str(statement)


@PLANNERS
def test_postgresql_checks_every_entry_once(
    postgres: tuple[Memory, psycopg.Connection[Any]], planner: Callable[..., Plan]
) -> None:
    memory, connection = postgres
    Recording.seen.clear()
    memory.check()
    pages = [each for each in Recording.seen if is_walk(each[0])]
    assert len(pages) > ROWS // 1000
    assert planner(connection, *pages[7]) == [("Index Scan", PRIMARY)]
    (text,) = {statement for statement, _ in pages}
    assert re.search(r"\(memory_entries.partition, memory_entries.key\) > \(", text), "not from the first entry on"


# SQLite


@pytest.fixture(scope="module", params=["analysed", "fresh"])
def sqlite(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Memory, sqlite3.Connection, list[str]]]:
    """A handle over 20,000 rows, with statistics or without, a connection, and the statements that were run."""
    path = tmp_path_factory.mktemp("plans") / "memory.db"
    statements: list[str] = []
    repository = open_url(f"sqlite:///{path}", {})
    event.listen(repository.engine, "connect", lambda raw, _: raw.set_trace_callback(statements.append))
    with repository, agentmem.connect(repository) as memory:
        memory.put("counter", 0)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.create_function("agentmem_matches", 8, lambda *_: True, deterministic=True)
        now = "(unixepoch() * 1000000)"
        connection.execute(FILL.format(rows=ROWS, now=now, past=f"{now} - 1000000"))
        if request.param == "analysed":
            connection.execute("ANALYZE")
        yield memory, connection, statements
        connection.close()


def details(connection: sqlite3.Connection, statement: str) -> list[str]:
    """What SQLite would do to answer."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


def on_entries(plan: Sequence[str]) -> list[str]:
    return [line for line in plan if "memory_entries" in line]


@pytest.mark.parametrize("name", BY_KEY)
def test_sqlite_reads_by_the_primary_key_in_its_order(
    sqlite: tuple[Memory, sqlite3.Connection, list[str]], name: str
) -> None:
    memory, connection, statements = sqlite
    BY_KEY[name](memory)
    plan = details(connection, statements[-1])
    assert not [line for line in plan if "TEMP B-TREE" in line]
    assert on_entries(plan)
    for line in on_entries(plan):
        assert re.match(r"SEARCH memory_entries USING INDEX sqlite_autoindex_memory_entries_1 \(partition=\?", line)


@pytest.mark.parametrize("name", WITHIN_PREFIX)
def test_sqlite_looks_at_nothing_beyond_the_prefix(
    sqlite: tuple[Memory, sqlite3.Connection, list[str]], name: str
) -> None:
    memory, connection, statements = sqlite
    WITHIN_PREFIX[name](memory)
    (line,) = on_entries(details(connection, statements[-1]))
    assert line.endswith("sqlite_autoindex_memory_entries_1 (partition=? AND key>? AND key<?)")


def test_sqlite_purges_by_the_partial_index(sqlite: tuple[Memory, sqlite3.Connection, list[str]]) -> None:
    memory, connection, statements = sqlite
    statements.clear()
    memory.purge_expired(batch=10, max_seconds=0.001)
    plans = [details(connection, each) for each in statements if "memory_entries" in each]
    select, delete, *_ = plans
    assert select == [f"SEARCH memory_entries USING INDEX {EXPIRY} (expires_at>? AND expires_at<?)"]
    assert on_entries(delete) == ["SEARCH memory_entries USING INTEGER PRIMARY KEY (rowid=?)"]


def test_sqlite_writes_by_the_primary_key(sqlite: tuple[Memory, sqlite3.Connection, list[str]]) -> None:
    memory, connection, statements = sqlite
    statements.clear()
    for name in ("put", "increment", "delete"):
        WRITES[name](memory)
    memory.delete_matching("run/98/*")
    kinds = ("SELECT", "DELETE", "INSERT", "UPDATE")
    plans = [details(connection, each) for each in statements if each.split()[0] in kinds]
    lines = [line for plan in plans for line in on_entries(plan)]
    assert len(lines) >= 5
    by_key = "USING INDEX sqlite_autoindex_memory_entries_1 (partition=? AND key"
    assert all(by_key in line or "USING INTEGER PRIMARY KEY (rowid=?)" in line for line in lines)
    assert sum(by_key in line for line in lines) >= 3


def test_sqlite_checks_every_entry_once(sqlite: tuple[Memory, sqlite3.Connection, list[str]]) -> None:
    memory, connection, statements = sqlite
    statements.clear()
    memory.check()
    pages = [each for each in statements if is_walk(each)]
    assert len(pages) > ROWS // 1000
    (line,) = details(connection, pages[7])
    assert line == "SEARCH memory_entries USING INDEX sqlite_autoindex_memory_entries_1 ((partition,key)>(?,?))"
