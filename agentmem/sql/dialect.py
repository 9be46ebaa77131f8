"""What a database must supply besides SQLAlchemy's dialect: the small part that is not the same on both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    from agentmem.sql.qtable import Learning
    from agentmem.sql.queue_dialect import QueueDialect

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

    @abstractmethod
    def join(self, link: Link) -> None:
        """Make ready a connection that is in a host's transaction, and change nothing about either."""

    def attempt(self, link: Link, work: Callable[[], T]) -> T:
        """Run `work`, and again where the server has rolled back all of it for the sake of another transaction."""
        return work()

    def can_listen(self, link: Link) -> bool:
        """Whether a connection is told of what others notify."""
        return False

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
    def record(self, row: Row) -> Record:
        """A row of statements.COLUMNS."""

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
    def filter(self, where: Filter) -> tuple[str, dict[str, Any]]:
        """A condition that holds for exactly the entries that the filter matches, and its parameters."""

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
