"""From one memory to another, and to and from JSON lines: values exact, metadata and remaining TTLs with them.

    copy(agentmem.connect("postgresql://…"), agentmem.connect("redis://…"))

    with open("plans.jsonl", "w", encoding="utf-8") as file:
        export_lines(memory, file, "plans/")
    with open("plans.jsonl", encoding="utf-8") as file:
        import_lines(file, memory)

A line is an object such as `{"key": "plans/42", "value": {"score": 0.9}, "metadata": {"by": "a-1"}, "ttl": 59.8}`. The
`ttl` is what was left, in seconds, when the line was written; it is not there where the entry never expires, nor is
`metadata` where there is none. A blank line says nothing; any other field is refused.

What an entry is to its users goes along: key, value, metadata, the time that it has left. What its store made for it
does not: version, `created_at`, `updated_at`, and with it the order by "updated". Nor do the partition's name and its
policy: a handle speaks of one partition, whichever the other side is bound to.

Entries go along and nothing else: sessions, fleets and trajectories, which are made of entries, but neither the items
of work queues nor the values of Q-tables. Let workers empty a queue before its store is left. A Q-table is carried by
`there.qtable(name).restore(here.qtable(name).snapshot())`, or through a file by `Snapshot.save` and `load`.

Values travel as they are stored, whatever codec the handles have; the codec that wrote them must read them.

Everything happens a batch at a time, so memory stays flat whatever the number of entries. A batch is atomic, the whole
is not: after an error what came before it is there. To begin again does no harm, since an entry in the way is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from agentmem import arguments, loading, translate, values
from agentmem.errors import CorruptEntry, InvalidArgument
from agentmem.loading import PIECE_ENTRIES

if TYPE_CHECKING:
    from agentmem.commands import PutCommand
    from agentmem.entries import Entry
    from agentmem.memory import Memory

OnCorrupt = Callable[[CorruptEntry], object]
OnProgress = Callable[[int], object]


class SupportsWrite(Protocol):
    """What lines are written to: a file open for text, or anything else with its `write`."""

    def write(self, text: str, /) -> object:
        """Take a piece of text, which may be many lines."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    value: Any
    metadata: dict[str, Any] | None = None
    ttl: int | float | None = None


_read: Final = msgspec.json.Decoder(_Line).decode


def copy(
    source: Memory,
    target: Memory,
    prefix: str = "",
    *,
    on_corrupt: OnCorrupt | None = None,
    on_progress: OnProgress | None = None,
) -> int:
    """Put a copy of every entry under a prefix into another memory, of any backend; not of queues and Q-tables.

    Others may read and write meanwhile: each entry that lives through the copy comes once, as it was at some moment of
    it. An entry of the target in the way is replaced, others of it stay. Keys are the handles' own, so
    `copy(a.scoped("old/"), b.scoped("new/"))` moves them elsewhere; within one store the two must not overlap, or the
    copy meets what it wrote.

    Args:
        source: read, page by page.
        target: written to, in batches of at most 1,000 entries or about 1 MiB.
        prefix: literal; "" for all.
        on_corrupt: called with the error of each entry that cannot be decoded, which is then left out.
        on_progress: called after each batch with how many entries were put so far.

    Returns:
        How many entries were put. One that expired before its turn is not among them.

    Raises:
        CorruptEntry: an entry of the source cannot be decoded, and there is no `on_corrupt`.
        NamespaceError, ValueTooLarge: the target does not take an entry. A note of the error names its key.
            A note of this error or any other says how many entries were stored before.
        InvalidKey: a bad prefix, or a key that is too long together with the target's.
    """
    lines = (
        _Line(entry.key, entry.value, entry.metadata, ttl)
        for batch in _living(source, prefix, on_corrupt)
        for entry, ttl in batch
    )
    return _total(_stored(target, lines), on_progress)


def export_lines(
    memory: Memory,
    file: SupportsWrite,
    prefix: str = "",
    *,
    on_corrupt: OnCorrupt | None = None,
    on_progress: OnProgress | None = None,
) -> int:
    """Write every entry under a prefix as a line of JSON, sorted by key; not the items of queues, nor Q-tables.

    Others may write meanwhile: each entry that lives through the export comes once.

    Args:
        memory: what is read.
        file: where to; open for text, in UTF-8.
        prefix: literal; "" for all.
        on_corrupt: as for `copy`.
        on_progress: called after each batch with how many lines were written so far.

    Returns:
        How many lines were written. A file that was cut off may well end with a whole line, so whoever sends it
        elsewhere does well to send the number along.

    Raises:
        CorruptEntry: an entry cannot be decoded, and there is no `on_corrupt`.
        InvalidKey: a bad prefix.
        OSError: what `file.write` raises.
    """

    def write(batch: list[tuple[Entry, float | None]]) -> int:
        file.write("".join(_text(entry, ttl) for entry, ttl in batch))
        return len(batch)

    return _total(map(write, _living(memory, prefix, on_corrupt)), on_progress)


