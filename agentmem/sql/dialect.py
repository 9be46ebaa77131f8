"""What a database must supply besides SQLAlchemy's dialect: the small part that is not the same on both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy.sql.expression import ColumnElement

from agentmem.commands import Command, Outcome
from agentmem.entries import Record
from agentmem.keys import Pattern
from agentmem.pool.drivers import Driver
from agentmem.sql.connections import Link

if TYPE_CHECKING:
    from agentmem.filters import Filter
    from agentmem.sql.connections import EngineConnections
    from agentmem.sql.qtable import Learning
    from agentmem.sql.queue_dialect import QueueDialect
    from agentmem.sql.replicas import ReplicatedConnections

T = TypeVar("T")
Row = Sequence[Any]


class Dialect(Driver[Link]):
    """One database behind the one SQL repository."""

    name: ClassVar[str]
    #: Renders Core statements in the driver's own parameter style, with named parameters.
    compiler: SQLAlchemyDialect
    #: The server's clock in a statement.
    now: ColumnElement[datetime]
    #: What it does about Q-tables.
    learning: Learning
    #: What it does about work queues.
    queues: QueueDialect
    #: How many entries one statement or transaction removes at the most: writers wait for it.
    remove_at_once: int

    @abstractmethod
    def join(self, link: Link) -> None:
        """Make ready a connection that is in a host's transaction, and change nothing about either."""

    def attempt(self, link: Link, work: Callable[[], T]) -> T:
        """Run `work`, and again where the server has rolled back all of it for the sake of another transaction."""
        return work()

    def can_listen(self, link: Link) -> bool:
        """Whether a connection is told of what others notify."""
        return False

    def execute(self, link: Link, statement: str, parameters: Mapping[str, Any]) -> Any:
        """Run a statement that reads entries; the cursor with its rows."""
        return link.cursor.execute(statement, parameters)

    def index_values(
        self, connections: EngineConnections | ReplicatedConnections, partition: str, *, wanted: bool
    ) -> None:
        """See to it that a partition's values are indexed, or not, where there is such an index (Policy)."""

    def is_indexed(self, read: Callable[[Callable[[Link], Any]], Any], partition: str) -> bool:
        """Whether a partition's values are indexed, as far as is known; `read` lends a connection to find out."""
        return False

    def unfinished_indexes(self, link: Link, partitions: Sequence[str]) -> list[str]:
        """Of which partitions the index was begun and is not being built any more."""
        return []

    @abstractmethod
    def parameters(self, **values: Any) -> dict[str, Any]:
        """The named values of a statement, with what the dialect adds (SQLite: the clock)."""

    @abstractmethod
    def keys(self, keys: Sequence[str]) -> Any:
        """A list of keys as the one value that `among` takes."""

    @abstractmethod
    def among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """The condition that a column is in the list bound to `name`."""

    @abstractmethod
    def records(self, rows: Iterable[Row]) -> list[Record]:
        """Rows of statements.COLUMNS."""

    @abstractmethod
    def moment(self, value: Any) -> datetime:
        """A stored timestamp."""

    @abstractmethod
    def stored_moment(self, microseconds: int) -> Any:
        """A timestamp as it is compared with a column."""

    @abstractmethod
    def like(self, column: str, pattern: Pattern) -> tuple[str, dict[str, Any]]:
        """A condition that holds for exactly the keys that the pattern matches, and its parameters."""

    @abstractmethod
    def filter(self, where: Filter, *, is_indexed: bool) -> tuple[str, dict[str, Any]]:
        """A condition that holds for exactly the entries that the filter matches, and its parameters.

        Args:
            where: the filter.
            is_indexed: as is_indexed says.
        """

    @abstractmethod
    def apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """As Repository.apply."""

    @abstractmethod
    def remove(
        self, link: Link, partition: str, condition: str, parameters: Mapping[str, Any]
    ) -> tuple[int, str | None]:
        """Remove a bounded piece of what a condition covers; how many lived, and the last key if more may follow."""

    @abstractmethod
    def purge(self, link: Link, limit: int) -> int:
        """As Repository.purge."""

    @abstractmethod
    def drop(self, link: Link, partition: str) -> int:
        """Remove the partition's row and what was written meanwhile, with no writer in between; how many lived."""

    @abstractmethod
    def define(self, link: Link, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run one writing statement."""

    @abstractmethod
    def server(self, link: Link) -> tuple[str, dict[str, Any]]:
        """The server's version, and what only this backend has to tell (Stats.server)."""
