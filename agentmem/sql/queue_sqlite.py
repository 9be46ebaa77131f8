"""Work queues in SQLite: the writer's lock is the lock of every item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from agentmem.keys import check_namespace
from agentmem.moments import from_microseconds
from agentmem.queue_port import Claim, Exchanged, Item, Put, PutOutcome
from agentmem.sql.queue_dialect import (
    BLOCKED,
    COLUMNS,
    DEAD,
    DELAYED,
    KINDS,
    LEASED,
    PIECE,
    READY,
    QueueDialect,
    lease_lost,
)

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome
    from agentmem.queue_port import Exchange, Settle
    from agentmem.sql.connections import Link

Groups = set[tuple[str, str]]
_AT_QUEUE = "partition = :partition AND queue = :queue"
_AT_GROUP = f"{_AT_QUEUE} AND group_key = :name"


class SQLiteQueues(QueueDialect):
    """One transaction a step, begun with the writer's lock in hand.

    Args:
        names: of the tables, quoted.
        clock: microseconds since 1970.
        transaction: begins and ends one on a connection.
        apply: commands within one.
    """

    now = ":now"

    def __init__(
        self,
        names: Mapping[str, str],
        clock: Callable[[], int],
        transaction: Callable[[Link], AbstractContextManager[None]],
        apply: Callable[[Link, str, Sequence[Command]], list[Outcome]],
    ) -> None:
        super().__init__(names, style=r":\1")
        self._clock = clock
        self._transaction = transaction
        self._apply = apply
        text = self._text
        self._policy = text("SELECT namespace FROM {partitions} WHERE name = :partition")
        self._create = text("INSERT INTO {partitions} (name, version_floor, created_at) VALUES (:partition, 0, :now)")
        self._insert = text(
            "INSERT INTO {queue_items} (partition, queue, body, rank, dedup_key, group_key, max_attempts, attempts, "
            "fence, state, enqueued_at, available_at, due_at) VALUES (:partition, :queue, :body, :rank, :dedup, :name, "
            ":most, 0, 0, :state, :now, :at, :due)"
        )
        self._same = text(f"SELECT id FROM {{queue_items}} WHERE {_AT_QUEUE} AND dedup_key = :dedup AND state < 4")
        self._active = text(f"SELECT id, state FROM {{queue_items}} WHERE {_AT_GROUP} AND state < 3")
        self._successor = text(
            f"SELECT id, available_at FROM {{queue_items}} WHERE {_AT_GROUP} AND state = 3 ORDER BY id LIMIT 1"
        )
        self._move = text("UPDATE {queue_items} SET state = :state, due_at = :due WHERE id = :id")
        among = "id IN (SELECT value FROM json_each(:ids))"
        self._held = text(
            "SELECT id, queue, fence, group_key, max_attempts, attempts, available_at, due_at FROM {queue_items} "
            f"WHERE {among} AND partition = :partition AND state = 1 AND leased_until > :now"
        )
        self._ack = text(f"DELETE FROM {{queue_items}} WHERE {among}")
        self._extend = text("UPDATE {queue_items} SET leased_until = :until, due_at = :due WHERE id = :id")
        self._release = text(
            "UPDATE {queue_items} SET state = :state, request_id = NULL, leased_until = NULL, available_at = :at, "
            "due_at = :due, error = :error WHERE id = :id"
        )
        self._ripe = text(
            "SELECT id, state, group_key, leased_until, max_attempts > 0 AND attempts >= max_attempts "
            f"FROM {{queue_items}} WHERE {_AT_QUEUE} AND due_at <= :now ORDER BY due_at LIMIT {PIECE}"
        )
        self._lapse = text(
            "UPDATE {queue_items} SET state = :state, request_id = NULL, leased_until = NULL, due_at = NULL "
            "WHERE id = :id"
        )
        self._again = text(
            f"SELECT {COLUMNS} FROM {{queue_items}} WHERE {_AT_QUEUE} AND request_id = :request "
            "AND leased_until > :now ORDER BY rank, id"
        )
        self._lease = text(
            "UPDATE {queue_items} SET state = 1, attempts = attempts + 1, fence = fence + 1, request_id = :request, "
            f"leased_until = :until, due_at = :until WHERE id IN (SELECT id FROM {{queue_items}} WHERE {_AT_QUEUE} "
            f"AND state = 0 ORDER BY rank, id LIMIT :limit) RETURNING {COLUMNS}"
        )
        self._lost_letters = text(
            f"SELECT id, dedup_key, group_key FROM {{queue_items}} WHERE {_AT_QUEUE} AND state = 4 AND id > :after "
            f"ORDER BY id LIMIT {PIECE}"
        )
        self._revive = text(
            "UPDATE {queue_items} SET state = :state, attempts = 0, available_at = max(:now, enqueued_at) "
            "WHERE id = :id"
        )
        self._remove = [
            text(
                f"DELETE FROM {{queue_items}} WHERE id IN (SELECT id FROM {{queue_items}} WHERE {_AT_QUEUE} AND {kind} "
                f"AND +id <= :last LIMIT {PIECE}) RETURNING group_key"
            )
            for kind in KINDS
        ]
        self._ready = text(
            f"SELECT EXISTS (SELECT 1 FROM {{queue_items}} WHERE {_AT_QUEUE} AND state = 0) "
            f"OR EXISTS (SELECT 1 FROM {{queue_items}} WHERE {_AT_QUEUE} AND due_at <= :now)"
        )

    def parameters(self, **values: Any) -> dict[str, Any]:
        """Every statement may ask for the clock."""
        values["now"] = self._clock()
        return values

    def moment(self, value: int) -> datetime:
        """An integer of microseconds."""
        return from_microseconds(value)

    def exchange(self, link: Link, partition: str, step: Exchange) -> Exchanged:
        """Statement by statement: nobody else writes."""
        with self._transaction(link):
            work = _Step(self, link, partition, self._clock())
            if step.puts:
                work.admit(step.puts)
            ends = work.settle(step.settles) if step.settles else []
            puts = work.put(step.puts) if step.puts else []
            items = work.claim(step.claim) if step.claim is not None else []
            outcomes = self._apply(link, partition, step.commands) if step.commands else []
        return Exchanged(puts, items, outcomes, ends)

    def ripen(self, link: Link, partition: str, queue: str) -> int:
        """The earliest first."""
        with self._transaction(link):
            return _Step(self, link, partition, self._clock()).ripen(queue)

    def redrive(self, link: Link, partition: str, queue: str, limit: int) -> int:
        """The lowest id first."""
        with self._transaction(link):
            return _Step(self, link, partition, self._clock()).redrive(queue, min(limit, PIECE))

    def purge(self, link: Link, partition: str, queue: str, kind: int, last: int) -> int:
        """What follows in its group is no more blocked."""
        with self._transaction(link):
            return _Step(self, link, partition, self._clock()).purge(queue, kind, last)

    def ready(self, link: Link, places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """One statement a queue."""
        return [place for place in places if self._rows(link, self._ready, partition=place[0], queue=place[1])[0][0]]


class _Step:
    """What is done within one transaction, at one moment."""

    def __init__(self, statements: SQLiteQueues, link: Link, partition: str, now: int) -> None:
        self._statements = statements
        self._cursor = link.cursor
        self._partition = partition
        self._now = now

    def _run(self, statement: str, **parameters: Any) -> Any:
        return self._cursor.execute(statement, {"partition": self._partition, "now": self._now, **parameters})

    def admit(self, puts: Sequence[Put]) -> None:
        """Refuse queues that the partition's policy forbids, and make a partition that is missing."""
        policy = self._run(self._statements._policy).fetchone()
        if policy is None:
            self._run(self._statements._create)
            return
        for put in puts:
            check_namespace(put.queue, policy[0])

    def settle(self, settles: Sequence[Settle]) -> list[datetime]:
        sql = self._statements
        ids = orjson.dumps([each.id for each in settles]).decode()
        held = {row[:3]: row[3:] for row in self._run(sql._held, ids=ids).fetchall()}
        lost = [each.id for each in settles if (each.id, each.queue, each.fence) not in held]
        if lost:
            raise lease_lost(settles, lost)
        acked = [each.id for each in settles if each.verb == "ack"]
        if acked:
            self._run(sql._ack, ids=orjson.dumps(acked).decode())
        ends = []
        groups: Groups = set()
        for each in settles:
            group, most, attempts, available, due = held[each.id, each.queue, each.fence]
            until = self._now + each.delay_ms * 1000
            if each.verb == "extend":
                self._run(sql._extend, id=each.id, until=until, due=min(due, until))
                ends.append(from_microseconds(until))
                continue
            if each.verb != "ack":
                self._release(each, group, until if each.verb == "nack" else available, spent=0 < most <= attempts)
            if group is not None:
                groups.add((each.queue, group))
        self._advance(groups)
        return ends

    def _release(self, settle: Settle, group: str | None, available: int, *, spent: bool) -> None:
        if settle.verb == "bury" or spent:
            state = DEAD
        elif group is not None:
            state = BLOCKED
        else:
            state = DELAYED if settle.delay_ms else READY
        due = available if state == DELAYED else None
        self._run(self._statements._release, id=settle.id, state=state, at=available, due=due, error=settle.error)

    def put(self, puts: Sequence[Put]) -> list[PutOutcome]:
        return [self._put(put) for put in puts]

    def _put(self, put: Put) -> PutOutcome:
        sql, item = self._statements, put.item
        if item.dedup_key is not None:
            row = self._run(sql._same, queue=put.queue, dedup=item.dedup_key).fetchone()
            if row is not None:
                return PutOutcome(row[0], created=False)
        at = self._now + item.delay_ms * 1000
        state = DELAYED if item.delay_ms else READY
        if item.group is not None and self._run(sql._active, queue=put.queue, name=item.group).fetchone():
            state = BLOCKED
        cursor = self._run(
            sql._insert,
            queue=put.queue,
            body=item.body,
            rank=-item.priority,
            dedup=item.dedup_key,
            name=item.group,
            most=item.max_attempts,
            state=state,
            at=at,
            due=at if state == DELAYED else None,
        )
        return PutOutcome(cursor.lastrowid, created=True)

    def claim(self, claim: Claim) -> list[Item]:
        sql = self._statements
        while self.ripen(claim.queue) == PIECE:
            pass
        parameters = {"queue": claim.queue, "request": claim.request_id}
        rows = self._run(sql._again, **parameters).fetchall()
        if not rows:
            until = self._now + claim.lease_ms * 1000
            rows = self._run(sql._lease, **parameters, until=until, limit=claim.limit).fetchall()
            rows.sort(key=lambda row: (row[2], row[0]))
        return sql.items(rows)

    def ripen(self, queue: str) -> int:
        sql = self._statements
        rows = self._run(sql._ripe, queue=queue).fetchall()
        groups: Groups = set()
        for number, state, group, until, spent in rows:
            if state == LEASED and until > self._now:
                # A lease that was extended is looked at again when it ends.
                self._run(sql._move, id=number, state=LEASED, due=until)
            elif state == DELAYED:
                self._run(sql._move, id=number, state=READY, due=None)
            else:
                self._run(sql._lapse, id=number, state=DEAD if spent else READY if group is None else BLOCKED)
                if group is not None:
                    groups.add((queue, group))
        self._advance(groups)
        return len(rows)

    def redrive(self, queue: str, limit: int) -> int:
        sql = self._statements
        groups: Groups = set()
        revived, after = 0, 0
        while rows := self._run(sql._lost_letters, queue=queue, after=after).fetchall():
            for number, dedup, group in rows:
                if dedup is not None and self._run(sql._same, queue=queue, dedup=dedup).fetchone():
                    continue
                self._run(sql._revive, id=number, state=READY if group is None else BLOCKED)
                revived += 1
                if group is not None:
                    groups.add((queue, group))
                if revived == limit:
                    break
            after = rows[-1][0]
            if revived == limit:
                break
        self._advance(groups)
        return revived

    def purge(self, queue: str, kind: int, last: int) -> int:
        rows = self._run(self._statements._remove[kind], queue=queue, last=last).fetchall()
        self._advance({(queue, group) for (group,) in rows if group is not None})
        return len(rows)

    def _advance(self, groups: Groups) -> None:
        """Of each group the item that is to come next becomes active, if none is leased."""
        sql = self._statements
        for queue, name in groups:
            successor = self._run(sql._successor, queue=queue, name=name).fetchone()
            active = self._run(sql._active, queue=queue, name=name).fetchone()
            if successor is None or (active and (active[1] == LEASED or active[0] < successor[0])):
                continue
            if active:
                self._run(sql._move, id=active[0], state=BLOCKED, due=None)
            later = successor[1] > self._now
            self._run(
                sql._move, id=successor[0], state=DELAYED if later else READY, due=successor[1] if later else None
            )
