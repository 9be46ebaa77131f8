"""Everything that agentmem raises: one tree, so that `except AgentMemError` catches all of it.

AgentMemError
├── InvalidArgument (ValueError)        refused before any I/O; nothing was changed
│   ├── InvalidKey                      R1, R5: a key or a partition's name
│   ├── InvalidPattern                  R3
│   ├── NamespaceError                  R4
│   ├── InvalidValue                    R7: names the path of the offender
│   ├── ValueTooLarge                   R8
│   ├── InvalidTTL                      R19
│   ├── InvalidFilter                   R25
│   ├── InvalidCursor                   R26
│   └── ConfigurationError              R31: an option, a URL, a missing driver
├── InvalidOperation                    R14: the stored value does not bear the operation
│   └── CounterOverflow (OverflowError)
├── VersionConflict                     R13, R16: another writer was first
├── LeaseLost                           a lease, or an item's, ended or went to another holder; nothing was changed
├── LeaseHeld                           somebody else holds the lease
├── BarrierTimeout (TimeoutError)       the other parties did not come in time
├── CorruptEntry                        R10: what is stored cannot be decoded
├── Unavailable                         the backend did not answer; the call was not applied
│   └── PoolTimeout (TimeoutError)      R32
├── OutcomeUnknown                      R18: a write was sent and its reply was lost
├── SchemaMismatch                      the database's schema is not this version's
├── PermissionDenied                    the server, or a scoped handle, refuses
├── Closed                              R35
└── BackendError                        anything else that a driver reports
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _listed(ids: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, ids[:5]))
    return f"item {shown}" if len(ids) == 1 else f"items {shown}{', …' if len(ids) > 5 else ''}"


def _rebuild(cls: type[AgentMemError], args: tuple[Any, ...], data: dict[str, Any]) -> AgentMemError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class AgentMemError(Exception):
    """The root of the tree. Every subclass carries its data as attributes and survives pickling."""

    def __reduce__(self) -> tuple[Callable[..., AgentMemError], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidArgument(AgentMemError, ValueError):
    """An argument was refused before any I/O."""


class InvalidKey(InvalidArgument):
    """A key or partition name that is not 1 to 1,024 (128) bytes of UTF-8 without NUL."""


class InvalidPattern(InvalidArgument):
    """A pattern that is no text, is too long or ends in a lone backslash."""


class NamespaceError(InvalidArgument):
    """A key to be written does not begin with the namespace in force.

    Attributes:
        key: the key that came, relative to the handle.
        namespace: the prefix that was expected, of the whole key.
    """

    def __init__(self, key: str, namespace: str, *, scoped: bool = False) -> None:
        whole = ", together with the prefix of its handle," if scoped else ""
        super().__init__(f"key {key!r}{whole} is outside of the namespace: expected it to begin with {namespace!r}")
        self.key = key
        self.namespace = namespace


class InvalidValue(InvalidArgument):
    """A value that JSON cannot hold exactly.

    Attributes:
        path: where the offender is, such as `value.steps[3].score`.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ValueTooLarge(InvalidArgument):
    """An encoded value or metadata above its limit.

    Attributes:
        size_bytes: what came.
        limit_bytes: what is allowed.
    """

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the {what} is {size_bytes:,} bytes, the limit is {limit_bytes:,} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class InvalidTTL(InvalidArgument):
    """A time to live that is not above 0 and up to 100 years."""


class InvalidFilter(InvalidArgument):
    """A malformed `where`."""


class InvalidCursor(InvalidArgument):
    """A cursor that is damaged or belongs to another query."""


class ConfigurationError(InvalidArgument):
    """An unknown option or URL scheme, a bad setting, or a driver that is not installed."""


class InvalidOperation(AgentMemError):
    """The stored value does not bear the operation, such as an increment of a string. Nothing was changed.

    Attributes:
        key: whose value it was.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key!r}: {reason}")
        self.key = key
        self.reason = reason


class CounterOverflow(InvalidOperation, OverflowError):
    """An increment would leave the range of int64, or of a finite float. Nothing was changed."""


class VersionConflict(AgentMemError):
    """Another writer was first; nothing was written.

    Attributes:
        key: where the expectation failed.
        expected: the version asked for; None when the key was to be absent.
        current: the living entry as it is now; None when there is none.
    """

    def __init__(self, key: str, expected: int | None, current: Any) -> None:
        found = "no entry" if current is None else f"version {current.version}"
        wanted = "no entry" if expected is None else f"version {expected}"
        super().__init__(f"{key!r}: expected {wanted}, found {found}")
        self.key = key
        self.expected = expected
        self.current = current


class LeaseLost(AgentMemError):
    """A lease does not stand any more: it ended, was released, or went to another holder. Nothing was changed.

    Attributes:
        name: of the lease, or of the queue.
        items: the ids of a queue's items whose leases are lost; empty for a lease.
    """

    def __init__(self, name: str, items: Iterable[int] = ()) -> None:
        self.name = name
        self.items = tuple(items)
        what = f"the lease {name!r}" if not self.items else f"the lease of {_listed(self.items)} in the queue {name!r}"
        super().__init__(f"{what} ended or went to another holder; nothing was changed")


class LeaseHeld(AgentMemError):
    """Somebody else holds the lease.

    Attributes:
        name: of the lease.
        owner: who, as the holder calls itself.
    """

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(f"the lease {name!r} is held by {owner!r}")
        self.name = name
        self.owner = owner


class BarrierTimeout(AgentMemError, TimeoutError):
    """The other parties of a barrier did not come in time. The caller's own arrival was taken back.

    Attributes:
        name: of the barrier.
        arrived: how many were there, the caller included.
        parties: how many it takes.
        waited_seconds: how long.
    """

    def __init__(self, name: str, arrived: int, parties: int, waited_seconds: float) -> None:
        super().__init__(f"{arrived} of {parties} parties came to the barrier {name!r} in {waited_seconds:g} s")
        self.name = name
        self.arrived = arrived
        self.parties = parties
        self.waited_seconds = waited_seconds


class CorruptEntry(AgentMemError):
    """A stored entry cannot be decoded: foreign data, a newer format, or a model it no longer fits.

    Attributes:
        key: which entry.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the entry {key!r} cannot be decoded: {reason}")
        self.key = key
        self.reason = reason


class Unavailable(AgentMemError):
    """The backend could not be reached or was busy too long. The call was not applied.

    Attributes:
        retryable: whether the same call may succeed later without anybody's intervention.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class PoolTimeout(Unavailable, TimeoutError):
    """No connection became free within `pool_timeout`. The call was not applied."""


class OutcomeUnknown(AgentMemError):
    """A write was sent and the connection broke before its reply: it may or may not have been applied."""


class SchemaMismatch(AgentMemError):
    """The database's schema is older or newer than this version of agentmem; the text says what to run."""


class PermissionDenied(AgentMemError):
    """The server refused the credentials or the statement, or a scoped handle was asked to leave its scope."""


class Closed(AgentMemError):
    """The handle was closed."""


class BackendError(AgentMemError):
    """A driver's error that has no better name here; its cause is attached."""
