"""What a command does to an entry: the contract's write rules as pure functions.

Every backend that can lock or compare-and-set runs a batch through `plan`; a transaction previews its own writes with
`step`. So a rule about versions, expiry or TTLs is written here and nowhere else. Statements that do a single
operation in the server repeat parts of it for speed; the contract suite holds both to the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from agentmem import keys, values
from agentmem.commands import (
    KEEP_METADATA,
    AppendCommand,
    CheckCommand,
    Command,
    DeleteCommand,
    IncrementCommand,
    MergeCommand,
    Outcome,
    PutCommand,
    TouchCommand,
)
from agentmem.entries import Record
from agentmem.errors import CounterOverflow, InvalidOperation, VersionConflict
from agentmem.ttl import DEFAULT, KEEP, NEVER

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class Context(NamedTuple):
    """What the server knows when a batch is applied.

    Attributes:
        now_us: the server's clock, in microseconds since 1970.
        default_ttl: the partition's, in milliseconds; None for never.
        namespace: the partition's; None for any.
        max_value_bytes: for bodies that grow.
        version_floor: versions up to this one were already given to entries that are gone.
        expiry_step_us: expiries are rounded up to a multiple of so many microseconds, where a server knows no finer.
    """

    now_us: int
    default_ttl: int | None
    namespace: str | None
    max_value_bytes: int
    version_floor: int = 0
    expiry_step_us: int = 1


class Plan(NamedTuple):
    """What a batch amounts to: outcomes in order, and the final state of every key it changed.

    Attributes:
        outcomes: one for each command.
        puts: records to store.
        deletes: keys to remove.
        lost_version: the highest version that belongs to no stored record any more, 0 for none; where it is ahead of
            the clock the repository must remember it, or it could be given again.
    """

    outcomes: list[Outcome]
    puts: list[Record]
    deletes: list[str]
    lost_version: int


def is_alive(record: Record | None, now_us: int) -> bool:
    """Whether the record is there for a reader at `now_us` (R22)."""
    return record is not None and (record.expires_us is None or record.expires_us > now_us)


def plan(commands: Iterable[Command], stored: Mapping[str, Record], context: Context) -> Plan:
    """Run a batch over what is stored, dead records included.

    Raises:
        VersionConflict, NamespaceError, InvalidOperation, CounterOverflow, InvalidValue, ValueTooLarge: the batch
            must not be applied.
    """
    state: dict[str, Record | None] = {}
    outcomes = []
    last_version: dict[str, int] = {}
    for command in commands:
        key = command.key
        before = state[key] if key in state else stored.get(key)
        floor = last_version.get(key, 0)
        above = context if floor <= context.version_floor else context._replace(version_floor=floor)
        outcome, after = step(command, before, above)
        outcomes.append(outcome)
        if after is not before:
            last_version[key] = max(r.version for r in (before, after) if r is not None)
            state[key] = after
    puts = [record for record in state.values() if record is not None]
    gone = [key for key, record in state.items() if record is None]
    deletes = [key for key in gone if key in stored]
    return Plan(outcomes, puts, deletes, max((last_version[key] for key in gone), default=0))


def step(command: Command, stored: Record | None, context: Context) -> tuple[Outcome, Record | None]:
    """Apply one command to one stored record, dead or alive or absent.

    Returns:
        The outcome, and what is stored afterwards: the very same object where nothing changed.

    Raises:
        As `plan`.
    """
    current = stored if is_alive(stored, context.now_us) else None
    if isinstance(command, PutCommand | IncrementCommand | AppendCommand | MergeCommand):
        keys.check_namespace(command.key, context.namespace)
    match command:
        case PutCommand():
            _expect(command.key, command.if_version, current, absent=command.if_absent)
            return _written(_store(command, command.body, command.metadata, stored, context))
        case DeleteCommand():
            _expect(command.key, command.if_version, current)
            after = None if current is not None else stored
            return Outcome(current is not None, current if command.returning else None), after
        case TouchCommand():
            if current is None:
                return Outcome(False, None), stored
            record = _store(command, cast("str", current.body), KEEP_METADATA, stored, context)
            return Outcome(True, record), record
        case CheckCommand():
            _expect(command.key, command.version, current, absent=command.version is None)
            return Outcome(None, None), stored
    value, body = _computed(command, current, context)
    record = _store(command, body, KEEP_METADATA, stored, context)
    return Outcome(value, record), record


def _written(record: Record) -> tuple[Outcome, Record]:
    return Outcome(None, record), record


def _expect(key: str, version: int | None, current: Record | None, *, absent: bool = False) -> None:
    if absent:
        if current is not None:
            raise VersionConflict(key, None, current)
    elif version is not None and (current is None or current.version != version):
        raise VersionConflict(key, version, current)


def _store(
    put: PutCommand | IncrementCommand | AppendCommand | MergeCommand | TouchCommand,
    body: str,
    metadata: str | None,
    stored: Record | None,
    context: Context,
) -> Record:
    now_us = context.now_us
    current = stored if is_alive(stored, now_us) else None
    previous = max(context.version_floor, stored.version if stored is not None else 0)
    if metadata == KEEP_METADATA:
        metadata = current.metadata if current is not None else None
    return Record(
        put.key,
        body,
        max(previous + 1, now_us),
        now_us if current is None else current.created_us,
        now_us,
        _expiry(put.ttl, current, context),
        metadata,
    )


def _expiry(ttl: int, current: Record | None, context: Context) -> int | None:
    if ttl == KEEP:
        if current is not None:
            return current.expires_us
        ttl = DEFAULT
    if ttl == DEFAULT:
        ttl = context.default_ttl or NEVER
    if ttl == NEVER:
        return None
    moment_us = context.now_us + ttl * 1000
    return moment_us + -moment_us % context.expiry_step_us


def _computed(
    command: IncrementCommand | AppendCommand | MergeCommand, current: Record | None, context: Context
) -> tuple[int | float | None, str]:
    key = command.key
    before = None if current is None else values.decode(current.body, key)
    result: int | float | None
    after: Any
    if isinstance(command, IncrementCommand):
        result = after = increment(key, command.initial if current is None else before, command.by)
    elif isinstance(command, AppendCommand):
        after = _append(command, [] if current is None else before)
        result = len(after)
    else:
        patch = values.decode(command.patch, key)
        result, after = None, merged(key, {} if current is None else before, patch)
    return result, values.encode(after, max_bytes=context.max_value_bytes)


def increment(key: str, number: Any, by: int | float) -> int | float:
    """Add within int64, or as floats as soon as one of the two is a float (R14).

    Raises:
        InvalidOperation: `number` is none.
        CounterOverflow: the sum leaves int64 or is not finite.
    """
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidOperation(key, f"increment needs a number, the value is {_kind(number)}")
    try:
        total = number + by
    except OverflowError as error:
        raise CounterOverflow(key, "the counter does not fit a float") from error
    if isinstance(total, int) and not INT64_MIN <= total <= INT64_MAX:
        raise CounterOverflow(key, "the counter would leave the range of int64")
    if isinstance(total, float) and not math.isfinite(total):
        raise CounterOverflow(key, "the counter would leave the range of floats")
    return total


def _append(command: AppendCommand, items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise InvalidOperation(command.key, f"append needs a list, the value is {_kind(items)}")
    items.extend(values.decode(command.items, command.key))
    if command.limit is not None:
        del items[: -command.limit]
    return items


def merged(key: str, target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """Merge a patch into the object at a key (R14), which may be changed by it.

    Raises:
        InvalidOperation: `target` is none.
    """
    if not isinstance(target, dict):
        raise InvalidOperation(key, f"merge needs an object, the value is {_kind(target)}")
    return merge_patch(target, patch)


def merge_patch(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396, section 2: null removes a member, an object merges into one, anything else replaces."""
    result = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patch(result.get(name), value)
        else:
            result[name] = value
    return result


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
