"""What an error of Redis or its driver means: the one place where that is decided (R29)."""

from __future__ import annotations

import re
from typing import Final

import redis.exceptions as driver

from agentmem.errors import (
    AgentMemError,
    BackendError,
    OutcomeUnknown,
    PermissionDenied,
    PoolTimeout,
    Unavailable,
)

_REFUSALS = (driver.AuthenticationError, driver.AuthorizationError, driver.NoPermissionError)
_REFUSAL_CODES = (
    *("NOAUTH", "WRONGPASS", "NOPERM", "invalid username-password", "Client sent AUTH"),
    "The user executing the script can't",
)
#: The server answers, but not for this: it loads, fails over, runs somebody's script, has no replica, cannot write its
#: files, moves the slot.
_PASSING_CODES = (
    *("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "NOREPLICAS", "UNBLOCKED", "MISCONF"),
    "Script attempted to access a non local key",
)
#: How Redis 6 wraps what a command in a script was answered; redis-py then does not see the code.
_IN_A_SCRIPT: Final = re.compile(r"Error running script \(.*?\): @user_script:\d+: (@user_script: ?\d+: )?-?")
#: A server that answers one of these did nothing; redis-py takes the last three for broken connections.
REFUSED: Final = (driver.ResponseError, driver.BusyLoadingError, driver.AuthenticationError, driver.AuthorizationError)


def translate(error: BaseException, *, uncertain: bool) -> AgentMemError:
    """By the error's class, and by the first word of what the server said.

    Args:
        error: redis-py's.
        uncertain: a write was sent, and no answer came.
    """
    text = _text(error)
    if uncertain:
        return OutcomeUnknown(f"the connection broke before the reply: {text}")
    if isinstance(error, _REFUSALS) or any(code in text for code in _REFUSAL_CODES):
        return PermissionDenied(text)
    if isinstance(error, driver.MaxConnectionsError) or text.startswith("No connection available"):
        return PoolTimeout(f"the host's connection pool has none left: {text}")
    if isinstance(error, driver.OutOfMemoryError) or text.startswith("OOM"):
        return Unavailable(f"the server's memory is at its limit (maxmemory): {text}")
    if isinstance(error, driver.ReadOnlyError | driver.ClusterDownError | driver.TryAgainError):
        return Unavailable(text)
    if text.startswith(_PASSING_CODES):
        return Unavailable(text)
    if isinstance(error, driver.ResponseError):
        retryable = "DB index is out of range" not in text and "invalid DB index" not in text
        return BackendError(f"Redis: {text}") if retryable else Unavailable(text, retryable=False)
    if isinstance(error, driver.ConnectionError | driver.TimeoutError | driver.RedisClusterException):
        return Unavailable(text)
    return BackendError(f"redis-py: {text}")


def is_read_only(error: BaseException) -> bool:
    """Whether the server says that it is a replica."""
    return isinstance(error, driver.ReadOnlyError) or _text(error).startswith("READONLY")


def _text(error: BaseException) -> str:
    return _IN_A_SCRIPT.sub("", str(error).strip(), count=1) or type(error).__name__
