"""Commands on many entries: search, keys, tree, count."""

from __future__ import annotations

import enum
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentmem.cli.command import Run
from agentmem.cli.inputs import parse_object
from agentmem.cli.output import entry_document, from_now, moment, plain, shown
from agentmem.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.tree import Tree

    from agentmem.entries import Entry
    from agentmem.memory import Memory

_PAGE = 100
_BIG_PAGE = 1000
# A level of a key keeps the slash that ends it, so that the key `a` and what lies under `a/` stay apart.
_LEVEL = re.compile("[^/]*/|[^/]+")

PatternText = Annotated[str, typer.Argument(metavar="PATTERN", help="* is any run of characters, ? is one.")]
Where = Annotated[
    str | None, typer.Option("--where", metavar="JSON", help='A filter, such as {"score": {"$gte": 0.5}}.')
]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="What the keys begin with, literally.")]


class Order(enum.StrEnum):
    """What a listing is sorted by."""

    KEY = "key"
    UPDATED = "updated"


def search(
    run: Run,
    *,
    pattern: PatternText = "*",
    where: Where = None,
    order: Annotated[Order, typer.Option("--order", help="Sort by key or by the time of the last write.")] = Order.KEY,
    descending: Annotated[bool, typer.Option("--descending", help="Sort the other way round.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help=f"At most so many; {_PAGE} by default.")
    ] = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where a page of the same search ended.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages, not only one.")] = False,
) -> None:
    """List entries, filtered and sorted, a page at a time."""
    if everything and limit is not None:
        raise InvalidArgument("--all and --limit exclude each other")
    query = {"where": parse_object(where, "--where"), "order": order.value, "descending": descending}
    with run.memory() as memory:
        size = _BIG_PAGE if everything else _PAGE if limit is None else limit
        walk = Walk(memory, pattern, {**query, "limit": size}, cursor)
        _show(run, walk, walk.all() if everything else walk.page())


class Walk:
    """A search on its way: gives entries and remembers where the last page ended.

    Attributes:
        cursor: of the page after those that were given; None at the end.
    """

    def __init__(self, memory: Memory, pattern: str, query: dict[str, Any], cursor: str | None) -> None:
        self._memory = memory
        self._pattern = pattern
        self._query = query
        self.cursor = cursor

    def page(self) -> Iterator[Entry]:
        """Give the next page's entries."""
        found = self._memory.search(self._pattern, cursor=self.cursor, **self._query)
        self.cursor = found.cursor
        yield from found

    def all(self) -> Iterator[Entry]:
        """Give the entries of all pages, the pages one by one as they are consumed."""
        yield from self.page()
        while self.cursor is not None:
            yield from self.page()


def _show(run: Run, walk: Walk, entries: Iterator[Entry]) -> None:
    if run.as_json:
        run.output.items(map(entry_document, entries), lambda: walk.cursor)
        return
    output = run.output
    if output.terminal:
        output.table(("key", "updated", "expires", "value"), map(_short_row, entries))
    else:
        output.table(("key", "version", "updated", "expires", "value"), map(_row, entries))
    if walk.cursor is not None:
        print(f"more entries follow: --cursor {walk.cursor}", file=sys.stderr)


def _row(entry: Entry) -> tuple[str, ...]:
    times = moment(entry.updated_at), moment(entry.expires_at)
    return (plain(entry.key), str(entry.version), *times, shown(lambda: entry.value))


def _short_row(entry: Entry) -> tuple[str, ...]:
    return (plain(entry.key), from_now(entry.updated_at), from_now(entry.expires_at), shown(lambda: entry.value))


def keys(
    run: Run,
    prefix: Prefix = "",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="At most so many; else all.")] = None,
) -> None:
    """List keys, one per line."""
    with run.memory() as memory:
        found = memory.keys(prefix, limit=limit)
        if run.as_json:
            run.output.items(found)
        else:
            for key in found:
                run.output.line(plain(key))


def tree(
    run: Run,
    prefix: Prefix = "",
    depth: Annotated[int, typer.Option("--depth", metavar="N", help="How many levels of the keys to show.")] = 1,
) -> None:
    """Browse the keys as a tree: what ends in / has more below it."""
    with run.memory() as memory:
        children = memory.children(prefix, depth=depth)
    if run.as_json:
        run.output.items(children)
    elif run.output.terminal:
        run.output.console().print(_branches(prefix, children))
    else:
        for child in children:
            run.output.line(plain(child))


def _branches(prefix: str, children: list[str]) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text(plain(prefix) or "/", style="bold"))
    branches = {prefix: root}
    for child in children:
        above = prefix
        for level in _LEVEL.findall(child[len(prefix) :]):
            path = above + level
            if path not in branches:
                branches[path] = branches[above].add(Text(plain(level)))
            above = path
    return root


def count(run: Run, pattern: PatternText = "*", where: Where = None) -> None:
    """Count entries."""
    condition = parse_object(where, "--where")
    with run.memory() as memory:
        number = memory.count(pattern, where=condition)
    run.output.answer({"count": number}, str(number))
