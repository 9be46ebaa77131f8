"""From what a caller writes to commands, and from outcomes back: the only place where a write's arguments are checked.

The methods of `Memory`, a batch and a transaction all pass here, so they take and refuse the same things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from agentmem import arguments, queue_port, values
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
    put_from,
)
from agentmem.entries import Record
from agentmem.errors import InvalidArgument, InvalidTTL, InvalidValue
from agentmem.jobs import Job, Queued
from agentmem.keys import validate_name
from agentmem.operations import (
    Ack,
    Append,
    Check,
    Delete,
    Enqueue,
    EntryOperation,
    Increment,
    Merge,
    Nack,
    Operation,
    Put,
    Result,
    Touch,
)
from agentmem.ttl import DEFAULT, KEEP, UNSET, Duration, MaybeTTL, duration_ms, to_milliseconds

if TYPE_CHECKING:
    from agentmem.scope import Scope

MAX_PRIORITY: Final = 1000
MAX_ATTEMPTS: Final = 1_000_000
MAX_ERROR_BYTES: Final = 4096

Part = Command | queue_port.Put | queue_port.Settle
PartOutcome = Outcome | queue_port.PutOutcome | None


def put(
    scope: Scope,
    key: str,
    value: Any,
    *,
    ttl: MaybeTTL = UNSET,
    metadata: Mapping[str, Any] | None = None,
    if_version: int | None = None,
    if_absent: bool = False,
) -> PutCommand:
    """Raises InvalidKey, NamespaceError, InvalidValue, ValueTooLarge, InvalidTTL, InvalidArgument."""
    absolute = scope.writable(key)
    if if_version is not None:
        if_version = arguments.whole("if_version", if_version)
        if if_absent:
            raise InvalidArgument("if_version and if_absent exclude each other: give one of them")
    if if_absent is not False:
        arguments.flag("if_absent", if_absent)
    return PutCommand(
        absolute,
        scope.encode(value),
        encoded_metadata(metadata),
        DEFAULT if ttl is UNSET else to_milliseconds(ttl),
        if_version,
        if_absent,
    )


def encoded_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """Raises InvalidValue, ValueTooLarge."""
    return None if metadata is None else values.encode_metadata(_plain(metadata))


def puts(scope: Scope, mapping: Mapping[str, Any], ttl: MaybeTTL) -> list[PutCommand]:
    """As `put` for every key of a mapping; an error about a value carries a note that names its key."""
    if not isinstance(mapping, Mapping):
        raise InvalidArgument(f"put_many takes a mapping of keys to values, not {type(mapping).__name__}")
    milliseconds = to_milliseconds(ttl)
    keys = [scope.writable(key) for key in mapping]
    # One value after the other, through all that is done with it: its parts are in the processor's cache then.
    return [
        put_from((key, _body(scope, key, value), None, milliseconds, None, False))
        for key, value in zip(keys, mapping.values(), strict=True)
    ]


def _body(scope: Scope, key: str, value: Any) -> str:
    try:
        return scope.encode(value)
    except InvalidArgument as error:
        error.add_note(f"This was the value for the key {scope.relative(key)!r}.")
        raise


def each_put(scope: Scope, pairs: Iterable[Any], ttl: MaybeTTL) -> Iterator[PutCommand]:
    """As `put_of_many` for each of any number of (key, value) pairs, which are read one at a time."""
    to_milliseconds(ttl)  # refused also where nothing follows
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidArgument(f"item {number:,} is no pair of a key and a value: {values.shown(pair)}")
        yield put_of_many(scope, *pair, ttl=ttl)


def put_of_many(
    scope: Scope, key: str, value: Any, *, ttl: MaybeTTL, metadata: Mapping[str, Any] | None = None
) -> PutCommand:
    """As `put`; an error carries a note that names its key."""
    try:
        return put(scope, key, value, ttl=ttl, metadata=metadata)
    except InvalidArgument as error:
        error.add_note(f"This was the entry {values.shown(key)}.")
        raise


def delete(scope: Scope, key: str, if_version: int | None = None, *, returning: bool = False) -> DeleteCommand:
    """Raises InvalidKey, InvalidArgument."""
    return DeleteCommand(scope.absolute(key), arguments.whole_or_none("if_version", if_version), returning)


def increment(
    scope: Scope, key: str, by: int | float = 1, initial: int | float = 0, ttl: MaybeTTL = UNSET
) -> IncrementCommand:
    """Raises InvalidKey, NamespaceError, InvalidArgument, InvalidTTL."""
    return IncrementCommand(
        scope.writable(key),
        arguments.number("by", by),
        arguments.number("initial", initial),
        to_milliseconds(ttl, unset=KEEP),
    )


def append(scope: Scope, key: str, items: tuple[Any, ...], limit: int | None = None) -> AppendCommand:
    """Raises InvalidKey, NamespaceError, InvalidArgument, InvalidValue, ValueTooLarge."""
    absolute = scope.writable(key)
    if not items:
        raise InvalidArgument("append needs at least one item")
    newest = arguments.whole_or_none("limit", limit)
    body = scope.encode(list(items), "items")
    if not body.startswith("["):
        raise InvalidValue("items", "append needs a codec that stores a list as a list")
    return AppendCommand(absolute, body, newest)


def merge(scope: Scope, key: str, mapping: Mapping[str, Any]) -> MergeCommand:
    """Raises InvalidKey, NamespaceError, InvalidValue, ValueTooLarge.

    Not for a handle with a codec: what that stores as an object is none to the user, and the server, which cannot tell,
    would merge members into it that the codec does not know.
    """
    absolute = scope.writable(key)
    patch = merge_patch_of(mapping)
    if scope.codec is not None:
        raise InvalidValue(
            "mapping", "a batch of a handle with a codec cannot merge: use memory.merge, or merge in a transaction"
        )
    return MergeCommand(absolute, scope.encode(patch, "mapping"))


def merge_patch_of(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch as a dict. Raises InvalidValue."""
    patch = _plain(mapping)
    if type(patch) is not dict:
        raise InvalidValue("mapping", f"must be a mapping, not {type(mapping).__name__}")
    return patch


