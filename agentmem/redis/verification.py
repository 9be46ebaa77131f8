"""`memory.check()` for Redis: entries, queues, learned values, and the books that are kept about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from agentmem.entries import Problem
from agentmem.inspection import problems_of
from agentmem.redis import queue_verification, scripts
from agentmem.redis.layout import HEADER, Layout, Place, read_header, unpack

if TYPE_CHECKING:
    from agentmem.pool.connections import Connections
    from agentmem.queue_port import QueueStore
    from agentmem.redis.connections import Link
    from agentmem.redis.qtable import RedisQTables
    from agentmem.redis.servers import Servers

PIECE: Final = 500
_ATTEMPTS: Final = 3


def problems(
    servers: Servers, layout: Layout, partitions: list[str], queues: QueueStore, qtables: RedisQTables
) -> list[Problem]:
    """Look at every entry by the index, at queues and learned values, and at every key of the store by a SCAN."""
    found: list[Problem] = []
    for name in partitions:
        place = layout.place(name)
        found += _partition(servers, place, name)
        for queue in queues.names(name):
            found += queue_verification.problems(servers, place, name, queue)
        found += qtables.problems(name)
    for connections in servers.each():
        found += _strays(connections, layout, set(partitions))
    return found


def _partition(servers: Servers, place: Place, name: str) -> list[Problem]:
    """Others may write meanwhile: a sum that does not tally is reckoned again before it is told."""
    found: list[Problem] = []
    noted: set[int] = set()
    size = 0
    for _ in range(_ATTEMPTS):
        found, noted, size = [], set(), 0
        for now, bytes_noted, row in _rows(servers, place):
            noted.add(bytes_noted)
            if row is not None:
                found += _entry(name, row, now)
                size += _body_size(row)
        if len(noted) == 1 and size == next(iter(noted)):
            return found
    detail = f"{min(noted)} bytes are noted, the entries have {size}"
    return [*found, Problem("index", name, None, detail)] if len(noted) == 1 else found


def _rows(servers: Servers, place: Place) -> Iterator[tuple[int, int, tuple[Any, ...] | None]]:
    """The clock, the bytes noted, and one row of the index; at the end without a row."""
    start = b"-"
    while True:
        now, noted, last, *flat = servers.run(place, scripts.AUDIT, start, PIECE)
        for row in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True):
            yield now, int(noted), row
        if last is None:
            yield now, int(noted), None
            return
        start = b"(" + last


def _body_size(row: tuple[Any, ...]) -> int:
    _, value, _, size = row
    if value is None:
        return int(size or 0)
    header = read_header(value)
    return 0 if header is None else max(0, len(value) - HEADER.size - header[-1])


def _entry(partition: str, row: tuple[Any, ...], now: int) -> Iterator[Problem]:
    name, value, due, size = row
    key = name.decode("utf-8", "replace")
    milliseconds = 0 if due is None else int(due)
    if value is None:
        if due is None or milliseconds * 1000 > now:
            yield Problem("index", partition, key, "in the index without an entry: evicted, or deleted by hand")
        return
    record = unpack(key, value)
    yield from problems_of(partition, record)
    expires = (record.expires_us or 0) // 1000
    if expires != milliseconds:
        yield Problem("index", partition, key, f"it expires at {expires} ms, the index says {milliseconds} ms")
    elif expires and int(size or 0) != _body_size(row):
        yield Problem("index", partition, key, f"{_body_size(row)} bytes, the index says {size}")


def _strays(connections: Connections[Link], layout: Layout, partitions: set[str]) -> Iterator[Problem]:
    cursor: bytes | int = 0
    while True:
        cursor, names = connections.read(_asking(b"SCAN", cursor, b"MATCH", layout.everything, b"COUNT", PIECE))
        suspects = []
        for name in names:
            partition, kind, rest = layout.parse(name)
            if kind == b"m" and not rest and partition not in partitions:
                yield Problem("orphan", partition, None, "a partition that is not registered")
            elif kind == b"e":
                listing = layout.place(partition).listing
                suspects.append((name, listing, rest, partition, "an entry that the index does not hold"))
            elif kind.startswith(b"q") and kind != b"q":
                listing = layout.place(partition).queues
                suspects.append((name, listing, rest, partition, "a queue's book, and no such queue is noted"))
            elif kind == b"v":
                table, _, state = rest.partition(b"\0")
                listing = layout.place(partition).tables + b":" + table
                suspects.append((name, listing, state, partition, "learned values of a state that is not noted"))
        yield from _unlisted(connections, suspects)
        if int(cursor) == 0:
            return


def _asking(*command: Any) -> Callable[[Link], Any]:
    return lambda link: link.ask(*command)


def _unlisted(
    connections: Connections[Link], suspects: list[tuple[bytes, bytes, bytes, str, str]]
) -> Iterator[Problem]:
    commands: list[tuple[Any, ...]] = []
    for name, listing, member, _, _ in suspects:
        commands += (b"ZSCORE", listing, member), (b"EXISTS", name)
    answers = connections.read(lambda link: link.ask_all(commands)) if commands else []
    for (_, _, member, partition, detail), listed, there in zip(suspects, answers[::2], answers[1::2], strict=True):
        if listed is None and there == 1:
            yield Problem("orphan", partition, member.decode("utf-8", "replace"), detail)
