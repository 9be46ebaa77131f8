"""What a database does about work queues, on one connection; and what both databases share of it.

An item's row is as of the last look at the clock: whoever reads or claims looks first (`ripen`), by the index of
`due_at`. The states' numbers are those of the rows; of a group at most one row is in a state below BLOCKED.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agentmem.entries import Problem
from agentmem.errors import LeaseLost
from agentmem.keys import successor
from agentmem.queue_port import Counts, Item, State

if TYPE_CHECKING:
    from agentmem.queue_port import Exchange, Exchanged, Settle
    from agentmem.sql.connections import Link

READY, LEASED, DELAYED, BLOCKED, DEAD = range(5)
STATES: Final[tuple[State, ...]] = ("ready", "leased", "delayed", "blocked", "dead")
#: Each row of a partition is in one of these, and each of these has an index.
KINDS: Final = ("state = 0", "due_at IS NOT NULL", "state = 3", "state = 4")
PIECE: Final = 2_000
"""So many rows are changed at once by the clock, a purge or a redrive."""

COLUMNS: Final = (
    "id, body, rank, dedup_key, group_key, max_attempts, attempts, fence, state, enqueued_at, available_at, "
    "leased_until, error"
)
_AT_QUEUE: Final = "partition = :partition AND queue = :queue"

# What a row's state says and what the other columns must say then.
_WRONG: Final = {
    "an unknown state": "state NOT BETWEEN 0 AND 4",
    "leased, and no lease; or a lease, and not leased": (
        "(state = 1) <> (leased_until IS NOT NULL AND request_id IS NOT NULL AND fence > 0 AND attempts > 0)"
    ),
    "the next look at the clock is missing or too late": (
        "(due_at IS NOT NULL) <> (state IN (1, 2)) OR (state = 1 AND due_at > leased_until) "
        "OR (state = 2 AND due_at <> available_at)"
    ),
    "blocked, and of no group": "state = 3 AND group_key IS NULL",
    "more attempts than it may have": "max_attempts > 0 AND attempts > max_attempts",
    "available before it was put": "available_at < enqueued_at",
}


class QueueDialect(ABC):
    """Statements and steps. Those that change something are whole transactions, or savepoints of a host's.

    Args:
        names: of the tables and functions, quoted.
        style: how the driver has a parameter written, as a replacement for `re.sub`.
    """

    def __init__(self, names: Mapping[str, str], *, style: str) -> None:
        self._names = names
        self._style = style
        listed = f"SELECT {COLUMNS} FROM {{queue_items}} WHERE {_AT_QUEUE} AND state ="
        self._peek = self._text(f"{listed} {READY} ORDER BY rank, id LIMIT :limit")
        self._dead = self._text(f"{listed} {DEAD} ORDER BY id LIMIT :limit")
        self._counts = self._text(
            " UNION ALL ".join(
                f"SELECT state, count(*) FROM {{queue_items}} WHERE {_AT_QUEUE} AND {kind} GROUP BY state"
                for kind in KINDS
            )
        )
        self._due = self._text(
            f"SELECT EXISTS (SELECT 1 FROM {{queue_items}} WHERE {_AT_QUEUE} AND due_at <= {self.now})"
        )
        self._queues = {bounded: self._text(_names_of_queues(bounded=bounded)) for bounded in (True, False)}
        self._last = self._text("SELECT COALESCE(max(id), 0) FROM {queue_items}")
        wrong = " ".join(f"WHEN {condition} THEN '{complaint}'" for complaint, condition in _WRONG.items())
        self._wrong = self._text(
            f"SELECT * FROM (SELECT id, partition, queue, CASE {wrong} END AS wrong FROM {{queue_items}}) AS looked_at "
            "WHERE wrong IS NOT NULL"
        )
        self._stuck = self._text(
            "SELECT b.id, b.partition, b.queue, 'blocked, and nothing of its group is before it' FROM {queue_items} b "
            "WHERE b.state = 3 AND NOT EXISTS (SELECT 1 FROM {queue_items} a WHERE a.partition = b.partition "
            "AND a.queue = b.queue AND a.group_key = b.group_key AND a.group_key IS NOT NULL AND a.state < 3 "
            "AND (a.id < b.id OR a.state = 1))"
        )
        self._orphans = self._text(
            "SELECT min(id), partition, queue, 'items in a partition that is not registered' FROM {queue_items} "
            "WHERE partition NOT IN (SELECT name FROM {partitions}) GROUP BY partition, queue"
        )

    def _text(self, statement: str) -> str:
        return re.sub(r"(?<!:):(\w+)", self._style, statement.format_map(self._names))

    #: The clock in a statement.
    now: str
    #: Whether it can tell others of a put.
    notifies: bool = False

    @abstractmethod
    def parameters(self, **values: Any) -> dict[str, Any]:
        """The named values of a statement, with what the dialect adds."""

    @abstractmethod
    def moment(self, value: Any) -> datetime:
        """A stored timestamp."""

    @abstractmethod
    def exchange(self, link: Link, partition: str, step: Exchange) -> Exchanged:
        """As QueueStore."""

    @abstractmethod
    def ripen(self, link: Link, partition: str, queue: str) -> int:
        """Write down what the clock has changed, of PIECE items at the most; how many."""

    @abstractmethod
    def redrive(self, link: Link, partition: str, queue: str, limit: int) -> int:
        """As QueueStore, of PIECE items at the most."""

    @abstractmethod
    def purge(self, link: Link, partition: str, queue: str, kind: int, last: int) -> int:
        """Remove PIECE items at the most of one of KINDS, up to an id; how many."""

    def listen(self, link: Link, place: tuple[str, str]) -> None:
        """From now on be told on this connection of what is put into a queue; for a database that can."""
        raise NotImplementedError

    def unlisten(self, link: Link, place: tuple[str, str]) -> None:
        """No more."""
        raise NotImplementedError

    def notified(self, link: Link) -> list[tuple[str, str]]:
        """Of which queues this connection was told since it was last asked."""
        raise NotImplementedError

    @abstractmethod
    def ready(self, link: Link, places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those among some queues, by partition and name, where something is ready, or will be by the next look."""

    def is_due(self, link: Link, partition: str, queue: str) -> bool:
        """Whether the clock has changed anything."""
        return bool(self._rows(link, self._due, partition=partition, queue=queue)[0][0])

    def peek(self, link: Link, partition: str, queue: str, limit: int, *, dead: bool) -> list[Item]:
        """As QueueStore, as of the last look at the clock."""
        statement = self._dead if dead else self._peek
        return self.items(self._rows(link, statement, partition=partition, queue=queue, limit=limit))

    def counts(self, link: Link, partition: str, queue: str) -> Counts:
        """As QueueStore, as of the last look at the clock; one statement."""
        rows = self._rows(link, self._counts, partition=partition, queue=queue)
        return Counts(**{STATES[state]: number for state, number in rows})

    def queues(self, link: Link, partition: str, prefix: str) -> list[str]:
        """As QueueStore.names."""
        beyond = successor(prefix)
        bounds = {"low": prefix} if beyond is None else {"low": prefix, "beyond": beyond}
        rows = self._rows(link, self._queues[beyond is not None], partition=partition, **bounds)
        return [name for (name,) in rows]

    def last(self, link: Link) -> int:
        """The highest id of all."""
        return int(self._rows(link, self._last)[0][0])

    def problems(self, link: Link) -> list[Problem]:
        """What the books have wrong."""
        found = [
            Problem("queue", partition, queue, f"item {number}: {complaint}")
            for statement in (self._wrong, self._stuck)
            for number, partition, queue, complaint in self._rows(link, statement)
        ]
        orphans = self._rows(link, self._orphans)
        return found + [Problem("orphan", partition, queue, complaint) for _, partition, queue, complaint in orphans]

    def items(self, rows: Sequence[Sequence[Any]]) -> list[Item]:
        """Items of rows of COLUMNS."""
        moment = _Moments(self.moment).__getitem__
        return [
            Item(
                number,
                body,
                -rank,
                dedup,
                group,
                most,
                attempts,
                fence,
                STATES[state],
                moment(enqueued),
                moment(available),
                None if until is None else moment(until),
                error,
            )
            for (
                number,
                body,
                rank,
                dedup,
                group,
                most,
                attempts,
                fence,
                state,
                enqueued,
                available,
                until,
                error,
            ) in rows
        ]

    def _rows(self, link: Link, statement: str, **parameters: Any) -> Any:
        return link.cursor.execute(statement, self.parameters(**parameters)).fetchall()


