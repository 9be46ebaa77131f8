"""Raw drivers and agentmem behind the same few operations."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from typing import Any

import orjson
import psycopg
import redis

import agentmem
from benchmarks.workload import PAGE


class Contender(ABC):
    """One way to store; every operation is as durable as the next contender's on the same backend."""

    name: str

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

    @abstractmethod
    def close(self) -> None: ...


class AgentMem(Contender):
    """agentmem with all of its contract."""

    name = "agentmem"

    def __init__(self, url: str) -> None:
        self._memory = agentmem.connect(url, partition="bench", create="always")
        self.server_version = self._memory.stats().server_version

    def get(self, key: str) -> Any:
        return self._memory.get(key)

    def put(self, key: str, value: Any) -> None:
        self._memory.put(key, value)

    def get_many(self, keys: list[str]) -> int:
        return len(self._memory.get_many(keys))

    def put_many(self, mapping: dict[str, Any]) -> None:
        self._memory.put_many(mapping)

    def search(self, prefix: str) -> int:
        return len([entry.value for entry in self._memory.search(prefix + "*", limit=PAGE)])

    def close(self) -> None:
        self._memory.close()


class RawSQLite(Contender):
    """The limit: sqlite3, one table of key and text, WAL, synchronous=NORMAL."""

    name = "sqlite3"

    def __init__(self, url: str) -> None:
        self._db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        self._db.execute("PRAGMA journal_mode = wal")
        self._db.execute("PRAGMA synchronous = normal")
        self._db.execute("CREATE TABLE IF NOT EXISTS raw (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    def get(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM raw WHERE key = ?", (key,)).fetchone()
        return orjson.loads(row[0])

    _UPSERT = "INSERT INTO raw VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

    def put(self, key: str, value: Any) -> None:
        self._db.execute(self._UPSERT, (key, orjson.dumps(value).decode()))

    def get_many(self, keys: list[str]) -> int:
        sql = "SELECT key, value FROM raw WHERE key IN (SELECT value FROM json_each(?))"
        rows = self._db.execute(sql, (orjson.dumps(keys).decode(),)).fetchall()
        return len({key: orjson.loads(text) for key, text in rows})

    def put_many(self, mapping: dict[str, Any]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(self._UPSERT, [(key, orjson.dumps(value).decode()) for key, value in mapping.items()])
        self._db.execute("COMMIT")

    def search(self, prefix: str) -> int:
        sql = "SELECT key, value FROM raw WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
        rows = self._db.execute(sql, (prefix, prefix + "\U0010ffff", PAGE)).fetchall()
        return len([orjson.loads(text) for _, text in rows])

    def close(self) -> None:
        self._db.close()


class RawPostgres(Contender):
    """The limit: psycopg, prepared, autocommit, one table of key and jsonb."""

    name = "psycopg"

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(url, autocommit=True)
        self._db.execute('CREATE TABLE IF NOT EXISTS raw (key text COLLATE "C" PRIMARY KEY, value jsonb NOT NULL)')
        # Text in, text out: neither side pays for psycopg's own JSON.
        psycopg.types.json.set_json_loads(orjson.loads, self._db)

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

    def close(self) -> None:
        self._db.close()


class RawRedis(Contender):
    """The limit: redis-py with hiredis, a string per key; for a page, as SCAN has no order, all keys and a sort."""

    name = "redis-py"

    def __init__(self, url: str) -> None:
        self._db = redis.Redis.from_url(url)

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

    def close(self) -> None:
        self._db.close()


RAW: dict[str, type[Any]] = {"sqlite": RawSQLite, "postgresql": RawPostgres, "redis": RawRedis}