def replace(scope: Scope, key: str, value: Any) -> PutCommand:
    """A new value, where metadata and TTL stay. Raises InvalidKey, NamespaceError, InvalidValue, ValueTooLarge."""
    return PutCommand(scope.writable(key), scope.encode(value), KEEP_METADATA, KEEP)


def touch(scope: Scope, key: str, ttl: MaybeTTL) -> TouchCommand:
    """Raises InvalidKey, InvalidTTL."""
    if ttl is UNSET:
        raise InvalidTTL("touch needs a TTL (None means never)")
    return TouchCommand(scope.absolute(key), to_milliseconds(ttl))


def check(scope: Scope, key: str, version: int | None) -> CheckCommand:
    """Raises InvalidKey, InvalidArgument."""
    return CheckCommand(scope.absolute(key), arguments.whole_or_none("version", version))


def enqueue(
    scope: Scope,
    queue: str,
    value: Any,
    *,
    delay: Duration = 0,
    priority: int = 0,
    dedup_key: str | None = None,
    group: str | None = None,
    max_attempts: int | None = None,
) -> queue_port.Put:
    """Raises InvalidKey, NamespaceError, InvalidValue, ValueTooLarge, InvalidArgument."""
    absolute = scope.writable(queue)
    item = queue_port.NewItem(
        scope.encode(value),
        duration_ms("delay", delay, least_ms=0),
        _priority(priority),
        None if dedup_key is None else validate_name(dedup_key, "dedup key"),
        None if group is None else validate_name(group, "group"),
        attempts(max_attempts),
    )
    return queue_port.Put(absolute, item)


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise InvalidArgument(f"priority must be a whole number from -1,000 to 1,000, not {value!r}")
    return int(value)


def attempts(max_attempts: int | None) -> int:
    """A limit of claims as the port has it. Raises InvalidArgument."""
    return 0 if max_attempts is None else arguments.whole("max_attempts", max_attempts, most=MAX_ATTEMPTS)