class _Moments(dict[Any, datetime]):
    """Stored timestamps as datetimes, each made once: what was put or claimed together shares its own."""

    def __init__(self, make: Callable[[Any], datetime]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, stored: Any) -> datetime:
        made = self[stored] = self._make(stored)
        return made


def of_partition(names: Mapping[str, str], parameter: str) -> list[str]:
    """The statements that remove all items of a partition, each by an index."""
    return [f"DELETE FROM {names['queue_items']} WHERE partition = {parameter} AND {kind}" for kind in KINDS]


def lease_lost(settles: Sequence[Settle], lost: Sequence[int]) -> LeaseLost:
    """The refusal of a step some of whose leases do not stand."""
    refused = [settle for settle in settles if settle.id in set(lost)]
    return LeaseLost(refused[0].queue, [settle.id for settle in refused])


def _names_of_queues(*, bounded: bool) -> str:
    """One look into an index for each name, however many items it has."""
    within = " AND queue < :beyond" if bounded else ""
    walks = []
    for number, kind in enumerate(KINDS):
        following = f"SELECT min(queue) FROM {{queue_items}} WHERE partition = :partition AND {kind}{within} AND queue"
        walks.append(
            f"found{number} (name) AS (SELECT ({following} >= :low) UNION ALL "
            f"SELECT ({following} > name) FROM found{number} WHERE name IS NOT NULL)"
        )
    named = " UNION ".join(f"SELECT name FROM found{number} WHERE name IS NOT NULL" for number in range(len(KINDS)))
    return f"WITH RECURSIVE {', '.join(walks)} SELECT name FROM ({named}) AS named ORDER BY name"
