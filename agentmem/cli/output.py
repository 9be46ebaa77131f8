"""What goes to stdout: one JSON document for machines, tables for terminals, plain lines for pipes.

What was stored by others is shown, never obeyed: control characters and the like are escaped on their way out, and
rich's markup is not read in it.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import CorruptEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console

    from agentmem.entries import Entry

# Beyond the controls below U+0020, which JSON escapes by itself: C1 controls, and what changes the direction or
# hides parts of a line. All of them stand inside of JSON's strings, where an escape means the same.
_UNSAFE: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_CELL_CHARACTERS: Final = 200
_UNITS: Final = (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text with exact numbers, readable Unicode and no character that a terminal would act upon."""
    return harmless(json.dumps(value, ensure_ascii=not _writes_unicode(), indent=indent))


def harmless(text: str) -> str:
    """JSON text with escapes in place of the characters that a terminal would act upon; it means the same."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def plain(text: str) -> str:
    """A key or a name as it is, or as a JSON string where a line could not show it faithfully."""
    faithful = text.isprintable() and not text.startswith('"') and (text.isascii() or _writes_unicode())
    return text if faithful else json.dumps(text)


def counted(number: int, kind: str = "") -> str:
    """A number of entries in words, such as `1 entry` or `2,000 expired entries`."""
    return f"{number:,} {kind}{'entry' if number == 1 else 'entries'}"


def _writes_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().startswith("utf")


def moment(when: datetime | None) -> str:
    """A time for people: UTC, to the second; `never` for None."""
    return "never" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def from_now(when: datetime | None) -> str:
    """A time for a narrow column, such as `5m ago` or `in 2h`, by the clock of this process; `never` for None."""
    if when is None:
        return "never"
    seconds = (when - datetime.now(UTC)).total_seconds()
    size, unit = next(((size, unit) for unit, size in _UNITS if abs(seconds) >= 2 * size), (1, "s"))
    count = f"{abs(seconds) / size:.0f}{unit}"
    return f"in {count}" if seconds > 0 else f"{count} ago"


def shown(read: Callable[[], Any]) -> str:
    """A part of an entry as JSON, or in angle brackets why it cannot be decoded."""
    try:
        return to_json(read())
    except CorruptEntry as error:
        return f"<{' '.join(str(error).split())}>"


def entry_document(entry: Entry) -> dict[str, Any]:
    """The entry as the manual documents it; one that cannot be decoded carries `error` and a null value."""
    document: dict[str, Any] = {
        "key": entry.key,
        "value": None,
        "version": entry.version,
        "created_at": entry.created_at.isoformat(),
        "updated_at": entry.updated_at.isoformat(),
        "expires_at": entry.expires_at.isoformat() if entry.expires_at else None,
        "metadata": {},
    }
    try:
        document.update(value=entry.value, metadata=entry.metadata)
    except CorruptEntry as error:
        document["error"] = str(error)
    return document


class Output:
    """Where a command writes its answer.

    Attributes:
        as_json: one JSON document is wanted, whatever stdout is.
        terminal: stdout is a terminal, so tables and colours make sense.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.terminal = not as_json and sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Write one line of plain text."""
        sys.stdout.write(text + "\n")

    def answer(self, document: Any, text: str) -> None:
        """Write the JSON document, or the line that says the same to people."""
        self.line(to_json(document) if self.as_json else text)

    def value(self, value: Any) -> None:
        """Write a value as JSON: indented and coloured on a terminal, else on one line."""
        if self.terminal:
            from rich.highlighter import JSONHighlighter

            self.console().print(JSONHighlighter()(to_json(value, indent=2)), soft_wrap=True)
        else:
            self.line(to_json(value))

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and texts below one another, tab-separated where stdout is no terminal."""
        if self.terminal:
            self._grid(pairs)
        else:
            for name, text in pairs:
                self.line(f"{name}\t{text}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write rows; without a terminal as tab-separated lines, each as it comes, and no heading."""
        if self.terminal:
            self._table(columns, rows)
        else:
            for row in rows:
                self.line("\t".join(row))

    def items(self, documents: Iterable[Any], cursor: Callable[[], str | None] = lambda: None) -> None:
        """Write `{"items": [...], "cursor": ...}` as the items come, so that a long listing needs little memory."""
        separator = '{"items": [\n'
        for document in documents:
            sys.stdout.write(separator + to_json(document))
            separator = ",\n"
        # `separator` still opens the document where nothing came.
        end = "\n]" if separator == ",\n" else '{"items": []'
        self.line(f'{end}, "cursor": {to_json(cursor())}}}')

    def console(self) -> Console:
        """A rich console on stdout; imported late, since most commands in scripts never need one."""
        from rich.console import Console

        return Console(highlight=False, markup=False, emoji=False)

    def _grid(self, pairs: Iterable[tuple[str, str]]) -> None:
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, text in pairs:
            grid.add_row(name, Text(text))
        self.console().print(grid)

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        console = self.console()
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        # Where the terminal is narrow, the last column, the long one, is cut; a name is folded and never cut.
        table.add_column(columns[0], no_wrap=True, max_width=max(16, console.width // 3))
        for column in columns[1:-1]:
            table.add_column(column, no_wrap=True)
        table.add_column(columns[-1])
        for name, *others, last in rows:
            cut = Text(last[:_CELL_CHARACTERS], no_wrap=True, overflow="ellipsis")
            table.add_row(Text(name, no_wrap=False, overflow="fold"), *map(Text, others), cut)
        console.print(table)
