"""What SQLite does inside a write transaction, where nobody else writes: read, plan, store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from agentmem.commands import Command, Outcome, PutCommand, needs_body, written
from agentmem.entries import Record, record_from
from agentmem.keys import check_namespace
from agentmem.plan import Context, plan, step
from agentmem.sql.queue_dialect import of_partition
from agentmem.ttl import DEFAULT

_COLUMNS = "{e}.key, {body}, {e}.version, {e}.created_at, {e}.updated_at, {e}.expires_at, {metadata}"


class Writes:
    """The writing statements, for a cursor in a transaction that holds the writer's lock."""

    def __init__(self, names: Mapping[str, str], max_value_bytes: int) -> None:
        entries, partitions = names["entries"], names["partitions"]
        self._max_value_bytes = max_value_bytes
        among = f"FROM {entries} WHERE partition = :partition AND key IN (SELECT value FROM json_each(:keys))"
        one = f"FROM {partitions} p LEFT JOIN {entries} ON partition = p.name AND key = ? WHERE p.name = ?"
        policy = "default_ttl_ms, namespace, version_floor"
        full = _COLUMNS.format(e=entries, body="body", metadata="metadata")
        bare = _COLUMNS.format(e=entries, body="NULL", metadata="NULL")
        self._policy = f"SELECT {policy} FROM {partitions} WHERE name = ?"
        self._create = f"INSERT INTO {partitions} (name, version_floor, created_at) VALUES (?, 0, ?)"
        self._select = {True: f"SELECT rowid, {full} {among}", False: f"SELECT rowid, {bare} {among}"}
        self._select_one = {
            True: f"SELECT {policy}, {entries}.rowid, {full} {one}",
            False: f"SELECT {policy}, {entries}.rowid, {bare} {one}",
        }
        self._insert = (
            f"INSERT INTO {entries} (partition, key, body, version, created_at, updated_at, expires_at, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._update = (
            f"UPDATE {entries} SET body = ?, version = ?, created_at = ?, updated_at = ?, expires_at = ?, metadata = ? "
            "WHERE rowid = ?"
        )
        self._delete_row = f"DELETE FROM {entries} WHERE rowid = ?"
        self._stamps = f"SELECT rowid, key, version, created_at, expires_at {among}"
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
        stored, rows = self._stored(cursor, partition, commands)
        context = Context(now, default_ttl, namespace, self._max_value_bytes, floor)
        result = plan(commands, stored, context)
        self._write(cursor, partition, result.puts, rows)
        if result.deletes:
            cursor.executemany(self._delete_row, [(rows[key],) for key in result.deletes])
        self._remember(cursor, partition, result.lost_version, now)
        return result.outcomes

    def apply_one(self, cursor: Any, partition: str, command: Command, now: int) -> Outcome:
        """A batch of one: what is known of its partition and its entry comes together, and the row is known."""
        sql = self._select_one[needs_body(command)]
        rows = cursor.execute(sql, (command.key, partition)).fetchall()
        if not rows:
            cursor.execute(self._create, (partition, now))
        default_ttl, namespace, floor, row, *fields = rows[0] if rows else (None, None, 0, None)
        stored = None if row is None else record_from(fields)
        context = Context(now, default_ttl, namespace, self._max_value_bytes, floor)
        outcome, after = step(command, stored, context)
        if after is stored:
            return outcome
        if after is None:
            assert stored is not None  # noqa: S101 - else nothing changed
            cursor.execute(self._delete_row, (row,))
            self._remember(cursor, partition, stored.version, now)
        elif stored is None:
            cursor.execute(self._insert, (partition, *after))
        else:
            cursor.execute(self._update, (*after[1:], row))
        return outcome

    def put_many(self, cursor: Any, partition: str, puts: Sequence[PutCommand], now: int) -> list[Outcome]:
        """Unconditional puts of distinct keys with one TTL: what the planner would say of them, and faster."""
        default_ttl, namespace, floor = self._partition(cursor, partition, now)
        for put in puts if namespace else ():
            check_namespace(put.key, namespace)
        ttl = default_ttl if puts[0].ttl == DEFAULT else puts[0].ttl
        expires = now + ttl * 1000 if ttl else None
        least = max(now, floor + 1)
        stamps = {row[1]: row for row in self._among(cursor, self._stamps, partition, puts)}
        new = (0, "", 0, now, None)
        records = []
        for key, body, metadata, _, _, _ in puts:
            _, _, version, created, ends = stamps.get(key, new)
            if ends is not None and ends <= now:
                created = now
            records.append(record_from((key, body, max(version + 1, least), created, now, expires, metadata)))
        self._write(cursor, partition, records, {key: row[0] for key, row in stamps.items()})
        return written(records)

    def _partition(self, cursor: Any, partition: str, now: int) -> tuple[int | None, str | None, int]:
        rows = cursor.execute(self._policy, (partition,)).fetchall()
        if rows:
            return rows[0]  # type: ignore[no-any-return]  # three columns of known types
        cursor.execute(self._create, (partition, now))
        return None, None, 0

    def _among(self, cursor: Any, sql: str, partition: str, commands: Sequence[Command]) -> list[Any]:
        keys = orjson.dumps([command.key for command in commands]).decode()
        return cursor.execute(sql, {"partition": partition, "keys": keys}).fetchall()  # type: ignore[no-any-return]

    def _stored(
        self, cursor: Any, partition: str, commands: Sequence[Command]
    ) -> tuple[dict[str, Record], dict[str, int]]:
        """What stands at the keys of a batch, and the rows where it lies."""
        found = self._among(cursor, self._select[any(map(needs_body, commands))], partition, commands)
        return {row[1]: record_from(row[1:]) for row in found}, {row[1]: row[0] for row in found}

    def _write(self, cursor: Any, partition: str, records: Sequence[Record], rows: Mapping[str, int]) -> None:
        """Store records: where they lie, at half the price of looking for them again, or as new rows."""
        old = [(*record[1:], rows[record.key]) for record in records if record.key in rows]
        if old:
            cursor.executemany(self._update, old)
        if len(old) < len(records):
            new = [(partition, *record) for record in records if record.key not in rows]
            cursor.executemany(self._insert, new)

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
