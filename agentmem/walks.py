"""Walks over many entries in key order, a page at a time: nothing here holds more than one page (R27)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from agentmem.keys import successor
from agentmem.repository import Position

if TYPE_CHECKING:
    from agentmem.entries import Record

#: Returns up to so many records, in ascending key order, beyond a position.
Scan = Callable[[Position | None, int], "list[Record]"]

LARGEST_PAGE: Final = 1000
_FIRST_PAGE: Final = 64
_PAGE_BYTES: Final = 4 * 1024 * 1024
"""What the bodies of one page should amount to."""

_SMALLEST_STEP: Final = 8
_FIRST_STEP: Final = 32


def keys(scan: Scan, limit: int | None) -> Iterator[str]:
    """Yield the keys of all records, or of the first `limit`."""
    after = None
    while limit is None or limit > 0:
        size = LARGEST_PAGE if limit is None else min(limit, LARGEST_PAGE)
        records = scan(after, size)
        for record in records:
            yield record.key
        if len(records) < size:
            return
        after = Position(records[-1].key)
        limit = None if limit is None else limit - len(records)


def records(scan: Scan) -> Iterator[Record]:
    """Yield all records; large ones come in small pages."""
    after, size = None, _FIRST_PAGE
    while True:
        page = scan(after, size)
        yield from page
        if len(page) < size:
            return
        after = Position(page[-1].key)
        # Characters, not bytes: near enough for the size of a page, and known without encoding.
        characters = sum(len(record.body or "") + len(record.metadata or "") for record in page)
        size = max(1, min(LARGEST_PAGE, _PAGE_BYTES * len(page) // (characters + 1)))


def children(scan: Scan, prefix: str, depth: int) -> Iterator[str]:
    """Yield what lies `depth` levels below an absolute prefix, in order.

    A common prefix stands for everything under it, and the walk jumps over that: the cost follows the number of
    children. Where children have few keys each, a page that holds several costs less than a jump for each; so the
    pages grow while they bear many children, and shrink when nearly all of them lies under one.
    """
    after, size = None, _FIRST_STEP
    while True:
        page = scan(after, size)
        found, group = 0, None
        for record in page:
            if record.key == prefix or (group is not None and record.key.startswith(group)):
                continue
            group = _common_prefix(record.key, prefix, depth)
            found += 1
            yield record.key if group is None else group
        if len(page) < size:
            return
        if found * 4 >= len(page):
            size = min(size * 4, LARGEST_PAGE)
        elif found * 16 <= len(page):
            size = max(size // 4, _SMALLEST_STEP)
        after = Position(page[-1].key) if group is None else _beyond(group)


def _common_prefix(key: str, prefix: str, depth: int) -> str | None:
    """The key up to its `depth`-th slash after the prefix, that one included; None when it has fewer."""
    end = len(prefix) - 1
    for _ in range(depth):
        end = key.find("/", end + 1)
        if end < 0:
            return None
    return key[: end + 1]


def _beyond(group: str) -> Position:
    following = successor(group)
    assert following is not None, "a common prefix ends in a slash, which has a successor"  # noqa: S101
    return Position(following, inclusive=True)
