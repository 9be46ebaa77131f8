"""What SQLite does inside a write transaction, where nobody else writes: read, plan, store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from agentmem.commands import Command, Outcome, PutCommand, needs_body
from agentmem.entries import Record, record_from
from agentmem.keys import check_namespace
from agentmem.plan import Context, Plan, plan
from agentmem.sql.queue_dialect import of_partition
from agentmem.ttl import DEFAULT

_COLUMNS = "key, {body}, version, created_at, updated_at, expires_at, {metadata}"


class Writes:
    """The writing statements, for a cursor in a transaction that holds the writer's lock."""

    def __init__(self, names: Mapping[str, str], max_value_bytes: int) -> None:
        entries, partitions = names["entries"], names["partitions"]
        self._max_value_bytes = max_value_bytes
        among = f"FROM {entries} WHERE partition = :partition AND key IN (SELECT value FROM json_each(:keys))"
        one = f"FROM {entries} WHERE partition = :partition AND key = :key"
        full = _COLUMNS.format(body="body", metadata="metadata")
        bare = _COLUMNS.format(body="NULL", metadata="NULL")
        self._policy = f"SELECT default_ttl_ms, namespace, version_floor FROM {partitions} WHERE name = ?"
        self._create = f"INSERT INTO {partitions} (name, version_floor, created_at) VALUES (?, 0, ?)"
        self._select = {True: f"SELECT {full} {among}", False: f"SELECT {bare} {among}"}
        self._select_one = {True: f"SELECT {full} {one}", False: f"SELECT {bare} {one}"}
        self._store = (
            f"INSERT INTO {entries} (partition, key, body, version, created_at, updated_at, expires_at, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (partition, key) DO UPDATE SET body = excluded.body, "
            "version = excluded.version, created_at = excluded.created_at, updated_at = excluded.updated_at, "
            "expires_at = excluded.expires_at, metadata = excluded.metadata"
        )
        self._put_many = (
            f"INSERT INTO {entries} (partition, key, body, version, created_at, updated_at, expires_at, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (partition, key) DO UPDATE SET body = excluded.body, "
            "version = max(version + 1, excluded.version), updated_at = excluded.updated_at, "
            "created_at = CASE WHEN expires_at <= excluded.updated_at THEN excluded.created_at ELSE created_at END, "
            "expires_at = excluded.expires_at, metadata = excluded.metadata"
        )
        # Most of what is put over living entries keeps their created_at, and what is new has the stamps it was given.
        self._stamps = f"SELECT key, version, created_at {among} AND (version <> :version OR created_at <> :now)"
        dead = "expires_at IS NOT NULL AND expires_at <= :now"
        ttl = f"NULLIF(CASE :ttl WHEN {DEFAULT} THEN p.default_ttl_ms ELSE :ttl END, 0)"
        self._put = (
            f"INSERT INTO {entries} (partition, key, body, version, created_at, updated_at, expires_at, metadata) "
            f"SELECT p.name, :key, :body, max(:now, p.version_floor + 1), :now, :now, :now + {ttl} * 1000, :metadata "
            f"FROM {partitions} p WHERE p.name = :partition AND (p.namespace IS NULL "
            "OR substr(:key, 1, length(p.namespace)) = p.namespace) ON CONFLICT (partition, key) DO UPDATE SET "
            f"body = excluded.body, version = max(version + 1, :now), updated_at = :now, "
            f"created_at = CASE WHEN {dead} THEN :now ELSE created_at END, expires_at = excluded.expires_at, "
            "metadata = excluded.metadata RETURNING version, created_at, updated_at, expires_at"
        )
        self._delete = f"DELETE FROM {entries} WHERE partition = ? AND key = ?"
        self._delete_among = f"DELETE {among}"
        self._next = f"SELECT key, version, expires_at FROM {entries} WHERE partition = :partition AND key > :after"
        self._dead = (
            f"SELECT rowid, partition, version FROM {entries} WHERE expires_at IS NOT NULL AND expires_at <= ? "
            "ORDER BY expires_at LIMIT ?"
        )
        self._delete_rows = f"DELETE FROM {entries} WHERE rowid IN (SELECT value FROM json_each(?))"
        self._raise_floor = f"UPDATE {partitions} SET version_floor = max(version_floor, ?) WHERE name = ?"
        self._count_living = (
            f"SELECT sum(expires_at IS NULL OR expires_at > ?), max(version) FROM {entries} WHERE partition = ?"
        )
        self._drop_entries = f"DELETE FROM {entries} WHERE partition = ?"
        self._drop_queues = of_partition(names, "?")
        self._drop_learned = f"DELETE FROM {names['learned']} WHERE partition = ?"
        self._drop_partition = f"DELETE FROM {partitions} WHERE name = ? AND version_floor < ?"
        # Versions ahead of the clock must be remembered: then the partition stays, empty and without a policy.
        self._drop_policy = (
            f"UPDATE {partitions} SET default_ttl_ms = NULL, namespace = NULL, description = NULL WHERE name = ?"
        )

    def apply(self, cursor: Any, partition: str, commands: Sequence[Command], now: int) -> list[Outcome]:
        """Run a batch through the planner and store what it amounts to."""
        default_ttl, namespace, floor = self._partition(cursor, partition, now)
        stored = self._stored(cursor, partition, commands)
        context = Context(now, default_ttl, namespace, self._max_value_bytes, floor)
        result = plan(commands, stored, context)
        self._write(cursor, partition, result)
        self._remember(cursor, partition, result.lost_version, now)
        return result.outcomes

    def put(self, cursor: Any, partition: str, command: PutCommand, now: int) -> Outcome | None:
        """An unconditional put in one statement; None, and nothing done, where the planner must look closer."""
        parameters = {
            "partition": partition,
            "key": command.key,
            "body": command.body,
            "metadata": command.metadata,
            "ttl": command.ttl,
            "now": now,
        }
        rows = cursor.execute(self._put, parameters).fetchall()
        if not rows:
            return None
        return Outcome(None, record_from((command.key, command.body, *rows[0], command.metadata)))

    def put_many(self, cursor: Any, partition: str, puts: Sequence[PutCommand], now: int) -> list[Outcome]:
        """Unconditional puts of distinct keys with one TTL: what the planner would say, without reading first."""
        default_ttl, namespace, floor = self._partition(cursor, partition, now)
        for put in puts if namespace else ():
            check_namespace(put.key, namespace)
        ttl = default_ttl if puts[0].ttl == DEFAULT else puts[0].ttl
        expires = now + ttl * 1000 if ttl else None
        version = max(now, floor + 1)
        records = [record_from((key, body, version, now, now, expires, metadata)) for key, body, metadata, *_ in puts]
        cursor.executemany(self._put_many, [(partition, *each) for each in records])
        keys = orjson.dumps([put.key for put in puts]).decode()
        parameters = {"partition": partition, "keys": keys, "version": version, "now": now}
        stamps = {row[0]: row[1:] for row in cursor.execute(self._stamps, parameters).fetchall()}
        if stamps:
            stamp = stamps.get
            given = (version, now)
            records = [record_from((*r[:2], *stamp(r[0], given), now, expires, r[6])) for r in records]
        return [Outcome(None, each) for each in records]

    def _partition(self, cursor: Any, partition: str, now: int) -> tuple[int | None, str | None, int]:
        rows = cursor.execute(self._policy, (partition,)).fetchall()
        if rows:
            return rows[0]  # type: ignore[no-any-return]  # three columns of known types
        cursor.execute(self._create, (partition, now))
        return None, None, 0

    def _stored(self, cursor: Any, partition: str, commands: Sequence[Command]) -> dict[str, Record]:
        bodies = any(map(needs_body, commands))
        if len(commands) == 1:
            sql, parameters = self._select_one[bodies], {"partition": partition, "key": commands[0].key}
        else:
            keys = orjson.dumps([command.key for command in commands]).decode()
            sql, parameters = self._select[bodies], {"partition": partition, "keys": keys}
        return {row[0]: record_from(row) for row in cursor.execute(sql, parameters).fetchall()}

    def _write(self, cursor: Any, partition: str, result: Plan) -> None:
        if result.puts:
            cursor.executemany(self._store, [(partition, *record) for record in result.puts])
        if result.deletes:
            cursor.executemany(self._delete, [(partition, key) for key in result.deletes])

    def _remember(self, cursor: Any, partition: str, lost_version: int, now: int) -> None:
        # Only a version ahead of the clock could be given again (R12).
        if lost_version >= now:
            cursor.execute(self._raise_floor, (lost_version, partition))

    def remove(
        self, cursor: Any, partition: str, condition: str, parameters: Mapping[str, Any], *, now: int, limit: int
    ) -> tuple[int, str | None]:
        """Remove the next `limit` entries that meet the condition, in the order of keys."""
        sql = f"{self._next} AND {condition} ORDER BY key LIMIT {limit:d}"
        rows = cursor.execute(sql, {**parameters, "partition": partition, "now": now}).fetchall()
        if not rows:
            return 0, None
        keys = orjson.dumps([row[0] for row in rows]).decode()
        cursor.execute(self._delete_among, {"partition": partition, "keys": keys})
        self._remember(cursor, partition, max(row[1] for row in rows), now)
        living = sum(row[2] is None or row[2] > now for row in rows)
        return living, rows[-1][0] if len(rows) == limit else None

    def purge(self, cursor: Any, limit: int, now: int) -> int:
        """Remove up to `limit` dead entries of any partition."""
        rows = cursor.execute(self._dead, (now, limit)).fetchall()
        if rows:
            cursor.execute(self._delete_rows, (orjson.dumps([row[0] for row in rows]).decode(),))
        for _, partition, version in rows:
            self._remember(cursor, partition, version, now)
        return len(rows)

    def drop(self, cursor: Any, partition: str, now: int) -> int:
        """Remove a partition's row and every entry that is left; how many of these lived."""
        living, version = cursor.execute(self._count_living, (now, partition)).fetchall()[0]
        self._remember(cursor, partition, version or 0, now)
        cursor.execute(self._drop_entries, (partition,))
        for queues in self._drop_queues:
            cursor.execute(queues, (partition,))
        cursor.execute(self._drop_learned, (partition,))
        cursor.execute(self._drop_partition, (partition, now))
        cursor.execute(self._drop_policy, (partition,))
        return int(living or 0)
