"""A host's open transaction in place of connections of our own: `memory.using(connection)`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolLimitError
from sqlalchemy.orm import Session

from agentmem.errors import Closed, ConfigurationError
from agentmem.sql.connections import Link, translated

if TYPE_CHECKING:
    from agentmem.sql.dialect import Dialect

T = TypeVar("T")

_CALL = "agentmem_call"


class JoinedConnections:
    """Lends the one connection of a host's transaction.

    Args:
        connection: in a transaction.
        dialect: knows its driver.

    Attributes:
        transaction: which one it was.
    """

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self.transaction = connection.get_transaction()
        self._dialect = dialect
        self._link = Link(connection.connection)
        try:
            dialect.join(self._link)
        except dialect.error as error:
            raise dialect.translate(error, broken=False, uncertain=False) from error

    @classmethod
    def of(cls, transaction: object, dialect: Dialect) -> JoinedConnections:
        """Those of a Connection or a Session, which begins a transaction if it has none.

        Raises:
            ConfigurationError: it is neither, of another database, in autocommit mode, or cannot begin one.
            PoolTimeout, Unavailable, PermissionDenied: a Session could not get its connection.
        """
        try:
            connection = transaction.connection() if isinstance(transaction, Session) else transaction
            if not isinstance(connection, Connection):
                raise ConfigurationError(
                    f"using() takes a SQLAlchemy Connection or Session, not {type(transaction).__module__}."
                    f"{type(transaction).__qualname__}"
                )
            if connection.dialect.name != dialect.name:
                raise ConfigurationError(
                    f"this memory is on {dialect.name}, that connection on {connection.dialect.name}"
                )
            if not connection.in_transaction():
                connection.begin()
            if _is_autocommit(connection):
                raise ConfigurationError("that connection is in autocommit mode: there is no transaction to join")
        except (DBAPIError, PoolLimitError) as error:
            raise translated(dialect, error) from error
        except SQLAlchemyError as error:  # it is closed, must be rolled back first, or knows no engine
            reason = str(error).partition("\n")[0]
            raise ConfigurationError(f"there is no transaction to join: {reason}") from error
        return cls(connection, dialect)

    @property
    def engine(self) -> Engine:
        """The host's."""
        return self._connection.engine

    def read(self, work: Callable[[Link], T]) -> T:
        """Run `work` in the transaction."""
        link = self._open()
        try:
            return work(link)
        except self._dialect.error as error:
            raise self._dialect.translate(error, broken=False, uncertain=False) from error

    def write(self, work: Callable[[Link], T]) -> T:
        """Run `work` in a savepoint of the transaction: as if it had not been, if it raises."""
        link = self._open()
        driver_error = self._dialect.error
        try:
            link.cursor.execute(f"SAVEPOINT {_CALL}")
            try:
                result = work(link)
            except BaseException:
                with contextlib.suppress(driver_error):
                    link.cursor.execute(f"ROLLBACK TO SAVEPOINT {_CALL}")
                    link.cursor.execute(f"RELEASE SAVEPOINT {_CALL}")
                raise
            link.cursor.execute(f"RELEASE SAVEPOINT {_CALL}")
        except driver_error as error:
            # Nothing takes effect before the host commits.
            raise self._dialect.translate(error, broken=False, uncertain=False) from error
        return result

    def close(self) -> None:
        """The connection is the host's."""

    def _open(self) -> Link:
        if self.transaction is None or not self.transaction.is_active or self._connection.closed:
            raise Closed("the transaction that this handle was part of has ended")
        self._link.uncertain = False
        return self._link


def _is_autocommit(connection: Connection) -> bool:
    raw: Any = connection.connection.dbapi_connection
    # On SQLite a transaction may have been begun in so many words, by a listener of the host's engine: SQLAlchemy's own
    # recipe, in which the driver's mode is that of autocommit.
    is_begun = connection.dialect.name == "sqlite" and raw.in_transaction
    return not is_begun and connection.dialect.detect_autocommit_setting(raw)
