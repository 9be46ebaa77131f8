"""After warm-up no call compiles a statement, writes a new one, or has one prepared: arguments are parameters."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.sql.compiler import Compiled

import agentmem
from agentmem import (
    Ack,
    Append,
    Check,
    Delete,
    Enqueue,
    Increment,
    Merge,
    Nack,
    Put,
    Touch,
    VersionConflict,
    migrations,
)
from agentmem.sql.engines import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

WARM_UP = 12
"""psycopg prepares a statement at its sixth run."""


def texts(n: int) -> list[str]:
    return [f"key/{n}/{each}" for each in range(n + 1)]


def settled(memory: Memory, n: int, how: str) -> None:
    queue = memory.queue("jobs", lease=10**n)
    queue.put_many(range(n + 2), delay=0, priority=n)
    for job in queue.claim(n + 1):
        job.ack() if how == "ack" else job.nack(delay=10**n, error=f"{n}")
    queue.purge()


def in_a_batch(memory: Memory, n: int) -> None:
    memory.apply([Enqueue("more", n), Put("key", n)])
    first, second = memory.queue("more").put(n), memory.queue("more").claim(2)
    assert first is not None
    memory.apply([Ack(second[0]), Nack(second[1], delay=10**n), Increment("counter")])
    memory.queue("more").purge()


def leased(memory: Memory, n: int) -> None:
    with memory.lease(f"lease/{n}", 10**n + 1) as lease:
        memory.fenced(lease).put("key", n)
        lease.renew()


def conflict(memory: Memory, n: int) -> None:
    with pytest.raises(VersionConflict):
        memory.apply([Put(f"key/{n}", n), Check("key", 100**n)])


def session(memory: Memory, n: int) -> None:
    chat = memory.session(f"s{n}", ttl=10**n)
    chat.append(*range(n + 1))
    chat.messages(limit=10**n)
    chat.end()


def following(memory: Memory, n: int, **how: Any) -> None:
    page = memory.search("many/*", limit=n + 1, **how)
    memory.search("many/*", limit=n + 1, cursor=page.cursor, **how)


#: Calls whose arguments differ with a number from 0 to 4: in value, in length, and in how large an integer is needed.
CALLS: dict[str, Callable[[Memory, int], object]] = {
    "get": lambda m, n: m.get(f"key/{n}"),
    "entry": lambda m, n: m.entry(f"key/{n}"),
    "exists": lambda m, n: m.exists(f"key/{n}"),
    "get_many": lambda m, n: m.get_many(texts(n)),
    "put": lambda m, n: m.put(f"key/{n}", {"n": n}),
    "put with ttl and metadata": lambda m, n: m.put(f"key/{n}", n, ttl=100**n, metadata={"a": n} if n else None),
    "put if_absent": lambda m, n: (m.delete("absent"), m.put("absent", n, ttl=100**n, if_absent=True)),
    "put if_version": lambda m, n: m.put("key", n, if_version=m.put("key", 1).version),
    "put_many": lambda m, n: m.put_many(dict.fromkeys([*texts(n), "other"], n), ttl=100**n),
    "load": lambda m, n: m.load([(key, n) for key in texts(n + 2)], chunk=n + 2),
    "delete": lambda m, n: m.delete(f"key/{n}"),
    "delete_many": lambda m, n: (m.put_many(dict.fromkeys(texts(n + 1), n)), m.delete_many(texts(n + 1))),
    "pop": lambda m, n: m.pop(f"key/{n}"),
    "increment": lambda m, n: m.increment("counter", by=1000**n, initial=-(1000**n), ttl=100**n),
    "increment by a float": lambda m, n: m.increment("float", by=n + 0.5),
    "append": lambda m, n: m.append("list", *range(n + 1), limit=1000**n),
    "merge": lambda m, n: m.merge("object", {f"f{n}": n}),
    "update": lambda m, n: m.update("object", lambda old: old | {"n": n}, default={}),
    "touch": lambda m, n: m.touch("key", 100**n),
    "apply": lambda m, n: m.apply([Put("a", n), Append("b", n), Merge("c", {"n": n}), Touch("a", 100**n), Delete("a")]),
    "apply check": lambda m, n: m.apply([Check("absent/2", None), Increment("counter", by=1000**n)]),
    "conflict": conflict,
    "run": lambda m, n: m.run(lambda tx: tx.put("key", [tx.get(f"key/{n}"), n])),
    "search": lambda m, n: m.search(f"key/{n}*", limit=1000**n),
    "search of a pattern": lambda m, n: m.search(f"key/?{n}*x", limit=1000**n),
    "search where": lambda m, n: m.search(f"key/{n}*", where={f"f{n}": n + 0.5, "b": {"$gt": 1000**n}}, limit=n + 1),
    "search where in": lambda m, n: m.search("key/*", where={"a": {"$in": texts(n)}}, limit=1000**n),
    "search where the entry": lambda m, n: m.search("key/*", where={"@version": {"$gt": 1000**n}}),
    "second page": following,
    "second page descending": lambda m, n: following(m, n, descending=True),
    "second page by updated": lambda m, n: following(m, n, order="updated"),
    "second page where": lambda m, n: following(m, n, where={(): {"$gte": -n}}),
    "keys": lambda m, n: list(m.keys(f"key/{n}", limit=1000**n)),
    "items": lambda m, n: list(m.items("many/"[: n + 1])),
    "children": lambda m, n: m.children("many/"[: n + 1], depth=n + 1),
    "count": lambda m, n: m.count(f"key/{n}*"),
    "count where": lambda m, n: m.count("key/*", where={"a": {"$lt": 1000**n}}),
    "delete_matching": lambda m, n: m.delete_matching(f"key/{n}*"),
    "delete_matching where": lambda m, n: m.delete_matching("key/*", where={"a": {"$startswith": f"{n}"}}),
    "clear": lambda m, n: m.scoped(f"scope/{n}/").clear(),
    "stats": lambda m, n: m.stats(),
    "stats of a scope": lambda m, n: m.scoped(f"key/{n}").stats(),
    "policy": lambda m, n: m.partition("other", default_ttl=100**n, description=f"{n}"),
    "partitions": lambda m, n: m.partitions(),
    "drop_partition": lambda m, n: (m.partition(f"gone/{n}").put("key", n), m.drop_partition(f"gone/{n}")),
    "purge_expired": lambda m, n: m.purge_expired(),
    "check": lambda m, n: m.check(),
    "ping": lambda m, n: m.ping(),
    "queue, acks": lambda m, n: settled(m, n, "ack"),
    "queue, nacks": lambda m, n: settled(m, n, "nack"),
    "queue in a batch": in_a_batch,
    "queues": lambda m, n: (m.queues(f"{n}"), m.queue("jobs").counts(), m.queue("jobs").peek(10 * (n + 1))),
    "lease": leased,
    "session": session,
    "learn": lambda m, n: m.qtable("q").update(f"s{n}", "a", 10.0**n, f"s{n + 1}"),
    "learn many": lambda m, n: m.qtable("q").update_many([(f"s{n}", f"{each}", n, "s") for each in range(n + 1)]),
    "learned": lambda m, n: (m.qtable("q").best(f"s{n}"), m.qtable("q").decay(0.5), m.qtables(f"{n}")),
}  # fmt: skip


def fill(memory: Memory) -> None:
    memory.put_many({f"many/{number:03}": number for number in range(20)})
    memory.put_many({"key": 0, "object": {}, "counter": 0})


class Texts:
    """The statements that were executed, as they were written."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def new(self, call: Callable[[], object]) -> list[str]:
        """Those of a call that were never executed before."""
        before = set(self.seen)
        call()
        return sorted(map(str, self.seen - before))


