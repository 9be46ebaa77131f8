"""What else one could take: other stores for agents, caches, and the ORM as it is usually written.

None of them has versions, exact counters or atomic batches over all backends; what one lacks it is not asked for. Those
that are not installed are named by `missing`; `pip install agentmem-store[bench]` brings all of them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar

from sqlalchemy import JSON, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.contenders import Contender
from benchmarks.workload import PAGE

_NO_ATOMS = frozenset({"increment", "compare_and_set", "transaction"})


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "orm_entries"

    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSON)


class PlainORM(Contender):
    """SQLAlchemy as it is usually written: a Session for each call, merge, commit."""

    name = "plain ORM"
    lacks: ClassVar[frozenset[str]] = _NO_ATOMS

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        _Base.metadata.create_all(self._engine)

    def get(self, key: str) -> Any:
        with Session(self._engine) as session:
            row = session.get(_Row, key)
            assert row is not None
            return row.value

    def put(self, key: str, value: Any) -> None:
        with Session(self._engine) as session:
            session.merge(_Row(key=key, value=value))
            session.commit()

    def get_many(self, keys: list[str]) -> int:
        with Session(self._engine) as session:
            return len({row.key: row.value for row in session.scalars(select(_Row).where(_Row.key.in_(keys)))})

    def put_many(self, mapping: dict[str, Any]) -> None:
        with Session(self._engine) as session:
            for key, value in mapping.items():
                session.merge(_Row(key=key, value=value))
            session.commit()

    def search(self, prefix: str) -> int:
        chosen = select(_Row).where(_Row.key >= prefix, _Row.key < prefix + "\U0010ffff").order_by(_Row.key).limit(PAGE)
        with Session(self._engine) as session:
            return len([row.value for row in session.scalars(chosen)])

    def close(self) -> None:
        self._engine.dispose()


class _LangGraph(Contender):
    """A LangGraph store: a key's folder is its namespace."""

    lacks: ClassVar[frozenset[str]] = _NO_ATOMS
    _store: Any

    def get(self, key: str) -> Any:
        return self._store.get(*_split(key)).value

    def put(self, key: str, value: Any) -> None:
        self._store.put(*_split(key), value)

    def get_many(self, keys: list[str]) -> int:
        from langgraph.store.base import GetOp

        found = self._store.batch([GetOp(*_split(key)) for key in keys])
        return len({item.key: item.value for item in found if item is not None})

    def put_many(self, mapping: dict[str, Any]) -> None:
        from langgraph.store.base import PutOp

        self._store.batch([PutOp(*_split(key), value) for key, value in mapping.items()])

    def search(self, prefix: str) -> int:
        # It searches by whole levels and newest first: a page of the folder, not of the prefix in order.
        return len([item.value for item in self._store.search(_split(prefix)[0], limit=PAGE)])


class LangGraphSQLite(_LangGraph):
    """langgraph-checkpoint-sqlite's store."""

    name = "LangGraph SqliteStore"

    def __init__(self, url: str) -> None:
        from langgraph.store.sqlite import SqliteStore

        self._db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        self._store = SqliteStore(self._db)
        self._store.setup()

    def close(self) -> None:
        self._db.close()


class LangGraphPostgres(_LangGraph):
    """langgraph-checkpoint-postgres' store, with a pool of 8."""

    name = "LangGraph PostgresStore"
    for_threads = True

    def __init__(self, url: str) -> None:
        from langgraph.store.postgres import PostgresStore
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        arguments = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        self._pool: Any = ConnectionPool(url, min_size=1, max_size=8, kwargs=arguments, open=True)
        self._store = PostgresStore(self._pool)
        self._store.setup()

    def close(self) -> None:
        self._pool.close()


class DiskCache(Contender):
    """diskcache with JSON in place of pickle."""

    name = "diskcache"
    for_threads = True
    lacks: ClassVar[frozenset[str]] = _NO_ATOMS | {"search"}  # its increment takes no JSON

    def __init__(self, url: str) -> None:
        from diskcache import Cache, JSONDisk

        self._cache = Cache(url.removeprefix("sqlite:///") + ".cache", disk=JSONDisk, disk_compress_level=0)

    def get(self, key: str) -> Any:
        return self._cache[key]

    def put(self, key: str, value: Any) -> None:
        self._cache[key] = value

    def get_many(self, keys: list[str]) -> int:
        return len({key: self._cache[key] for key in keys})

    def put_many(self, mapping: dict[str, Any]) -> None:
        with self._cache.transact():
            for key, value in mapping.items():
                self._cache[key] = value

    def search(self, prefix: str) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self._cache.close()


class PyKeyValue(Contender):
    """py-key-value on Redis, which is asynchronous only: each call runs an event loop, a batch one for all."""

    name = "py-key-value"
    lacks: ClassVar[frozenset[str]] = _NO_ATOMS | {"search"}

    def __init__(self, url: str) -> None:
        from key_value.aio.stores.redis import RedisStore
        from redis.asyncio import Redis

        self._runner = asyncio.Runner()
        self._client = Redis.from_url(url, decode_responses=True)
        self._store: Any = RedisStore(client=self._client)

    def get(self, key: str) -> Any:
        return self._runner.run(self._store.get(key))

    def put(self, key: str, value: Any) -> None:
        self._runner.run(self._store.put(key, value))

    def get_many(self, keys: list[str]) -> int:
        return sum(value is not None for value in self._runner.run(self._store.get_many(keys)))

    def put_many(self, mapping: dict[str, Any]) -> None:
        self._runner.run(self._store.put_many(list(mapping), list(mapping.values())))

    def search(self, prefix: str) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


def _split(key: str) -> tuple[tuple[str, ...], str]:
    *folder, name = key.split("/")
    return tuple(folder), name


Made = Callable[[str], Contender]

#: By backend: the module that must be there, and the contender.
PEERS: dict[str, tuple[tuple[str, Made], ...]] = {
    "sqlite": (
        ("sqlalchemy", PlainORM),
        ("langgraph.store.sqlite", LangGraphSQLite),
        ("diskcache", DiskCache),
    ),
    "postgresql": (("sqlalchemy", PlainORM), ("langgraph.store.postgres", LangGraphPostgres)),
    "redis": (("key_value.aio.stores.redis", PyKeyValue),),
}


def available(backend: str) -> list[Made]:
    """The peers that are installed."""
    return [made for module, made in PEERS[backend] if _is_there(module)]


def missing(backend: str) -> list[str]:
    """The modules of those that are not."""
    return [module for module, _ in PEERS[backend] if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
