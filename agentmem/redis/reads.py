"""How entries are found: single ones by name, many by the index, a piece at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentmem.entries import Record
from agentmem.errors import PermissionDenied, Unavailable
from agentmem.evaluation import matches
from agentmem.keys import Pattern
from agentmem.plan import is_alive
from agentmem.redis import scripts
from agentmem.redis.layout import HEADER, Layout, Place, lexical_range, says_it_all, unpack
from agentmem.redis.packing import pack
from agentmem.repository import Position, Query, Slice

if TYPE_CHECKING:
    from agentmem.redis.servers import Servers

PIECE: Final = 1_000
"""How many entries a script looks at, at the most, before others have their turn."""
DROPPED_AT_ONCE: Final = 200
"""While a script drops entries nobody else is served: 1,000 take some 10 ms, in which others make hundreds of puts."""


class Reads:
    """The reading half of the repository, and the removal of what a query finds.

    Args:
        servers: where partitions are.
        layout: how things are called.
        write: runs a script that writes.
    """

    def __init__(self, servers: Servers, layout: Layout, write: Callable[..., Any]) -> None:
        self._servers = servers
        self._layout = layout
        self._write = write

    def fetch_one(self, partition: str, key: str) -> Record | None:
        """As the port says; one GET."""
        name = self._layout.place(partition).entry + key.encode()
        value = self._servers.ask(name, b"GET", name)
        return None if value is None else unpack(key, value)

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool) -> dict[str, Record]:
        """As the port says; one MGET, or for a lone key without its body one GETRANGE."""
        entry = self._layout.place(partition).entry
        names = [entry + key.encode() for key in keys]
        if len(names) == 1 and not bodies:
            values = [self._servers.ask(names[0], b"GETRANGE", names[0], 0, HEADER.size - 1)]
        else:
            values = self._servers.ask(names[0], b"MGET", *names)
        return {key: unpack(key, value, bodies=bodies) for key, value in zip(keys, values, strict=True) if value}

    def scan(self, partition: str, query: Query, *, after: Position | None, limit: int, bodies: bool) -> Slice:
        """As the port says; in pieces, by key until the page is full, by "updated" through all under the prefix."""
        place = self._layout.place(partition)
        if query.order == "key":
            found: list[Record] = []
            wanted = limit if query.where is None and says_it_all(query.pattern) else PIECE
            for records, _ in self._pieces(place, query, after, wanted, bodies=bodies or query.where is not None):
                found += records
                if len(found) >= limit:
                    break
            return Slice(found[:limit])
        return self._by_time(place, query, after, limit)

    def _by_time(self, place: Place, query: Query, after: Position | None, limit: int) -> Slice:
        """The page's entries are kept while the others pass by."""
        as_of = 0 if after is None else after.as_of_us
        pick = heapq.nlargest if query.descending else heapq.nsmallest
        best: list[Record] = []
        by_key = query._replace(order="key", descending=False)
        border = None if after is None else (after.updated_us, after.key)
        for records, now in self._pieces(place, by_key, None, PIECE, bodies=True):
            as_of = as_of or now
            eligible = [record for record in records if _is_beyond(record, border, as_of, descending=query.descending)]
            best = pick(limit, [*best, *eligible], key=_rank)
        return Slice(best, as_of)

    def count(self, partition: str, query: Query) -> int:
        """As the port says: by the index alone where a prefix says it all."""
        place, pattern = self._layout.place(partition), query.pattern
        if query.where is None and says_it_all(pattern):
            arguments = (*lexical_range(pattern), pattern.prefix.encode(), b"1" if pattern.is_below else b"")
            while (found := self._servers.run(place, scripts.COUNT, *arguments)) < 0 and self._clear(place):
                pass
            if found >= 0:
                return int(found)
        bodies = query.where is not None
        return sum(len(records) for records, _ in self._pieces(place, query, None, PIECE, bodies=bodies))

    def measure(self, place: Place, pattern: Pattern | None = None) -> tuple[int, int, int]:
        """Living and expired entries, and the bytes of the living; where a pattern says which, in pieces."""
        while pattern is None:
            found = self._servers.run(place, scripts.MEASURE)
            if found[0] >= 0:
                return found[0], found[1], found[2]
            if not self._clear(place):
                pattern = Pattern.under("")
        totals, after = [0, 0, 0], None
        while True:
            *figures, last = self._servers.run(place, scripts.MEASURE, *lexical_range(pattern, after), PIECE)
            totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
            if last is None:
                return totals[0], totals[1], totals[2]
            after = Position(last.decode())

    def remove(self, partition: str, query: Query) -> int:
        """As the port says; pieces of 200, each atomic."""
        place = self._layout.place(partition)
        if query.where is not None:
            return sum(self._remove_matching(place, query, records) for records in self._matching(place, query))
        removed, after = 0, None
        pattern = query.pattern
        while True:
            bounds = lexical_range(pattern, after)
            names = self._servers.ask(place.meta, b"ZRANGEBYLEX", place.listing, *bounds, b"LIMIT", 0, PIECE)
            keys = [key for name in names if pattern.matches(key := name.decode())]
            if keys:
                removed += self._drop(place, keys)[0]
            if len(names) < PIECE:
                return removed
            after = Position(names[-1].decode())

    def _matching(self, place: Place, query: Query) -> Iterator[list[Record]]:
        return (records for records, _ in self._pieces(place, query, None, PIECE, bodies=True) if records)

    def _remove_matching(self, place: Place, query: Query, records: list[Record]) -> int:
        """Remove what still is what the filter saw; what was rewritten meanwhile is looked at again."""
        removed = 0
        while records:
            count, changed = self._drop(place, [r.key for r in records], [r.version for r in records])
            removed += count
            names = [place.entry + key.encode() for key in changed]
            values = self._servers.ask(place.meta, b"MGET", *names) if changed else []
            again = [unpack(key, value) for key, value in zip(changed, values, strict=True) if value]
            records = [record for record in again if query.where is not None and matches(query.where, record)]
        return removed

    def _clear(self, place: Place) -> bool:
        """Take what has expired out of a partition's books, where there is too much of it to count around.

        Returns:
            False for who may only read, on a replica or by an ACL.
        """
        try:
            while self._write(place, scripts.PURGE, DROPPED_AT_ONCE) == DROPPED_AT_ONCE:
                pass
        except (Unavailable, PermissionDenied):
            return False
        return True

    def _drop(self, place: Place, keys: list[str], versions: list[int] | None = None) -> tuple[int, list[str]]:
        """Remove entries, of given versions if these are given; how many there were, and which have others by now."""
        removed, changed = 0, []
        for start in range(0, len(keys), DROPPED_AT_ONCE):
            these = slice(start, start + DROPPED_AT_ONCE)
            packed = b"" if versions is None else pack(versions[these])
            count, *others = self._write(place, scripts.REMOVE, pack(keys[these]), packed)
            removed += count
            changed += [key.decode() for key in others]
        return removed, changed

    def _pieces(
        self, place: Place, query: Query, after: Position | None, wanted: int, *, bodies: bool
    ) -> Iterator[tuple[list[Record], int]]:
        """The entries that match, piece by piece in the order of keys, and the server's clock."""
        pattern, where = query.pattern, query.where
        wanted = min(wanted, PIECE)
        while True:
            bounds = lexical_range(pattern, after, descending=query.descending)
            now, last, *flat = self._servers.run(
                place,
                scripts.PAGE,
                *bounds,
                b"1" if query.descending else b"",
                wanted,
                b"1" if bodies else b"",
            )
            records = [
                record
                for name, value in zip(flat[::2], flat[1::2], strict=True)
                if (says_it_all(pattern) or pattern.matches(name.decode()))
                and is_alive(record := unpack(name.decode(), value, bodies=bodies), now)
                and (where is None or matches(where, record))
            ]
            yield records, now
            if last is None:
                return
            after = Position(last.decode())
            wanted = min(2 * wanted, PIECE)  # of many that have expired one must not be asked for at a time


def _rank(record: Record) -> tuple[int, str]:
    return record.updated_us, record.key


def _is_beyond(record: Record, border: tuple[int, str] | None, as_of: int, *, descending: bool) -> bool:
    rank = _rank(record)
    if rank[0] > as_of:
        return False
    if border is None:
        return True
    return rank < border if descending else rank > border