SEEN = Texts()
"""Cursors are made by drivers, which are told of a class."""


class SQLiteCursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> SQLiteCursor:
        SEEN.seen.add(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> SQLiteCursor:
        SEEN.seen.add(sql)
        return super().executemany(sql, parameters)


class SQLiteConnection(sqlite3.Connection):
    def cursor(self, factory: Any = SQLiteCursor) -> Any:
        return super().cursor(factory)


class PostgresCursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, params: Any = None, **options: Any) -> PostgresCursor:
        SEEN.seen.add(query)
        return super().execute(query, params, **options)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    url = f"sqlite:///{tmp_path_factory.mktemp('kept')}/memory.db"
    engine = create_engine(url, connect_args={"factory": SQLiteConnection})
    with agentmem.connect(engine, create="always") as memory:
        yield memory
    engine.dispose()


@pytest.fixture(scope="module")
def postgres_engine(postgres_server: PostgresServer) -> Iterator[Any]:
    url = postgres_server.new_database()
    migrations.upgrade(url)
    engine = create_engine(normalised(make_url(url)), connect_args={"cursor_factory": PostgresCursor}, pool_size=1)
    yield engine
    engine.dispose()
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def on_postgresql(postgres_engine: Any) -> Iterator[Memory]:
    with agentmem.connect(postgres_engine) as memory:
        yield memory


