"""Learned values in PostgreSQL: a lone step in one statement, all else over rows that are locked in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import psycopg

from agentmem.qtable_port import MAX_VISITS, Learned, Step
from agentmem.sql.connections import JOINED
from agentmem.sql.postgres_cursors import cursor_of, pipeline, roll_back
from agentmem.sql.qtable import AT_TABLE, COLUMNS, PIECE, Learning, Pair

if TYPE_CHECKING:
    from agentmem.sql.connections import Link

_PLACEHOLDER: Final = -1
"""The visits of a row that is not known yet, until the end of the transaction that made it."""
_INSERT: Final = f"INSERT INTO {{learned}} AS e (partition, qtable, {COLUMNS}, updated_at) "
_ALLOWED: Final = "p.name = :partition AND (p.namespace IS NULL OR starts_with(:qtable, p.namespace))"
_CONFLICT: Final = "ON CONFLICT (partition, qtable, state, action) DO UPDATE SET"
_PAIRS: Final = "unnest(CAST(:of AS text[]), CAST(:actions AS text[])) AS r (state, action)"
# The own value, if the step leads back to its state, is read where it is locked: see _STEP.
_BEST: Final = (
    "WITH best AS MATERIALIZED (SELECT max(value) AS value FROM {learned} WHERE partition = :partition "
    "AND qtable = :qtable AND state = CAST(:next AS text) AND NOT (state = :state AND action = :action)) "
)


def _moved(value: str, own: str) -> str:
    """One step in SQL, in the order of operations that the port prescribes.

    Args:
        value: where the value moves from.
        own: it again if it is known, as one of its state's.
    """
    following = f"GREATEST((SELECT value FROM best), CASE WHEN :next = :state THEN {own} END)"
    expected = f"{_double(':gamma')} * COALESCE({following}, {_double('0')})"
    target = (
        f"CASE WHEN CAST(:next AS text) IS NULL THEN {_double(':reward')} ELSE {_double(':reward')} + {expected} END"
    )
    return f"{value} + {_double(':alpha')} * ({target} - {value})"


def _double(parameter: str) -> str:
    return f"CAST({parameter} AS double precision)"


class PostgresLearning(Learning):
    """The statements, all of them in the order of (state, action) by code point.

    Args:
        names: of the tables, quoted.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__(names, style=r"%(\1)s", among="state = ANY(CAST(:states AS text[]))")
        self._step = self._text(
            f"{_BEST}{_INSERT}SELECT p.name, :qtable, :state, :action, "
            f"{_moved(_double(':initial'), _double('NULL'))}, 1, clock_timestamp() "
            f"FROM {{partitions}} p WHERE {_ALLOWED} {_CONFLICT} value = {_moved('e.value', 'e.value')}, "
            f"visits = e.visits + 1, updated_at = clock_timestamp() WHERE e.visits < {MAX_VISITS} "
            "RETURNING value, visits"
        )
        # Rows for what is not known, and locks on those that are there: both in one pass, or two batches could meet.
        self._placeholders = self._text(
            f"{_INSERT}SELECT p.name, :qtable, r.state, r.action, 0, {_PLACEHOLDER}, clock_timestamp() "
            f"FROM {{partitions}} p, (SELECT * FROM {_PAIRS} "
            f'ORDER BY r.state COLLATE "C", r.action COLLATE "C") r WHERE {_ALLOWED} {_CONFLICT} visits = 0 WHERE false'
        )
        self._own = self._text(
            f"SELECT t.state, t.action, t.value, t.visits FROM {_PAIRS} JOIN {{learned}} t "
            "ON t.partition = :partition AND t.qtable = :qtable AND t.state = r.state AND t.action = r.action"
        )
        self._policy = self._text("SELECT namespace FROM {partitions} WHERE name = :partition")
        self._create = self._text(
            "INSERT INTO {partitions} (name, version_floor, created_at) VALUES (:partition, 0, clock_timestamp()) "
            "ON CONFLICT DO NOTHING"
        )
        self._store = self._text(
            "UPDATE {learned} t SET value = r.value, visits = r.visits, updated_at = clock_timestamp() "
            "FROM unnest(CAST(:of AS text[]), CAST(:actions AS text[]), CAST(:values AS double precision[]), "
            f"CAST(:visits AS bigint[])) AS r ({COLUMNS}) WHERE t.partition = :partition AND t.qtable = :qtable "
            "AND t.state = r.state AND t.action = r.action"
        )
        self._clear = self._text(
            f"WITH doomed AS MATERIALIZED (SELECT state, action FROM {{learned}} WHERE {AT_TABLE} "
            f"ORDER BY state, action LIMIT {PIECE} FOR UPDATE) DELETE FROM {{learned}} t USING doomed d "
            "WHERE t.partition = :partition AND t.qtable = :qtable AND t.state = d.state AND t.action = d.action"
        )

    def learn(self, link: Link, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """As Learning; a lone step by one statement, unless that finds something it was not made for."""
        # In a host's transaction an error of the statement would have to be undone by a savepoint, a round trip more.
        if len(steps) == 1 and link.words is not JOINED:
            learned = self._learn_one(link, partition, table, steps[0])
            if learned is not None:
                return [learned]
        return super().learn(link, partition, table, steps)

    def _learn_one(self, link: Link, partition: str, table: str, step: Step) -> Learned | None:
        """The step by the server; None, and nothing changed, where the other way must look closer."""
        parameters = {
            "partition": partition,
            "qtable": table,
            "state": step.state,
            "action": step.action,
            "next": step.next_state,
            "reward": step.reward,
            "alpha": step.alpha,
            "gamma": step.gamma,
            "initial": step.initial,
        }
        link.uncertain = True
        try:
            row = link.cursor.execute(self._step, parameters).fetchone()
        except psycopg.errors.NumericValueOutOfRange:
            # An overflow; or a product that underflows, which IEEE arithmetic rounds to zero and PostgreSQL refuses.
            row = None
        link.uncertain = False
        return None if row is None else Learned(step.state, step.action, *row)

    def lock(
        self, link: Link, partition: str, table: str, pairs: Sequence[Pair], states: Collection[str]
    ) -> list[Learned]:
        """As Learning; one round trip."""
        at = {"partition": partition, "qtable": table}
        parameters = {**at, "of": [pair[0] for pair in pairs], "actions": [pair[1] for pair in pairs]}
        while True:
            execute = link.raw.execute
            with pipeline(link):
                execute(link.words.begin)
                execute(self._placeholders, parameters)
                own = execute(self._own, parameters)
                others = execute(self.read, {**at, "states": list(states)}) if states else None
                policy = execute(self._policy, at)
            for (namespace,) in policy.fetchall():
                self.check_namespace(table, namespace)
            rows: list[Any] = own.fetchall()
            if len(rows) == len(pairs):
                rows += [] if others is None else others.fetchall()
                return [Learned(*row) for row in rows if row[3] != _PLACEHOLDER]
            # There is no partition yet, or there was none when its name was looked up.
            roll_back(link)
            link.cursor.execute(self._create, at)

    def lock_piece(self, link: Link, partition: str, table: str, after: Pair) -> list[Learned]:
        """As Learning."""
        parameters = {"partition": partition, "qtable": table, "state": after[0], "action": after[1], "limit": PIECE}
        return [Learned(*row) for row in link.cursor.execute(f"{self.walk} FOR UPDATE", parameters).fetchall()]

    def write(self, link: Link, partition: str, table: str, values: Sequence[Learned]) -> None:
        """As Learning; one round trip."""
        columns = map(list, zip(*values, strict=True))
        link.uncertain = True
        with pipeline(link):
            if values:
                arrays = dict(zip(("of", "actions", "values", "visits"), columns, strict=True))
                cursor_of(link.raw).execute(self._store, {"partition": partition, "qtable": table, **arrays})
            link.raw.execute(link.words.commit)
        link.uncertain = False

    def clear(self, link: Link, partition: str, table: str) -> int:
        """As Learning; one statement."""
        link.uncertain = True
        removed: int = link.cursor.execute(self._clear, {"partition": partition, "qtable": table}).rowcount
        link.uncertain = False
        return removed
