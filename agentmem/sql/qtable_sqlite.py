"""Learned values in SQLite: the writer's lock is the lock of every value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentmem.qtable_port import Learned
from agentmem.sql.qtable import AT_TABLE, COLUMNS, PIECE, Learning, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.sql.connections import Link


class SQLiteLearning(Learning):
    """One transaction, begun with the writer's lock in hand.

    Args:
        names: of the tables, quoted.
        clock: microseconds since 1970.
    """

    def __init__(self, names: Mapping[str, str], clock: Callable[[], int]) -> None:
        super().__init__(names, style=r":\1", among="state IN (SELECT value FROM json_each(:states))")
        self._clock = clock
        self._policy = self._text("SELECT namespace FROM {partitions} WHERE name = ?")
        self._create = self._text("INSERT INTO {partitions} (name, version_floor, created_at) VALUES (?, 0, ?)")
        whole = f"SELECT {COLUMNS} FROM {{learned}} WHERE partition = ? AND qtable = ? AND state = ?"
        self._state = self._text(whole)
        self._one = self._text(f"{whole} AND action = ?")
        self._store = self._text(
            f"INSERT INTO {{learned}} (partition, qtable, {COLUMNS}, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (partition, qtable, state, action) DO UPDATE SET value = excluded.value, "
            "visits = excluded.visits, updated_at = excluded.updated_at"
        )
        self._clear = self._text(
            f"DELETE FROM {{learned}} WHERE rowid IN (SELECT rowid FROM {{learned}} WHERE {AT_TABLE} LIMIT {PIECE})"
        )

    def lock(
        self, link: Link, partition: str, table: str, pairs: Sequence[Pair], states: Collection[str]
    ) -> list[Learned]:
        """Nobody else writes: so it is enough to read."""
        execute = link.cursor.execute
        execute(link.words.begin)
        policy = execute(self._policy, (partition,)).fetchall()
        if policy:
            self.check_namespace(table, policy[0][0])
        else:
            execute(self._create, (partition, self._clock()))
        rows: list[Any] = []
        for state in states:
            rows += execute(self._state, (partition, table, state)).fetchall()
        for state, action in pairs:
            if state not in states:
                rows += execute(self._one, (partition, table, state, action)).fetchall()
        return [Learned(*row) for row in rows]

    def lock_piece(self, link: Link, partition: str, table: str, after: Pair) -> list[Learned]:
        """As Learning."""
        parameters = {"partition": partition, "qtable": table, "state": after[0], "action": after[1], "limit": PIECE}
        return [Learned(*row) for row in link.cursor.execute(self.walk, parameters).fetchall()]

    def write(self, link: Link, partition: str, table: str, values: Sequence[Learned]) -> None:
        """As Learning."""
        now = self._clock()
        link.cursor.executemany(self._store, [(partition, table, *value, now) for value in values])
        self._commit(link)

    def clear(self, link: Link, partition: str, table: str) -> int:
        """As Learning."""
        link.cursor.execute(link.words.begin)
        removed: int = link.cursor.execute(self._clear, {"partition": partition, "qtable": table}).rowcount
        self._commit(link)
        return removed

    def _commit(self, link: Link) -> None:
        link.uncertain = True
        link.cursor.execute(link.words.commit)
        link.uncertain = False
