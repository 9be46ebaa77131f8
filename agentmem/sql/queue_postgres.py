"""Work queues in PostgreSQL: one statement a step, most of them a call of a function of ours (revision 0003).

A function looks at the clock, takes locks and looks again, all in one round trip; its statements are planned once in a
session, also behind PgBouncer. Where a step is one plain put or one plain ack, a statement without one is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import Unavailable
from agentmem.keys import check_namespace
from agentmem.queue_port import Exchanged, PutOutcome
from agentmem.sql import queue_calls
from agentmem.sql.connections import JOINED
from agentmem.sql.postgres_cursors import cursor_of, moment_of, pipeline
from agentmem.sql.queue_bell import Bell, channel_of
from agentmem.sql.queue_dialect import (
    BLOCKED,
    DEAD,
    LEASED,
    PIECE,
    READY,
    QueueDialect,
    lease_lost,
)
from agentmem.sql.queue_floors import EVERYTHING, Floors

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome
    from agentmem.queue_port import Exchange
    from agentmem.sql.connections import Link

ATTEMPTS_TO_CREATE: Final = 8
_STATES_OF_KINDS: Final = (READY, LEASED, BLOCKED, DEAD)

# Most acks are of one item without a group: the function sees to all others.
_ACK_ONE: Final = (
    "WITH gone AS (DELETE FROM {queue_items} WHERE id = :id AND partition = :partition AND queue = :queue "
    "AND fence = :fence AND state = 1 AND leased_until > clock_timestamp() AND group_key IS NULL RETURNING id) "
    "SELECT CASE WHEN EXISTS (SELECT FROM gone) THEN NULL ELSE (SELECT s.lost FROM {queue_items_settle}(:partition, "
    "ARRAY[:queue], CAST(ARRAY[:id] AS bigint[]), CAST(ARRAY[:fence] AS bigint[]), ARRAY['ack'], "
    "CAST(ARRAY[0] AS bigint[]), CAST(ARRAY[NULL] AS text[])) s) END"
)
_PUT_ONE: Final = (
    "INSERT INTO {queue_items} (id, partition, queue, body, rank, max_attempts, attempts, fence, state, enqueued_at, "
    "available_at, due_at) SELECT nextval('{queue_items_ids}'), p.name, :queue, :body, :rank, :most, 0, 0, "
    "CASE WHEN c.at < d.at THEN 2 ELSE 0 END, c.at, d.at, CASE WHEN c.at < d.at THEN d.at END "
    "FROM {partitions} p CROSS JOIN LATERAL (SELECT clock_timestamp() AS at WHERE p.name IS NOT NULL OFFSET 0) c "
    "CROSS JOIN LATERAL (SELECT c.at + :delay * interval '1 millisecond' AS at OFFSET 0) d WHERE p.name = :partition "
    "AND (p.namespace IS NULL OR starts_with(:queue, p.namespace)) "
    "RETURNING id, CASE WHEN CAST(:channel AS text) IS NOT NULL THEN CAST(pg_notify(:channel, '') AS text) END"
)


class PostgresQueues(QueueDialect):
    """The calls.

    Args:
        names: of the tables and functions, quoted.
        attempt: runs a step, and again where the server rolled it back for the sake of another transaction.
        apply: commands within a transaction.
    """

    now = "clock_timestamp()"
    notifies = True

    def __init__(
        self,
        names: Mapping[str, str],
        attempt: Callable[[Link, Callable[[], Any]], Any],
        apply: Callable[[Link, str, Sequence[Command]], list[Outcome]],
    ) -> None:
        ids = names["queue_items_id_seq"].replace("'", "''")
        super().__init__({**names, "queue_items_ids": ids}, style=r"%(\1)s")
        self._attempt = attempt
        self._apply = apply
        self._floors = Floors()
        self._bell = Bell()
        self._places: dict[str, tuple[str, str]] = {}
        self._steps = {
            (settles, puts, claim): self._text(queue_calls.step_of(settles, puts, claim))
            for settles in (queue_calls.NO_SETTLE, queue_calls.SETTLE_ALIKE, queue_calls.SETTLE)
            for puts in (queue_calls.NO_PUT, queue_calls.PUT_ALIKE, queue_calls.PUT)
            for claim in (queue_calls.NO_CLAIM, queue_calls.CLAIM)
        }
        self._ack_one = self._text(_ACK_ONE)
        self._put_one = self._text(_PUT_ONE)
        self._create = self._text(
            "INSERT INTO {partitions} (name, version_floor, created_at) VALUES (:partition, 0, clock_timestamp()) "
            "ON CONFLICT DO NOTHING"
        )
        self._policy = self._text("SELECT namespace FROM {partitions} WHERE name = :partition")
        self._ripen = self._text("SELECT {queue_items_ripen}(:partition, :queue, '-infinity')")
        self._redrive = self._text("SELECT {queue_items_redrive}(:partition, :queue, CAST(:limit AS integer))")
        self._purge = self._text(
            f"SELECT {{queue_items_purge}}(:partition, :queue, CAST(:kind AS smallint), :last, {PIECE})"
        )
        self._ready = self._text(
            "SELECT w.partition, w.queue FROM unnest(CAST(:partitions AS text[]), CAST(:queues AS text[])) "
            "AS w (partition, queue) WHERE EXISTS (SELECT FROM {queue_items} i WHERE i.partition = w.partition "
            "AND i.queue = w.queue AND i.state = 0) OR EXISTS (SELECT FROM {queue_items} i "
            "WHERE i.partition = w.partition AND i.queue = w.queue AND i.due_at <= clock_timestamp())"
        )

    def parameters(self, **values: Any) -> dict[str, Any]:
        """The server has its own clock."""
        return values

    def moment(self, value: int) -> datetime:
        """In UTC."""
        return moment_of(value)

    def exchange(self, link: Link, partition: str, step: Exchange) -> Exchanged:
        """One statement; with commands one transaction, in which they come last: so locks are taken in one order."""
        work = self._with_commands if step.commands else self._alone
        done: Exchanged = self._attempt(link, lambda: work(link, partition, step))
        return done

    def _alone(self, link: Link, partition: str, step: Exchange) -> Exchanged:
        if step.claim is None and len(step.settles) + len(step.puts) == 1:
            done = self._one(link, partition, step)
            if done is not None:
                return done
        return self._call(link, partition, step)

    def _with_commands(self, link: Link, partition: str, step: Exchange) -> Exchanged:
        words = link.words
        done = self._call(link, partition, step, begin=words.begin)
        link.words = JOINED
        try:
            outcomes = self._apply(link, partition, step.commands)
        finally:
            link.words = words
        link.uncertain = True
        link.cursor.execute(words.commit)
        link.uncertain = False
        return done._replace(outcomes=outcomes)

    def _call(self, link: Link, partition: str, step: Exchange, begin: str | None = None) -> Exchanged:
        """All but the commands, by the functions; in the same round trip a transaction may be begun."""
        statement, parameters = self._of_step(link, partition, step)
        for _ in range(ATTEMPTS_TO_CREATE):
            rows = self._run(link, statement, parameters, begin)
            begin = None
            if not rows:
                self._check_namespace(link, partition, step)
                continue
            lost, moment, ids = rows[0][:3]
            if lost:
                raise lease_lost(step.settles, lost)
            if ids is not None:
                return self._done(partition, step, moment, ids, rows)
            link.cursor.execute(self._create, parameters)
        raise Unavailable(f"the partition {partition!r} is dropped, or gets another policy, again and again")

    def _check_namespace(self, link: Link, partition: str, step: Exchange) -> None:
        """Say what was refused, unless the policy is another one by now."""
        for (namespace,) in self._rows(link, self._policy, partition=partition):
            for put in step.puts:
                check_namespace(put.queue, namespace)

    def _one(self, link: Link, partition: str, step: Exchange) -> Exchanged | None:
        """One plain ack or put; None for what is not plain, or finds no partition that allows it."""
        for settle in step.settles:
            if settle.verb == "ack":
                parameters = {"partition": partition, "queue": settle.queue, "id": settle.id, "fence": settle.fence}
                lost = self._run(link, self._ack_one, parameters)[0][0]
                if lost:
                    raise lease_lost(step.settles, lost)
                return Exchanged([], [], [])
        for queue, item in step.puts:
            if item.dedup_key is None and item.group is None:
                parameters = {
                    "partition": partition,
                    "queue": queue,
                    "body": item.body,
                    "rank": -item.priority,
                    "most": item.max_attempts,
                    "delay": item.delay_ms,
                    "channel": self._bell.due(link, partition, queue),
                }
                rows = self._run(link, self._put_one, parameters)
                return Exchanged([PutOutcome(rows[0][0], created=True)], [], []) if rows else None
        return None

    def _of_step(self, link: Link, partition: str, step: Exchange) -> tuple[str, dict[str, Any]]:
        settles, parameters = queue_calls.of_settles(step.settles)
        puts, of_puts = queue_calls.of_puts(step.puts)
        parameters |= of_puts | {"partition": partition}
        if step.puts:
            queues = {put.queue for put in step.puts}
            parameters["channels"] = [
                channel for queue in queues if (channel := self._bell.due(link, partition, queue))
            ]
        if step.claim is None:
            return self._steps[settles, puts, queue_calls.NO_CLAIM], parameters
        queue, limit, lease_ms, request_id = step.claim
        floor = EVERYTHING if link.words is JOINED else self._floors.of((partition, queue))
        parameters |= {"queue": queue, "limit": limit, "lease": lease_ms, "request": request_id}
        parameters |= {"above": floor.ranks, "floors": floor.ids, "ends": floor.ends, "recent": floor.recent_ms}
        return self._steps[settles, puts, queue_calls.CLAIM], parameters

    def _run(self, link: Link, statement: str, parameters: dict[str, Any], begin: str | None = None) -> Any:
        if begin is not None:
            with pipeline(link):
                link.raw.execute(begin)
                cursor = cursor_of(link.raw).execute(statement, parameters)
            return cursor.fetchall()
        link.uncertain = True
        rows = link.cursor.execute(statement, parameters).fetchall()
        link.uncertain = False
        return rows

    def _done(
        self, partition: str, step: Exchange, moment: int | None, ids: Sequence[int], rows: Sequence[Any]
    ) -> Exchanged:
        items = self.items([row[4:] for row in rows if row[4] is not None])
        ends: list[datetime] = []
        for settle in step.settles:
            if settle.verb == "extend" and moment is not None:
                ends.append(self.moment(moment) + timedelta(milliseconds=settle.delay_ms))
            elif settle.verb == "nack":
                self._floors.forget((partition, settle.queue))
        if step.claim is not None:
            self._floors.learn((partition, step.claim.queue), items, rows[0][3] or 0, step.claim.limit)
        return Exchanged([PutOutcome(abs(number), number > 0) for number in ids], items, [], ends)

    def ripen(self, link: Link, partition: str, queue: str) -> int:
        """One call."""
        return self._number(link, self._ripen, partition=partition, queue=queue)

    def redrive(self, link: Link, partition: str, queue: str, limit: int) -> int:
        """One call."""
        revived = self._number(link, self._redrive, partition=partition, queue=queue, limit=min(limit, PIECE))
        self._floors.forget((partition, queue))
        return revived

    def purge(self, link: Link, partition: str, queue: str, kind: int, last: int) -> int:
        """One call."""
        state = _STATES_OF_KINDS[kind]
        return self._number(link, self._purge, partition=partition, queue=queue, kind=state, last=last)

    def _number(self, link: Link, statement: str, **parameters: Any) -> int:
        return int(self._attempt(link, lambda: self._run(link, statement, parameters))[0][0])

    def listen(self, link: Link, place: tuple[str, str]) -> None:
        """LISTEN."""
        channel = channel_of(*place)
        self._places[channel] = place
        link.cursor.execute(f"LISTEN {channel}")

    def unlisten(self, link: Link, place: tuple[str, str]) -> None:
        """UNLISTEN."""
        channel = channel_of(*place)
        link.cursor.execute(f"UNLISTEN {channel}")
        del self._places[channel]

    def notified(self, link: Link) -> list[tuple[str, str]]:
        """What has arrived, without waiting for more."""
        channels = [notice.channel for notice in link.raw.notifies(timeout=0)]
        return [self._places[channel] for channel in channels if channel in self._places]

    def ready(self, link: Link, places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """One statement for all of them."""
        partitions, queues = zip(*places, strict=True)
        return [*map(tuple, self._rows(link, self._ready, partitions=list(partitions), queues=list(queues)))]