def settle(
    scope: Scope, job: Job, verb: queue_port.Verb, *, delay_ms: int = 0, error: object = None
) -> queue_port.Settle:
    """Raises InvalidArgument: no job, or one of a partition or a queue that the scope does not have."""
    if not isinstance(job, Job):
        raise InvalidArgument(f"a job is what claim() gives, not {type(job).__name__}")
    partition, absolute = job._place
    if partition != scope.partition or not absolute.startswith(scope.prefix) or absolute == scope.prefix:
        raise InvalidArgument(
            f"job {job.id} of the queue {job.queue!r} in the partition {partition!r} is outside of this handle"
        )
    return queue_port.Settle(absolute, job.id, job.fence, verb, delay_ms, error_text(error))


def nack(scope: Scope, job: Job, delay: Duration, error: object) -> queue_port.Settle:
    """Raises InvalidArgument."""
    return settle(scope, job, "nack", delay_ms=duration_ms("delay", delay, least_ms=0), error=error)


def error_text(error: object) -> str | None:
    """What is kept of an error: for people, so it is shortened and cleaned rather than refused."""
    if error is None:
        return None
    said = _said(error)
    text = f"{type(error).__name__}: {said}" if isinstance(error, BaseException) else said
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    return clean[:MAX_ERROR_BYTES].decode(errors="ignore")


def _said(error: object) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - of a foreign class; the item is settled all the same
        return "<its text could not be made: str() failed>"


def part(scope: Scope, operation: Operation) -> Part:
    """The command for an operation of a batch, or what it asks of a queue.

    Raises:
        InvalidArgument: it is none, or one of its arguments is bad.
    """
    match operation:
        case Enqueue(queue, value, delay, priority, dedup_key, group, max_attempts):
            return enqueue(
                scope,
                queue,
                value,
                delay=delay,
                priority=priority,
                dedup_key=dedup_key,
                group=group,
                max_attempts=max_attempts,
            )
        case Ack(job):
            return settle(scope, job, "ack")
        case Nack(job, delay, error):
            return nack(scope, job, delay, error)
        case _:
            return command(scope, operation)


def command(scope: Scope, operation: EntryOperation) -> Command:
    """The command for an operation on an entry.

    Raises:
        InvalidArgument: it is none, or one of its arguments is bad.
    """
    match operation:
        case Put(key, value, ttl, metadata, if_version, if_absent):
            return put(scope, key, value, ttl=ttl, metadata=metadata, if_version=if_version, if_absent=if_absent)
        case Delete(key, if_version):
            return delete(scope, key, if_version)
        case Increment(key, by, initial, ttl):
            return increment(scope, key, by, initial, ttl)
        case Append():
            return append(scope, operation.key, operation.items, operation.limit)
        case Merge(key, mapping):
            return merge(scope, key, mapping)
        case Touch(key, ttl):
            return touch(scope, key, ttl)
        case Check(key, version):
            return check(scope, key, version)
        case _:
            raise InvalidArgument(f"a batch is made of Put, Delete, Increment, …, not of {type(operation).__name__}")


def stored(command: PutCommand, outcome: Outcome) -> Record:
    """The record that a put wrote, with its body, which the repository need not send back."""
    record = outcome.record
    assert record is not None, "a repository answers a put with its record"  # noqa: S101
    return record if record.body is not None else Record(record.key, command.body, *record[2:])


def part_result(scope: Scope, part: Part, outcome: PartOutcome) -> Result:
    """What the caller learns about one operation of a batch."""
    if isinstance(part, queue_port.Settle | queue_port.Put):
        queued = Queued(*outcome) if isinstance(outcome, queue_port.PutOutcome) else None
        return Result(scope.relative(part.queue), queued, None)
    assert isinstance(outcome, Outcome), "a command has an outcome"  # noqa: S101
    return result(scope, part, outcome)


def result(scope: Scope, command: Command, outcome: Outcome) -> Result:
    """As `part_result`, of an operation on an entry."""
    record = stored(command, outcome) if isinstance(command, PutCommand) else outcome.record
    is_write = not isinstance(command, DeleteCommand | CheckCommand)
    entry = scope.entry(record) if is_write and record is not None else None
    value = entry if isinstance(command, PutCommand | MergeCommand) else outcome.value
    return Result(scope.relative(command.key), value, entry)


def _plain(mapping: Any) -> Any:
    return dict(mapping) if isinstance(mapping, Mapping) and type(mapping) is not dict else mapping
