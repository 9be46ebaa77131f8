"""Harnesses of the backends that agentmem ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Engine, NullPool, create_engine, text

import agentmem
from agentmem.handle import repository_of
from agentmem.testing.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agentmem.memory import Memory

COUNT = "SELECT count(*) FROM memory_entries WHERE partition = :partition"
SET_VERSION = "UPDATE memory_entries SET version = :version WHERE partition = :partition AND key = :key"
CORRUPT = "UPDATE memory_entries SET body = :body WHERE partition = :partition AND key = :key"


class SQLHarness(Harness):
    """A database, and a way into it that goes around agentmem.

    Attributes:
        broken_body: what our decoder refuses and the database's own columns and checks accept.
    """

    sets_versions: ClassVar[bool] = True
    broken_body: ClassVar[str] = '{"a": '

    def corrupt(self, partition: str, key: str) -> None:
        """As Harness says."""
        changed = self._execute(CORRUPT, body=self.broken_body, partition=partition, key=key).rowcount
        if changed != 1:
            raise LookupError(f"there is no entry {key!r} in {partition!r} to corrupt")

    def set_version(self, partition: str, key: str, version: int) -> None:
        """As Harness says."""
        self._execute(SET_VERSION, version=version, partition=partition, key=key)

    def stored(self, partition: str) -> int:
        """As Harness says."""
        return int(self._execute(COUNT, partition=partition).scalar_one())

    def _execute(self, statement: str, **parameters: object) -> Any:
        engine = self._engine()
        with engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return result.freeze()() if result.returns_rows else result

    def _engine(self) -> Engine:
        raise NotImplementedError


class SQLiteFileHarness(SQLHarness):
    """A SQLite file in a directory of its own."""

    multiprocess: ClassVar[bool] = True

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory / 'contract.db'}"

    def connect(self, **options: Any) -> Memory:
        """As Harness says."""
        return agentmem.connect(self.url, **options)

    def _engine(self) -> Engine:
        return create_engine(str(self.url), poolclass=NullPool)


class SQLiteMemoryHarness(SQLHarness):
    """SQLite in memory: each handle has a store of its own, and what goes around agentmem goes to the last one's."""

    shared: ClassVar[bool] = False

    def __init__(self) -> None:
        self._last: Memory | None = None

    def connect(self, **options: Any) -> Memory:
        """As Harness says."""
        self._last = agentmem.connect("sqlite://", **options)
        return self._last

    def _engine(self) -> Engine:
        if self._last is None:
            raise LookupError("nothing was connected yet")
        engine: Engine = repository_of(self._last).engine  # type: ignore[attr-defined]  # of the SQL repository
        return engine


class PostgresHarness(SQLHarness):
    """A PostgreSQL database that has our schema and is empty.

    Args:
        url: where.
        restart: restarts its server, where that harms nobody else.
    """

    multiprocess: ClassVar[bool] = True
    # Its jsonb takes any number, a double does not.
    broken_body: ClassVar[str] = '{"a": 1e400}'

    def __init__(self, url: str, restart: Callable[[], None] | None = None) -> None:
        self.url = url
        self._restart = restart
        self._own = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)

    @property
    def restartable(self) -> bool:  # type: ignore[override]  # depends on whose server it is
        """As Harness says."""
        return self._restart is not None

    def connect(self, **options: Any) -> Memory:
        """As Harness says."""
        return agentmem.connect(self.url, **options)

    def empty(self) -> None:
        """Make the store as new: cheaper than another database."""
        self._execute("TRUNCATE memory_entries, partitions, learned_values, queue_items")

    def settle(self) -> None:
        """Autovacuum analyses what has grown; until then the plans of a table that was nearly empty are in use."""
        self._execute("ANALYZE memory_entries")

    def restart(self) -> None:
        """As Harness says."""
        if self._restart is None:
            super().restart()
        else:
            self._restart()

    def _engine(self) -> Engine:
        return self._own
