"""Raw drivers and agentmem behind the same few operations; the peers are in benchmarks.peers."""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import orjson
import psycopg
import redis
from psycopg.types.json import set_json_loads

import agentmem
from benchmarks.workload import PAGE


class Contender(ABC):
    """One way to store; every operation is as durable as the next contender's on the same backend.

    Attributes:
        name: for the tables.
        lacks: the operations, by the names of its methods, that it does not have.
        for_threads: whether several threads may use it at a time.
    """

    name: str
    lacks: ClassVar[frozenset[str]] = frozenset()
    for_threads: ClassVar[bool] = False

    @abstractmethod
    def get(self, key: str) -> Any: ...

    @abstractmethod
    def put(self, key: str, value: Any) -> None: ...

    @abstractmethod
    def get_many(self, keys: list[str]) -> int: ...

    @abstractmethod
    def put_many(self, mapping: dict[str, Any]) -> None: ...

    @abstractmethod
    def search(self, prefix: str) -> int: ...

    def increment(self, key: str) -> None:
        """Add 1 to a counter, exact at any number of writers."""
        raise NotImplementedError

    def compare_and_set(self, key: str, value: Any) -> None:
        """Read a value, and replace it unless somebody else has."""
        raise NotImplementedError

    def transaction(self, mapping: dict[str, Any]) -> None:
        """Read some keys and write them all, unless somebody else has written one."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None: ...


class AgentMem(Contender):
    """agentmem with all of its contract."""

    name = "agentmem"
    for_threads = True

    def __init__(self, url: str) -> None:
        self.memory = agentmem.connect(url, partition="bench", create="always", pool_size=16)
        self.server_version = self.memory.stats().server_version

    def get(self, key: str) -> Any:
        return self.memory.get(key)

    def put(self, key: str, value: Any) -> None:
        self.memory.put(key, value)

    def get_many(self, keys: list[str]) -> int:
        return len(self.memory.get_many(keys))

    def put_many(self, mapping: dict[str, Any]) -> None:
        self.memory.put_many(mapping)

    def search(self, prefix: str) -> int:
        return len([entry.value for entry in self.memory.search(prefix + "*", limit=PAGE)])

    def increment(self, key: str) -> None:
        self.memory.increment(f"counters/{key}")

    def compare_and_set(self, key: str, value: Any) -> None:
        entry = self.memory.entry(key)
        assert entry is not None, key
        assert entry.value is not None
        self.memory.put(key, value, if_version=entry.version)

    def transaction(self, mapping: dict[str, Any]) -> None:
        with self.memory.transaction() as tx:
            assert len(tx.get_many(mapping)) == len(mapping)
            for key, value in mapping.items():
                tx.put(key, value)

    def close(self) -> None:
        self.memory.close()


class RawSQLite(Contender):
    """The limit: sqlite3, a connection per thread, one table of key and text, WAL, synchronous=NORMAL."""

    name = "sqlite3"
    for_threads = True

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite:///")
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._db.execute("PRAGMA journal_mode = wal")
        self._db.execute("CREATE TABLE IF NOT EXISTS raw (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, value INTEGER NOT NULL)")

    @property
    def _db(self) -> sqlite3.Connection:
        try:
            return self._local.db  # type: ignore[no-any-return]
        except AttributeError:
            db = sqlite3.connect(self._path, isolation_level=None, timeout=30, check_same_thread=False)
            db.execute("PRAGMA synchronous = normal")
            self._local.db = db
            self._all.append(db)
            return db

    def get(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM raw WHERE key = ?", (key,)).fetchone()
        return orjson.loads(row[0])

    _UPSERT = "INSERT INTO raw VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    _AMONG = "SELECT key, value FROM raw WHERE key IN (SELECT value FROM json_each(?))"

    def put(self, key: str, value: Any) -> None:
        self._db.execute(self._UPSERT, (key, orjson.dumps(value).decode()))

    def get_many(self, keys: list[str]) -> int:
        rows = self._db.execute(self._AMONG, (orjson.dumps(keys).decode(),)).fetchall()
        return len({key: orjson.loads(text) for key, text in rows})

    def put_many(self, mapping: dict[str, Any]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(self._UPSERT, [(key, orjson.dumps(value).decode()) for key, value in mapping.items()])
        self._db.execute("COMMIT")

    def search(self, prefix: str) -> int:
        sql = "SELECT key, value FROM raw WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
        rows = self._db.execute(sql, (prefix, prefix + "\U0010ffff", PAGE)).fetchall()
        return len([orjson.loads(text) for _, text in rows])

    def increment(self, key: str) -> None:
        sql = "INSERT INTO counters VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value"
        self._db.execute(sql, (key,)).fetchall()

    def compare_and_set(self, key: str, value: Any) -> None:
        db = self._db
        (before,) = db.execute("SELECT value FROM raw WHERE key = ?", (key,)).fetchone()
        orjson.loads(before)
        db.execute("UPDATE raw SET value = ? WHERE key = ? AND value = ?", (orjson.dumps(value).decode(), key, before))

    def transaction(self, mapping: dict[str, Any]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        assert len(db.execute(self._AMONG, (orjson.dumps(list(mapping)).decode(),)).fetchall()) == len(mapping)
        db.executemany(self._UPSERT, [(key, orjson.dumps(value).decode()) for key, value in mapping.items()])
        db.execute("COMMIT")

    def close(self) -> None:
        for db in self._all:
            db.close()


class RawPostgres(Contender):
    """The limit: psycopg, a connection per thread, prepared, autocommit, one table of key and jsonb."""

    name = "psycopg"
    for_threads = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._all: list[psycopg.Connection[Any]] = []
        self._db.execute('CREATE TABLE IF NOT EXISTS raw (key text COLLATE "C" PRIMARY KEY, value jsonb NOT NULL)')
        self._db.execute("CREATE TABLE IF NOT EXISTS counters (key text PRIMARY KEY, value bigint NOT NULL)")

    @property
    def _db(self) -> Any:
        try:
            return self._local.db
        except AttributeError:
            db = psycopg.connect(self._url, autocommit=True)
            set_json_loads(orjson.loads, db)  # psycopg's own JSON is nobody's limit
            self._local.db = db
            self._all.append(db)
            return db

    def get(self, key: str) -> Any:
        return self._db.execute("SELECT value FROM raw WHERE key = %s", (key,), prepare=True).fetchone()[0]

    _UPSERT = "INSERT INTO raw VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"

    def put(self, key: str, value: Any) -> None:
        self._db.execute(self._UPSERT, (key, orjson.dumps(value).decode()), prepare=True)

    def get_many(self, keys: list[str]) -> int:
        rows = self._db.execute("SELECT key, value FROM raw WHERE key = ANY(%s)", (keys,), prepare=True).fetchall()
        return len(dict(rows))

    def put_many(self, mapping: dict[str, Any]) -> None:
        rows = [(key, orjson.dumps(value).decode()) for key, value in mapping.items()]
        with self._db.transaction():
            self._db.cursor().executemany(self._UPSERT, rows)

    def search(self, prefix: str) -> int:
        sql = "SELECT key, value FROM raw WHERE key >= %s AND key < %s ORDER BY key LIMIT %s"
        return len(self._db.execute(sql, (prefix, prefix + "\U0010ffff", PAGE), prepare=True).fetchall())

    def increment(self, key: str) -> None:
        sql = "INSERT INTO counters VALUES (%s, 1) ON CONFLICT (key) DO UPDATE SET value = counters.value + 1"
        self._db.execute(f"{sql} RETURNING value", (key,), prepare=True).fetchall()

    def compare_and_set(self, key: str, value: Any) -> None:
        db = self._db
        before, version = db.execute(
            "SELECT value, xmin::text FROM raw WHERE key = %s", (key,), prepare=True
        ).fetchone()
        assert before is not None
        sql = "UPDATE raw SET value = %s WHERE key = %s AND xmin::text = %s"
        assert db.execute(sql, (orjson.dumps(value).decode(), key, version), prepare=True).rowcount == 1

    def transaction(self, mapping: dict[str, Any]) -> None:
        rows = [(key, orjson.dumps(value).decode()) for key, value in mapping.items()]
        sql = "SELECT key, value FROM raw WHERE key = ANY(%s) FOR UPDATE"
        with self._db.transaction():
            assert len(self._db.execute(sql, (list(mapping),), prepare=True).fetchall()) == len(mapping)
            self._db.cursor().executemany(self._UPSERT, rows)

    def close(self) -> None:
        for db in self._all:
            db.close()


class RawRedis(Contender):
    """The limit: redis-py with hiredis, a string per key; for a page, as SCAN has no order, all keys and a sort."""

    name = "redis-py"
    for_threads = True

    def __init__(self, url: str) -> None:
        self._db: Any = redis.Redis.from_url(url)

    def get(self, key: str) -> Any:
        return orjson.loads(self._db.get(key))

    def put(self, key: str, value: Any) -> None:
        self._db.set(key, orjson.dumps(value))

    def get_many(self, keys: list[str]) -> int:
        return len({key: orjson.loads(body) for key, body in zip(keys, self._db.mget(keys), strict=True) if body})

    def put_many(self, mapping: dict[str, Any]) -> None:
        pipeline = self._db.pipeline(transaction=True)  # all or nothing, as ours
        for key, value in mapping.items():
            pipeline.set(key, orjson.dumps(value))
        pipeline.execute()

    def search(self, prefix: str) -> int:
        names = sorted(set(self._db.scan_iter(match=prefix + "*", count=1_000)))[:PAGE]
        return len([orjson.loads(body) for body in self._db.mget(names)])

    def increment(self, key: str) -> None:
        self._db.incr(f"counters/{key}")

    def compare_and_set(self, key: str, value: Any) -> None:
        with self._db.pipeline() as pipeline:
            pipeline.watch(key)
            orjson.loads(pipeline.get(key))
            pipeline.multi()
            pipeline.set(key, orjson.dumps(value))
            pipeline.execute()

    def transaction(self, mapping: dict[str, Any]) -> None:
        with self._db.pipeline() as pipeline:
            pipeline.watch(*mapping)
            assert all(pipeline.mget(list(mapping)))
            pipeline.multi()
            for key, value in mapping.items():
                pipeline.set(key, orjson.dumps(value))
            pipeline.execute()

    def close(self) -> None:
        self._db.close()


RAW: dict[str, type[Any]] = {"sqlite": RawSQLite, "postgresql": RawPostgres, "redis": RawRedis}
