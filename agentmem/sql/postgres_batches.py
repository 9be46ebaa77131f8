"""PostgreSQL: batches, as one statement where they are puts only, else lock, plan and store in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentmem.commands import (
    Command,
    DeleteCommand,
    Outcome,
    PutCommand,
    TouchCommand,
    needs_body,
    plain_puts,
)
from agentmem.entries import Record, record_from
from agentmem.plan import Context, Plan, plan
from agentmem.sql import fragments, postgres_filters
from agentmem.sql.connections import JOINED, Words
from agentmem.sql.postgres_arrays import moment_array, number_array, text_array
from agentmem.sql.postgres_cursors import EPOCH_US, cursor_of, pipeline, roll_back, unix_us
from agentmem.sql.queue_dialect import of_partition
from agentmem.sql.types import POSTGRES_VERSION_CLOCK as CLOCK

if TYPE_CHECKING:
    from agentmem.sql.connections import Link

# A host's default isolation may be stricter: our row locks do that work, and a snapshot that is older than they would
# only add failures.
WORDS = Words("BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT", "ROLLBACK")
STAGE_FROM = 32 * 1024 * 1024
"""From so many characters on, puts come by COPY into a temporary table: a parameter ends at 1 GB."""
LOCK_SECONDS = 0.8
"""How long a partition's drop waits at a time for the lock on which writers wait behind it."""


class Batches:
    """The statements of batches and of maintenance."""

    def __init__(self, names: Mapping[str, str], max_value_bytes: int) -> None:
        self._names = names
        self._max_value_bytes = max_value_bytes
        self._put_many = fragments.put_many(names)
        self._put_staged = fragments.put_staged(names)
        self._placeholders = fragments.placeholders(names)
        self._lock = {bodies: fragments.lock(names, bodies=bodies) for bodies in (True, False)}
        self._lock_table = f"LOCK TABLE {names['entries']} IN ROW EXCLUSIVE MODE"
        self._store = fragments.store(names)
        self.server = fragments.server(names)
        entries, partitions = names["entries"], names["partitions"]
        self._policy = (
            f"SELECT clock_timestamp(), default_ttl_ms, namespace, version_floor FROM {partitions} "
            "WHERE name = %(partition)s"
        )
        self._create = (
            f"INSERT INTO {partitions} (name, version_floor, created_at) VALUES (%(partition)s, 0, clock_timestamp()) "
            "ON CONFLICT DO NOTHING"
        )
        self._delete = f"DELETE FROM {entries} WHERE partition = %(partition)s AND key = ANY(%(keys)s::text[])"
        self._raise_floor = (
            f"UPDATE {partitions} SET version_floor = GREATEST(version_floor, %(version)s) WHERE name = %(partition)s "
            f"AND %(version)s >= {CLOCK}"
        )
        self._drop_queues = of_partition(names, "%(partition)s")
        self._drop = (
            # In the order of a step of a queue that has commands.
            f"LOCK TABLE {names['queue_items']}, {entries}, {names['learned']} IN SHARE ROW EXCLUSIVE MODE",
            f"DELETE FROM {names['learned']} WHERE partition = %(partition)s",
            fragments.delete_partition(names),
            f"DELETE FROM {partitions} WHERE name = %(partition)s AND version_floor < {CLOCK}",
            # Versions ahead of the clock must be remembered: then the partition stays, empty and without a policy.
            (
                f"UPDATE {partitions} SET default_ttl_ms = NULL, namespace = NULL, description = NULL "
                "WHERE name = %(partition)s"
            ),
        )

    def apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """Apply a batch; a missing partition is created and the batch begun again."""
        puts = plain_puts(commands)
        for _ in range(2):
            outcomes = self._apply_puts(link, partition, puts) if puts else None
            if outcomes is None:
                outcomes = self._apply_planned(link, partition, commands)
            if outcomes is not None:
                return outcomes
            self._ensure_partition(link, partition)
        return self.apply(link, partition, commands)  # it was dropped meanwhile

    def _ensure_partition(self, link: Link, partition: str) -> None:
        link.cursor.execute(self._create, {"partition": partition})

    def _apply_puts(self, link: Link, partition: str, puts: Sequence[PutCommand]) -> list[Outcome] | None:
        ttl = puts[0].ttl
        # A host's transaction may be longer than the temporary table should live.
        if link.words is JOINED or _characters(puts) < STAGE_FROM:
            parameters = {
                "partition": partition,
                "ttl": ttl,
                "in_transaction": link.words is JOINED,
                "keys": text_array(command.key for command in puts),
                "bodies": text_array(command.body for command in puts),
                "metadatas": text_array(command.metadata for command in puts),
            }
            link.uncertain = True
            rows = link.cursor.execute(self._put_many, parameters).fetchall()
            link.uncertain = False
        else:
            rows = self._stage(link, partition, puts, ttl)
        if len(rows) < len(puts):
            return None
        stamps = {row[0]: row for row in rows}
        return [_put_outcome(command, stamps[command.key]) for command in puts]

    def _stage(self, link: Link, partition: str, puts: Iterable[PutCommand], ttl: int) -> Any:
        with _Transaction(link):
            link.cursor.execute(
                'CREATE TEMPORARY TABLE agentmem_staged (key text COLLATE "C", body text, metadata text) ON COMMIT DROP'
            )
            with link.cursor.copy("COPY pg_temp.agentmem_staged FROM STDIN") as copy:
                for command in puts:
                    copy.write_row((command.key, command.body, command.metadata))
            parameters = {"partition": partition, "ttl": ttl, "in_transaction": True}
            return link.cursor.execute(self._put_staged, parameters).fetchall()

    def _apply_planned(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome] | None:
        """Two round trips: read under locks, write and commit. An exception leaves the roll-back to the keeper."""
        stored, created, policy = self._read(link, partition, commands)
        if not policy:
            roll_back(link)
            return None
        now, default_ttl, namespace, floor = policy[0]
        context = Context(unix_us(now), default_ttl, namespace, self._max_value_bytes, floor)
        result = plan(commands, stored, context)
        self._write(link, partition, result, created, stored)
        return result.outcomes

    def _read(
        self, link: Link, partition: str, commands: Sequence[Command]
    ) -> tuple[dict[str, Record], list[str], list[Any]]:
        """Lock the keys and read them, then the policy and the clock: one round trip, BEGIN included."""
        keys = list({command.key: None for command in commands})
        # What is missing must be locked as well: another writer could put it, and be seen, before the rest of the batch
        # is, which had found it missing. One key alone has one moment.
        together = len(keys) > 1
        created = list({c.key: None for c in commands if together or not isinstance(c, DeleteCommand | TouchCommand)})
        bodies = any(map(needs_body, commands))
        execute = link.raw.execute
        with pipeline(link):
            execute(link.words.begin)
            if created:
                execute(self._placeholders, {"partition": partition, "keys": text_array(created)})
            else:
                # Rows first and the table's lock later would be the order of drop_partition reversed: a deadlock.
                execute(self._lock_table)
            rows = cursor_of(link.raw).execute(self._lock[bodies], {"partition": partition, "keys": text_array(keys)})
            policy = cursor_of(link.raw).execute(self._policy, {"partition": partition})
        return {row[0]: record(row) for row in rows.fetchall()}, created, policy.fetchall()

    def _write(
        self, link: Link, partition: str, result: Plan, created: Sequence[str], stored: Mapping[str, Record]
    ) -> None:
        """Store what was planned and commit: one round trip."""
        kept = {entry.key for entry in result.puts}
        placeholders = [key for key in created if key not in kept and stored[key].version == 0]
        gone = list({*result.deletes, *placeholders})
        execute = link.raw.execute
        link.uncertain = True
        with pipeline(link):
            if result.puts:
                execute(self._store, {"partition": partition, **_arrays(result.puts)})
            if gone:
                execute(self._delete, {"partition": partition, "keys": text_array(gone)})
            if result.lost_version:
                execute(self._raise_floor, {"partition": partition, "version": result.lost_version})
            execute(link.words.commit)
        link.uncertain = False

    def remove(
        self, link: Link, partition: str, condition: str, parameters: Mapping[str, Any], limit: int
    ) -> tuple[int, str | None]:
        """Remove the next piece."""
        statement = fragments.remove(self._names, condition, limit)
        link.uncertain = True
        rows = postgres_filters.execute(link.cursor, statement, {**parameters, "partition": partition})
        living, removed, last = rows.fetchone()
        return living, last if removed == limit else None

    def purge(self, link: Link, limit: int) -> int:
        """Remove dead rows."""
        link.uncertain = True
        # With its limit written out it is another statement for each: prepared, they would push out those of every day.
        rows = link.cursor.execute(fragments.purge(self._names, limit), {}, prepare=False)
        return int(rows.fetchone()[0])

    def drop(self, link: Link, partition: str) -> int:
        """Remove what is left of a partition while nobody writes; how many of these entries lived."""
        lock, learned, entries, row, policy = self._drop
        with _Transaction(link):
            if link.words is not JOINED:
                link.cursor.execute(f"SET LOCAL lock_timeout = '{round(LOCK_SECONDS * 1000)}ms'")
            link.cursor.execute(lock)
            for queues in self._drop_queues:
                link.cursor.execute(queues, {"partition": partition})
            link.cursor.execute(learned, {"partition": partition})
            living = link.cursor.execute(entries, {"partition": partition}).fetchone()[0]
            link.cursor.execute(row, {"partition": partition})
            link.cursor.execute(policy, {"partition": partition})
        return int(living)