def import_lines(file: Iterable[str | bytes], memory: Memory, *, on_progress: OnProgress | None = None) -> int:
    """Put what `export_lines` wrote, or anybody else in that form.

    TTLs begin anew at the import. An entry in the way is replaced, others stay. Where a key comes twice the last line
    holds.

    Args:
        file: the lines: a file open for text in UTF-8 or for bytes, or any other iterable of them.
        memory: written to, in batches of at most 1,000 entries or about 1 MiB.
        on_progress: called after each batch with how many lines were put so far.

    Returns:
        How many lines were put.

    Raises:
        InvalidArgument: a line is no entry; the text has its number. What stands in earlier batches is stored. Or
            `file` is a single text, such as a file's name.
        InvalidKey, InvalidValue, InvalidTTL, NamespaceError, ValueTooLarge: the memory does not take an entry. A note
            of the error names its key. Of its batch nothing is stored.
            A note of this error or any other says how many entries were stored before.
    """
    given = arguments.iterable("file", file)
    lines = (_parsed(number, line) for number, line in enumerate(given, 1) if line.strip())
    return _total(_stored(memory, lines), on_progress)


def _total(counts: Iterable[int], on_progress: OnProgress | None) -> int:
    total = 0
    for count in counts:
        total += count
        if on_progress is not None:
            on_progress(total)
    return total


def _living(memory: Memory, prefix: str, on_corrupt: OnCorrupt | None) -> Iterator[list[tuple[Entry, float | None]]]:
    """Batches of entries that can be decoded, with the seconds that each has left; None for ever."""
    reader = _without_codec(memory)
    readable = _readable(reader.items(prefix), on_corrupt)
    for batch in loading.pieces(readable, PIECE_ENTRIES, lambda entry: len(entry.body)):
        if all(entry.expires_at is None for entry in batch):
            yield [(entry, None) for entry in batch]
            continue
        # The store's own clock, asked for each batch: ours may differ, and the walk takes its time (R21).
        now = reader._gateway.call(reader._gateway.repository.server_time)
        remaining = [(entry, _seconds(now, entry.expires_at)) for entry in batch]
        yield [(entry, ttl) for entry, ttl in remaining if ttl is None or ttl > 0]


def _seconds(now: datetime, end: datetime | None) -> float | None:
    return None if end is None else (end - now) / timedelta(seconds=1)


def _readable(entries: Iterable[Entry], on_corrupt: OnCorrupt | None) -> Iterator[Entry]:
    for entry in entries:
        try:
            entry.value, entry.metadata  # noqa: B018 - either raises where it cannot be decoded
        except CorruptEntry as error:
            if on_corrupt is None:
                raise
            on_corrupt(error)
        else:
            yield entry


def _text(entry: Entry, ttl: float | None) -> str:
    # Around a value that was decoded a line end can only be white space between its parts: agentmem writes none, others
    # may have.
    body = entry.body.replace("\r", " ").replace("\n", " ")
    key = msgspec.json.encode(entry.key).decode()
    metadata = f',"metadata":{values.encode_metadata(entry.metadata)}' if entry.metadata else ""
    expiry = "" if ttl is None else f',"ttl":{max(0.001, round(ttl, 3))}'
    return f'{{"key":{key},"value":{body}{metadata}{expiry}}}\n'


def _parsed(number: int, line: str | bytes) -> _Line:
    try:
        return _read(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"line {number:,} is no entry: {error}") from error


def _stored(memory: Memory, lines: Iterable[_Line]) -> Iterator[int]:
    writer = _without_codec(memory)
    commands = (
        translate.put_of_many(writer._scope, line.key, line.value, ttl=line.ttl, metadata=line.metadata or None)
        for line in lines
    )
    return loading.stored(writer._gateway, loading.pieces(commands, PIECE_ENTRIES, _characters))


def _characters(command: PutCommand) -> int:
    return len(command.body) + len(command.metadata or "")


def _without_codec(memory: Memory) -> Memory:
    return memory._derive(memory._scope.replaced(codec=None))
