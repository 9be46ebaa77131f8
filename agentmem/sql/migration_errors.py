"""What goes wrong while migrating, in the words of agentmem.errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolLimitError

from agentmem.errors import AgentMemError, ConfigurationError, PoolTimeout
from agentmem.sql import sqlite_errors


@contextmanager
def translated() -> Iterator[None]:
    """Let no error of SQLAlchemy, a driver or Alembic out (R29)."""
    from alembic.util import CommandError

    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig) from error
    except PoolLimitError as error:
        raise PoolTimeout(f"the engine's pool had no free connection: {error}") from error
    except CommandError as error:
        raise ConfigurationError(str(error)) from error


def _translate(error: Any) -> AgentMemError:
    if isinstance(error, sqlite3.Error):
        return sqlite_errors.translate(error, uncertain=False, waited="the time-out of the connection")
    from agentmem.sql import postgres_errors

    # A migration is one transaction: what broke before its end was not applied.
    return postgres_errors.translate(error, broken=True, uncertain=False)