@pytest.fixture(params=["on_sqlite", "on_postgresql"])
def memory(request: pytest.FixtureRequest) -> Memory:
    memory: Memory = request.getfixturevalue(request.param)
    memory.clear()
    fill(memory)
    return memory


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLAlchemy compiles from now on."""
    statements: list[str] = []
    init = Compiled.__init__

    def record(self: Compiled, dialect: Any, statement: Any, *arguments: Any, **options: Any) -> None:
        init(self, dialect, statement, *arguments, **options)
        statements.append(str(self))

    monkeypatch.setattr(Compiled, "__init__", record)
    return statements


@pytest.mark.parametrize("name", CALLS)
def test_other_arguments_are_the_same_statements(memory: Memory, compiled: list[str], name: str) -> None:
    call = CALLS[name]
    for n in (0, 1, 0, 1):
        call(memory, n)
    compiled.clear()
    assert SEEN.new(lambda: [call(memory, n) for n in (2, 3, 4)]) == []
    assert compiled == []


def test_another_shape_is_seen(memory: Memory, compiled: list[str]) -> None:
    memory.search("other/*", where={"a": 1})  # the first with a filter also asks whether there is an index
    compiled.clear()
    shape = {"a": 1, "b": {"$gt": 2}, "$or": [{"c": 3}, {"d": "x"}], "e": {"$startswith": "y"}}
    (statement,) = SEEN.new(lambda: memory.search("other/*", where=shape))
    assert "memory_entries" in statement
    assert len(compiled) == 1
    assert SEEN.new(lambda: memory.search("other/*", where=shape)) == []
    assert len(compiled) == 1


def prepared(engine: Any) -> dict[str, str]:
    """The statements that are prepared on the engine's one connection, by name; a name is never given twice."""
    # At the end of a transaction psycopg would throw them away.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return dict(connection.exec_driver_sql("SELECT name, statement FROM pg_prepared_statements").all())


def test_postgresql_prepares_nothing_after_warm_up(on_postgresql: Memory, postgres_engine: Any) -> None:
    fill(on_postgresql)

    def all_of_it(rounds: int) -> dict[str, str]:
        for _, n, call in itertools.product(range(rounds), range(5), CALLS.values()):
            call(on_postgresql, n)
        return prepared(postgres_engine)

    warm = all_of_it(WARM_UP // 5 + 1)
    assert 30 < len(warm) < 100, "psycopg keeps a hundred"
    assert [text for text, times in Counter(warm.values()).items() if times > 1] == [], "for arguments of other types"
    assert all_of_it(2) == warm
