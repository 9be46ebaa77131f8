"""Work queues on SQLite: by hand, and huey's."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import orjson

from benchmarks.queues import Huey, QueueContender


class ByHand(QueueContender):
    """sqlite3, WAL, synchronous=NORMAL, one table, and a lease that nothing ends."""

    name = "SQL by hand"

    def __init__(self, url: str) -> None:
        self._db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode = wal")
        self._db.execute("PRAGMA synchronous = normal")
        self._db.execute("CREATE TABLE raw_queue (id INTEGER PRIMARY KEY, body TEXT NOT NULL, leased_until REAL)")
        self._db.execute("CREATE INDEX ready ON raw_queue (id) WHERE leased_until IS NULL")

    def put(self, values: list[Any]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        rows = [(orjson.dumps(each).decode(),) for each in values]
        self._db.executemany("INSERT INTO raw_queue (body) VALUES (?)", rows)
        self._db.execute("COMMIT")

    def work(self, size: int) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        rows = self._db.execute(
            "UPDATE raw_queue SET leased_until = ? WHERE id IN (SELECT id FROM raw_queue WHERE leased_until IS NULL "
            "ORDER BY id LIMIT ?) RETURNING id, body",
            (time.time() + 3_600, size),
        ).fetchall()
        self._db.execute("COMMIT")
        done = [orjson.loads(body) for _, body in rows]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("DELETE FROM raw_queue WHERE id = ?", [(number,) for number, _ in rows])
        self._db.execute("COMMIT")
        return len(done)

    def close(self) -> None:
        self._db.close()


class HueyOnSQLite(Huey):
    """Its `fsync` off is synchronous=NORMAL in WAL mode, as everybody's here."""

    def opened(self, url: str) -> Any:
        from huey import SqliteHuey

        return SqliteHuey("bench", filename=url.removeprefix("sqlite:///"), results=False, fsync=False)

    def close(self) -> None:
        self._huey.storage.close()


MAKERS = ByHand, (HueyOnSQLite,)
