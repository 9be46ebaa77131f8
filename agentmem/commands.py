"""What crosses the waist: write commands, already validated and encoded, and what became of each.

A command is the normal form of a public operation (agentmem.operations): its key is absolute, its values are JSON
text, its TTL is one integer (see agentmem.ttl). A repository never validates arguments and never sees a user's object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from agentmem.entries import Record
from agentmem.ttl import DEFAULT, KEEP

KEEP_METADATA: Final = "\0keep"
"""In place of metadata: what stands, stays. No JSON text begins with NUL."""


class PutCommand(NamedTuple):
    """Store a body. `if_version` None and `if_absent` False: unconditionally."""

    key: str
    body: str
    metadata: str | None = None
    ttl: int = DEFAULT
    if_version: int | None = None
    if_absent: bool = False


put_from: Callable[[Sequence[Any]], PutCommand] = partial(tuple.__new__, PutCommand)
"""A PutCommand of all its fields in order, for batches: see agentmem.entries.record_from."""


class DeleteCommand(NamedTuple):
    """Remove a living entry. With `returning` the outcome carries the removed record with its body."""

    key: str
    if_version: int | None = None
    returning: bool = False


class IncrementCommand(NamedTuple):
    """Add to a number, or to `initial` where there is no living entry."""

    key: str
    by: int | float = 1
    initial: int | float = 0
    ttl: int = KEEP


class AppendCommand(NamedTuple):
    """Append a JSON array's elements to the list at the key; keep its newest `limit`."""

    key: str
    items: str
    limit: int | None = None
    ttl: int = KEEP


class MergeCommand(NamedTuple):
    """Apply an RFC 7396 merge patch, a JSON object, to the object at the key."""

    key: str
    patch: str
    ttl: int = KEEP


class TouchCommand(NamedTuple):
    """Give a living entry a new TTL; a write: its version moves."""

    key: str
    ttl: int


class CheckCommand(NamedTuple):
    """Assert the version of a living entry, or with None that there is no living entry."""

    key: str
    version: int | None


Command = PutCommand | DeleteCommand | IncrementCommand | AppendCommand | MergeCommand | TouchCommand | CheckCommand


class Outcome(NamedTuple):
    """What became of one command.

    Attributes:
        value: Delete and Touch: whether there was a living entry. Increment: the new number. Append: the new length.
            Otherwise None.
        record: the entry as written; for Delete with `returning` the entry as it was; else None.
            A Put's record may have body None: the caller knows it.
    """

    value: bool | int | float | None
    record: Record | None


def written(records: Iterable[Record]) -> list[Outcome]:
    """The outcomes of puts that wrote these records."""
    return [_outcome_from((None, record)) for record in records]


_outcome_from: Callable[[Sequence[Any]], Outcome] = partial(tuple.__new__, Outcome)


def needs_body(command: Command) -> bool:
    """Whether `plan` must see what is stored, not only that it is: to compute, to keep, to report a conflict."""
    if isinstance(command, PutCommand):
        return command.if_absent or command.if_version is not None or command.metadata == KEEP_METADATA
    return not isinstance(command, DeleteCommand) or command.returning or command.if_version is not None


def plain_puts(commands: Sequence[Command]) -> list[PutCommand] | None:
    """The commands, if they are unconditional puts of distinct keys with one TTL."""
    first = commands[0]
    if not isinstance(first, PutCommand) or first.ttl == KEEP:
        return None
    ttl = first.ttl
    puts = [
        c
        for c in commands
        if type(c) is PutCommand
        and c.ttl == ttl
        and c.if_version is None
        and not c.if_absent
        and c.metadata != KEEP_METADATA
    ]
    distinct = len(puts) == len(commands) == len({command.key for command in puts})
    return puts if distinct else None
