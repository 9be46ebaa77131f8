"""Learned values in SQL: read under locks, compute, write; and the statements that both databases share.

The arithmetic is that of agentmem.qtable_port. Only where one step is all there is does PostgreSQL do it by itself.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agentmem.entries import Problem
from agentmem.errors import NamespaceError
from agentmem.keys import successor
from agentmem.qtable_port import MAX_VISITS, Known, Learned, QTableStore, Step, advanced, decayed, merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentmem.sql.connections import EngineConnections, Link
    from agentmem.sql.dialect import Dialect
    from agentmem.sql.joining import JoinedConnections
    from agentmem.sql.replicas import ReplicatedConnections

T = TypeVar("T")
Pair = tuple[str, str]

PIECE: Final = 1_000
COLUMNS: Final = "state, action, value, visits"
AT_TABLE: Final = "partition = :partition AND qtable = :qtable"
_LARGEST: Final = "1.7976931348623157e308"


class Learning(ABC):
    """What a database does about Q-tables, on one connection.

    Args:
        names: of the tables, quoted.
        style: how the driver has a parameter written, as a replacement for `re.sub`.
        among: the condition that the state is in the list bound to `states`.
    """

    def __init__(self, names: Mapping[str, str], *, style: str, among: str) -> None:
        self._names = names
        self._style = style
        piece = f"{AT_TABLE} AND (state, action) > (:state, :action) ORDER BY state, action LIMIT :limit"
        self.read = self._text(f"SELECT {COLUMNS} FROM {{learned}} WHERE {AT_TABLE} AND {among} ORDER BY state, action")
        self.walk = self._text(f"SELECT {COLUMNS} FROM {{learned}} WHERE {piece}")
        # One look into the index for each name, however many values it has.
        following = "SELECT min(qtable) FROM {learned} WHERE partition = :partition AND qtable"
        self.tables = self._text(
            f"WITH RECURSIVE found (name) AS (SELECT ({following} >= :first) UNION ALL SELECT ({following} > name) "
            "FROM found WHERE name IS NOT NULL AND (CAST(:beyond AS text) IS NULL OR name < :beyond)) "
            "SELECT name FROM found WHERE name IS NOT NULL"
        )
        self.wrong = self._text(
            f"SELECT partition, qtable, {COLUMNS} FROM {{learned}} WHERE visits < 0 OR visits > {MAX_VISITS} "
            f"OR NOT (value >= -{_LARGEST} AND value <= {_LARGEST})"
        )
        self.orphans = self._text(
            "SELECT DISTINCT partition FROM {learned} WHERE partition NOT IN (SELECT name FROM {partitions})"
        )

    def _text(self, statement: str) -> str:
        """A statement with `:name` parameters for the driver."""
        return re.sub(r":(\w+)", self._style, statement.format_map(self._names))

    def learn(self, link: Link, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """As QTableStore."""
        pairs = {(step.state, step.action) for step in steps}
        states = {step.next_state for step in steps if step.next_state is not None}
        return self.change(link, partition, table, pairs, states, compute=lambda known: advanced(table, steps, known))

    def change(
        self,
        link: Link,
        partition: str,
        table: str,
        pairs: Collection[Pair],
        states: Collection[str],
        *,
        compute: Callable[[Known], list[Learned]],
    ) -> list[Learned]:
        """Lock some values, known or not, read them and all of some states, and store what `compute` makes of them.

        An exception leaves the roll-back to the connection's keeper.
        """
        known: Known = {}
        for learned in self.lock(link, partition, table, sorted(pairs), states):
            known.setdefault(learned.state, {})[learned.action] = learned
        made = compute(known)
        latest = {(learned.state, learned.action): learned for learned in made}
        self.write(link, partition, table, list(latest.values()))
        return made

    def decay(self, link: Link, partition: str, table: str, after: Pair, factor: float) -> list[Learned]:
        """Decay the next piece; what it made of it."""
        link.cursor.execute(link.words.begin)
        made = [decayed(learned, factor) for learned in self.lock_piece(link, partition, table, after)]
        self.write(link, partition, table, made)
        return made

    @abstractmethod
    def lock(
        self, link: Link, partition: str, table: str, pairs: Sequence[Pair], states: Collection[str]
    ) -> list[Learned]:
        """Begin a transaction, see to the partition, lock the pairs in order; what is known of them and the states.

        Raises:
            NamespaceError: the partition's policy forbids the table's name.
        """

    @abstractmethod
    def lock_piece(self, link: Link, partition: str, table: str, after: Pair) -> list[Learned]:
        """Lock and read the next PIECE of a table."""

    @abstractmethod
    def write(self, link: Link, partition: str, table: str, values: Sequence[Learned]) -> None:
        """Store values that are locked, and commit."""

    @abstractmethod
    def clear(self, link: Link, partition: str, table: str) -> int:
        """Remove up to PIECE values of a table."""

    @staticmethod
    def check_namespace(table: str, namespace: str | None) -> None:
        """Refuse a table outside of its partition's namespace."""
        if namespace is not None and not table.startswith(namespace):
            raise NamespaceError(table, namespace)


