"""What an error of Redis or its driver means: the one place where that is decided (R29)."""

from __future__ import annotations

import redis.exceptions as driver

from agentmem.errors import AgentMemError, BackendError, OutcomeUnknown, PermissionDenied, Unavailable

_REFUSALS = (driver.AuthenticationError, driver.AuthorizationError, driver.NoPermissionError)
_REFUSAL_CODES = ("NOAUTH", "WRONGPASS", "NOPERM", "invalid username-password", "Client sent AUTH")
#: The server answers, but not for this: it loads, fails over, runs somebody's script, has no replica.
_PASSING_CODES = ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "NOREPLICAS", "UNBLOCKED")


def translate(error: BaseException, *, uncertain: bool) -> AgentMemError:
    """By the error's class, and by the first word of what the server said.

    Args:
        error: redis-py's.
        uncertain: a write was sent, and no answer came.
    """
    text = str(error).strip() or type(error).__name__
    if uncertain:
        return OutcomeUnknown(f"the connection broke before the reply: {text}")
    if isinstance(error, _REFUSALS) or any(code in text for code in _REFUSAL_CODES):
        return PermissionDenied(text)
    if isinstance(error, driver.OutOfMemoryError) or text.startswith("OOM"):
        return Unavailable(f"the server's memory is at its limit (maxmemory): {text}")
    if isinstance(error, driver.ReadOnlyError | driver.ClusterDownError | driver.TryAgainError):
        return Unavailable(text)
    if any(code in text for code in _PASSING_CODES):
        return Unavailable(text)
    if isinstance(error, driver.ResponseError):
        retryable = "DB index is out of range" not in text and "invalid DB index" not in text
        return BackendError(f"Redis: {text}") if retryable else Unavailable(text, retryable=False)
    if isinstance(error, driver.ConnectionError | driver.TimeoutError | driver.RedisClusterException):
        return Unavailable(text)
    return BackendError(f"redis-py: {text}")