class _Transaction:
    """`BEGIN … COMMIT` on an autocommit connection; an exception leaves the roll-back to the connection's keeper."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        self._link.cursor.execute(self._link.words.begin)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._link.uncertain = True
            self._link.cursor.execute(self._link.words.commit)
            self._link.uncertain = False


def record(row: Sequence[Any]) -> Record:
    """A Record of the columns in Record's order."""
    key, body, version, created, updated, expires, metadata = row
    expires_us = None if expires is None else expires + EPOCH_US
    return record_from((key, body, version, created + EPOCH_US, updated + EPOCH_US, expires_us, metadata))


def restamped(written: Record, stamps: Sequence[Any] | None) -> Record:
    """A new row as it is once the server has stamped it anew because it had to wait; None: it had not."""
    if stamps is None:
        return written
    version, moment, expires = stamps
    return written._replace(version=version, created_us=moment, updated_us=moment, expires_us=expires)


def _characters(puts: Sequence[PutCommand]) -> int:
    return sum([len(put.key) + len(put.body) + len(put.metadata or "") for put in puts])


def _put_outcome(command: PutCommand, row: Sequence[Any]) -> Outcome:
    key, *columns, stamps = row
    return Outcome(None, restamped(record((key, command.body, *columns, command.metadata)), stamps))


def _arrays(records: Sequence[Record]) -> dict[str, Any]:
    keys, bodies, versions, created, updated, expires, metadatas = zip(*records, strict=True)
    return {
        "keys": text_array(keys),
        "bodies": text_array(bodies),
        "versions": number_array(versions),
        "created": moment_array(created),
        "updated": moment_array(updated),
        "expires": moment_array(expires),
        "metadatas": text_array(metadatas),
    }