class SQLQTables(QTableStore):
    """The port over a repository's connections.

    Args:
        connections: of the repository.
        read: runs what may be answered by a replica.
        dialect: the database's.
    """

    def __init__(
        self,
        connections: EngineConnections | ReplicatedConnections | JoinedConnections,
        read: Callable[[Callable[[Link], Any]], Any],
        dialect: Dialect,
    ) -> None:
        self._connections = connections
        self._read = read
        self._dialect = dialect
        self._learning = dialect.learning

    def learn(self, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """As the port says; one step of PostgreSQL is one statement."""
        if not steps:
            return []
        return self._write(lambda link: self._learning.learn(link, partition, table, steps))

    def read(self, partition: str, table: str, states: Sequence[str]) -> list[Learned]:
        """As the port says; one statement."""
        return self._rows(
            self._learning.read, partition=partition, qtable=table, states=self._dialect.keys(list(set(states)))
        )

    def walk(self, partition: str, table: str, *, piece: int = PIECE) -> Iterator[Learned]:
        """As the port says; one statement a piece."""
        after = ("", "")
        while True:
            found = self._rows(
                self._learning.walk, partition=partition, qtable=table, state=after[0], action=after[1], limit=piece
            )
            yield from found
            if len(found) < piece:
                return
            after = found[-1][:2]

    def store(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """As the port says."""
        self._combine(partition, table, values, lambda _, given: given)

    def merge(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """As the port says."""
        self._combine(partition, table, values, lambda mine, given: merged(table, mine, given))

    def _combine(
        self,
        partition: str,
        table: str,
        values: Sequence[Learned],
        combined: Callable[[Learned | None, Learned], Learned],
    ) -> None:
        def compute(known: Known) -> list[Learned]:
            return [combined(known.get(given.state, {}).get(given.action), given) for given in values]

        pairs = {value[:2] for value in values}
        if pairs:
            self._write(lambda link: self._learning.change(link, partition, table, pairs, (), compute=compute))

    def decay(self, partition: str, table: str, factor: float) -> int:
        """As the port says; pieces of 1,000."""
        total, after = 0, ("", "")
        while True:

            def piece(link: Link, after: Pair = after) -> list[Learned]:
                return self._learning.decay(link, partition, table, after, factor)

            made = self._write(piece)
            total += len(made)
            if len(made) < PIECE:
                return total
            after = made[-1][:2]

    def clear(self, partition: str, table: str) -> int:
        """As the port says; pieces of 1,000."""
        total = 0
        while removed := self._write(lambda link: self._learning.clear(link, partition, table)):
            total += removed
        return total

    def names(self, partition: str, prefix: str = "") -> list[str]:
        """As the port says; costs what it returns."""
        parameters = {"partition": partition, "first": prefix, "beyond": successor(prefix)}
        rows = self._read(lambda link: link.cursor.execute(self._learning.tables, parameters).fetchall())
        return [name for (name,) in rows if name.startswith(prefix)]

    def drop(self, partition: str) -> None:
        """Remove all tables of a partition, in pieces."""
        for table in self.names(partition):
            self.clear(partition, table)

    def problems(self) -> list[Problem]:
        """For `memory.check()`; the server looks at every value."""

        def work(link: Link) -> tuple[Any, Any]:
            orphans = link.cursor.execute(self._learning.orphans, {}).fetchall()
            return orphans, link.cursor.execute(self._learning.wrong, {}).fetchall()

        orphans, wrong = self._connections.read(work)
        unregistered = "learned values in a partition that is not registered"
        return [
            *(Problem("orphan", partition, None, unregistered) for (partition,) in orphans),
            *(Problem("learned_value", row[0], row[1], problem_of(Learned(*row[2:]))) for row in wrong),
        ]

    def _write(self, work: Callable[[Link], T]) -> T:
        attempt = self._dialect.attempt
        return self._connections.write(lambda link: attempt(link, lambda: work(link)))

    def _rows(self, statement: str, **parameters: Any) -> list[Learned]:
        rows = self._read(lambda link: link.cursor.execute(statement, parameters).fetchall())
        return [Learned(*row) for row in rows]


def problem_of(learned: Learned) -> str:
    """What is wrong with a value, for people."""
    return f"{learned.action!r} in {learned.state!r} has the value {learned.value!r} of {learned.visits!r} visits"
