"""Connections of a SQLAlchemy engine, which opens every one of them: its dialect, its events, a host's options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolLimitError

from agentmem.errors import AgentMemError, PoolTimeout
from agentmem.pool import drivers
from agentmem.pool.connections import Connections

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.pool import PoolProxiedConnection


class Words(NamedTuple):
    """How a transaction of ours is begun and ended."""

    begin: str
    commit: str
    rollback: str


JOINED: Final = Words("SAVEPOINT agentmem", "RELEASE SAVEPOINT agentmem", "ROLLBACK TO SAVEPOINT agentmem")
"""Within a host's transaction."""


class Link(drivers.Link):
    """A driver connection with the one cursor that its borrower uses.

    Attributes:
        words: of its transactions.
    """

    __slots__ = ("cursor", "proxy", "words")

    words: Words

    def __init__(self, proxy: PoolProxiedConnection) -> None:
        super().__init__(proxy.driver_connection)
        self.proxy = proxy
        self.cursor: Any = None


def translated(driver: drivers.Driver[Link], error: DBAPIError | PoolLimitError) -> AgentMemError:
    """What SQLAlchemy's error means, of a connection that is being opened or first used: a driver's, or its pool's."""
    if isinstance(error, PoolLimitError):
        return PoolTimeout(f"the engine's pool had no free connection: {error}")
    original = error.orig if isinstance(error.orig, Exception) else error
    return driver.translate(original, broken=True, uncertain=False)


class EngineConnections(Connections[Link]):
    """Lends the driver connections of an engine.

    Args:
        engine: opens them.
        driver: knows them.
        renew: makes the schema anew in a forked child; for a database that lives in the process alone.
        how: as Connections.
    """

    def __init__(
        self,
        engine: Engine,
        driver: drivers.Driver[Link],
        *,
        renew: Callable[[Engine], object] | None = None,
        **how: Any,
    ) -> None:
        self.engine = engine
        self._renew = renew
        super().__init__(driver, **how)

    def _connect(self) -> Link:
        try:
            return Link(self.engine.raw_connection())
        except (DBAPIError, PoolLimitError) as error:
            raise translated(self._driver, error) from error

    def apart(self) -> Link:
        """A connection that no pool counts, opened as all others are; who asks for it throws it away."""
        link = Link(self.engine.pool.recreate().connect())
        self._driver.prepare(link)
        return link

    def throw_away(self, link: Link) -> None:
        """Close it."""
        self._discard(link)

    def _return(self, link: Link) -> None:
        link.proxy.close()

    def _throw_away(self, link: Link) -> None:
        with contextlib.suppress(SQLAlchemyError):
            link.proxy.invalidate()

    def _dispose(self) -> None:
        self.engine.dispose()

    def _leave_to_parent(self) -> None:
        self.engine.dispose(close=False)

    def _begin_anew(self) -> None:
        if self._renew is not None:
            self._renew(self.engine)
