"""What `Memory` reads: single entries, pages, walks, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from agentmem import arguments, cursors, filters, walks
from agentmem.entries import Entry, Page
from agentmem.errors import InvalidArgument
from agentmem.handle import Handle
from agentmem.plan import INT64_MAX
from agentmem.repository import Position, Query

if TYPE_CHECKING:
    from agentmem.entries import Record
    from agentmem.keys import Pattern
    from agentmem.repository import Slice

T = TypeVar("T")
R = TypeVar("R")

Order = Literal["key", "updated"]


class Reading(Handle):
    """The reading half of `Memory`. An entry that has expired is absent from every answer (R22)."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at a key, a copy that is the caller's own.

        Args:
            key: see R1.
            default: what is returned where there is no living entry; `agentmem.MISSING` tells that from a stored null.

        Raises:
            InvalidKey: a bad key.
            CorruptEntry: what is stored cannot be decoded.
        """
        scope = self._scope
        record = self._gateway.fetch_one(scope.absolute(key))
        return default if record is None else scope.decode(record.body, key)

    def entry(self, key: str) -> Entry | None:
        """Return the entry at a key with its version, times and metadata, or None.

        The value is decoded when it is first asked for, so an entry that cannot be decoded can still be looked at.

        Raises:
            InvalidKey: a bad key.
        """
        record = self._gateway.fetch_one(self._scope.absolute(key))
        return None if record is None else self._scope.entry(record)

    def exists(self, key: str) -> bool:
        """Tell whether there is a living entry at a key, whatever its value, null included.

        Raises:
            InvalidKey: a bad key.
        """
        absolute = self._scope.absolute(key)
        return absolute in self._gateway.fetch((absolute,), bodies=False)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values at several keys, all as they were at one moment.

        Args:
            keys: any number of them; one that comes twice counts once.

        Returns:
            The values by key, in the order of `keys`; a key without a living entry is left out.

        Raises:
            InvalidKey: a bad key; InvalidArgument: a single str instead of several.
            CorruptEntry: one of the values cannot be decoded.
        """
        scope = self._scope
        names = arguments.several("keys", keys)
        wanted = {scope.absolute(key): key for key in names}
        if not wanted:
            self._gateway.check_open()
            return {}
        found = self._gateway.fetch(list(wanted))
        return {key: scope.decode(found[absolute].body, key) for absolute, key in wanted.items() if absolute in found}

    def search(
        self,
        pattern: str = "*",
        *,
        where: Mapping[Any, Any] | None = None,
        order: Order = "key",
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Entry]:
        r"""Return one page of the entries that match (R25, R26).

        Following the cursors while others write gives each entry that lives through the walk once, and none twice. By
        "updated" the walk shows what was last written before it began: an entry that is rewritten meanwhile is left
        out.

        Args:
            pattern: `*` is any run of characters, `?` exactly one, `\` makes the next one literal (R3).
            where: conditions on the value, and on the entry by names such as `"@updated_at"`.
            order: by key (code points) or by the time of the last write, then key.
            descending: the reverse of it.
            limit: the most entries that the page may hold.
            cursor: a former page's `cursor`, with the same arguments; only `limit` may differ.

        Returns:
            The page. Its `cursor` is None when nothing follows.

        Raises:
            InvalidPattern, InvalidFilter, InvalidArgument: a bad argument.
            InvalidCursor: damaged, or of another search.
        """
        query = self._query(pattern, where, order=order, descending=descending)
        limit = arguments.whole("limit", limit)
        after = None if cursor is None else cursors.decode(self._scope, query, cursor)
        # One more than asked for tells whether anything follows, at no further call.
        found = self._gateway.scan(query, after=after, limit=min(limit + 1, INT64_MAX))
        following = None
        if len(found.records) > limit:
            following = cursors.encode(self._scope, query, _end(query, after, found, limit))
        return Page(self._scope.entries(found.records[:limit]), following)

    def keys(self, prefix: str = "", *, limit: int | None = None) -> Iterator[str]:
        """Iterate over the keys that begin with a literal prefix, in order of code points.

        Reads page by page, so nothing grows with the number of keys, and others may write meanwhile: each key that
        lives through the walk comes once, and none twice.

        Args:
            prefix: "" for all of them.
            limit: the most keys that may come; None for all.

        Raises:
            InvalidKey: a bad prefix; InvalidArgument: a bad limit. Both at the call, not at the first key.
        """
        most = arguments.whole_or_none("limit", limit)
        found = walks.keys(self._scan_under(prefix, bodies=False), most)
        return self._shown(found, self._scope.relative)

    def items(self, prefix: str = "") -> Iterator[Entry]:
        """Iterate over the entries whose keys begin with a literal prefix, in order of code points.

        As `keys`; a page holds about 4 MiB of values. An entry that cannot be decoded raises at its own `value`.

        Raises:
            InvalidKey: a bad prefix, at the call.
        """
        return self._shown(walks.records(self._scan_under(prefix, bodies=True)), self._scope.entry)

    def children(self, prefix: str = "", *, depth: int = 1) -> list[str]:
        """List what lies `depth` levels below a prefix, as in an object store, sorted.

        Under `"a/"` a key `a/b/c` shows as `"a/b/"`, which stands for everything under it, and a key `a/x` as itself.
        The cost follows the number of children, not of the keys under them (R27).

        Args:
            prefix: literal; it usually ends in `/`.
            depth: how many levels; a key that has fewer shows as itself.

        Raises:
            InvalidKey: a bad prefix; InvalidArgument: a bad depth.
        """
        arguments.whole("depth", depth)
        scan = self._scan_under(prefix, bodies=False)
        absolute = self._scope.prefix + prefix
        return [self._scope.relative(child) for child in walks.children(scan, absolute, depth)]

    def count(self, pattern: str = "*", *, where: Mapping[Any, Any] | None = None) -> int:
        """Count the living entries that match; arguments as in `search`.

        Raises:
            InvalidPattern, InvalidFilter: a bad argument.
        """
        query = self._query(pattern, where)
        return self._gateway.call(self._gateway.repository.count, self._scope.partition, query)

    def _query(
        self, pattern: str, where: Mapping[Any, Any] | None, *, order: Order = "key", descending: bool = False
    ) -> Query:
        if order not in ("key", "updated"):
            raise InvalidArgument(f"order must be 'key' or 'updated', not {order!r}")
        arguments.flag("descending", descending)
        parsed: Pattern = self._scope.pattern(pattern)
        return Query(parsed, filters.parse(where), order, descending)

    def _shown(self, found: Iterator[T], show: Callable[[T], R]) -> Iterator[R]:
        for one in found:
            # A handle that is closed in the middle of a page ends the walk there, not at the next page.
            self._gateway.check_open()
            yield show(one)

    def _scan_under(self, prefix: str, *, bodies: bool) -> walks.Scan:
        query = Query(self._scope.under(prefix))
        gateway = self._gateway
        gateway.check_open()

        def scan(after: Position | None, limit: int) -> list[Record]:
            return gateway.scan(query, after=after, limit=limit, bodies=bodies).records

        return scan


def _end(query: Query, after: Position | None, found: Slice, limit: int) -> Position:
    """Where a page ends that others follow."""
    last = found.records[limit - 1]
    if query.order == "key":
        return Position(last.key)
    as_of_us = found.as_of_us if after is None else after.as_of_us
    return Position(last.key, last.updated_us, as_of_us)
