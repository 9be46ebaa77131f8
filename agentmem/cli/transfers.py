"""Commands that carry entries elsewhere: export, import, copy (agentmem.transfer)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from agentmem.cli.command import Run
from agentmem.cli.exits import FileFailed
from agentmem.cli.inputs import standard_input
from agentmem.cli.listing import Prefix
from agentmem.cli.output import counted, harmless
from agentmem.errors import AgentMemError, CorruptEntry, InvalidArgument

_DASH: Final = Path("-")

SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out entries that cannot be decoded, and name them on stderr.")
]


def export(
    run: Run,
    *,
    prefix: Prefix = "",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", dir_okay=False, help="Where to; else standard output.")
    ] = None,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Write entries as JSON lines, sorted by key: value, metadata and the TTL that is left.

    Entries alone: the items of work queues and the values of Q-tables are not among them.
    """
    from agentmem import transfer

    skipped, terminal = _Skipped(skip_corrupt), output is None and sys.stdout.isatty()
    progress = _progress(run, "exported", quiet=terminal)
    with run.memory() as memory, _replacing(output) as file, progress as show, skipped.explained():
        lines = _Utf8(file, terminal=terminal)
        number = transfer.export_lines(memory, lines, prefix, on_corrupt=skipped.on_corrupt, on_progress=show)
    if output is not None:
        _answer(run, "exported", number, skipped)


def import_(
    run: Run,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE|-",
            show_default=False,
            help="JSON lines. Missing or -: read from standard input.",
        ),
    ] = None,
) -> None:
    """Put the entries of JSON lines, as `export` writes them; TTLs begin anew."""
    from agentmem import transfer

    with _lines(file) as lines, run.memory() as memory, _progress(run, "imported") as show:
        number = transfer.import_lines(lines, memory, on_progress=show)
    _answer(run, "imported", number)


def copy(
    run: Run,
    *,
    prefix: Prefix = "",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            envvar="AGENTMEM_TO_URL",
            help="The store to copy into; else the same. A password belongs into the variable.",
        ),
    ] = None,
    to_partition: Annotated[
        str | None, typer.Option("--to-partition", metavar="NAME", help="The partition to copy into; else the same.")
    ] = None,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Put a copy of entries into another store or partition, with what is left of their TTLs.

    Entries alone: the items of work queues and the values of Q-tables are not copied.
    """
    from agentmem import transfer

    there = replace(run, partition=run.partition_name() if to_partition is None else to_partition)
    if to is not None:
        there = replace(there, url=to, options={})
    if (there.place(), there.partition_name()) == (run.place(), run.partition_name()):
        raise InvalidArgument("copy from where to where? --to names another store, --to-partition another partition")
    skipped = _Skipped(skip_corrupt)
    with (
        run.memory() as source,
        there.memory() as target,
        _progress(run, "copied") as show,
        skipped.explained(),
    ):
        number = transfer.copy(source, target, prefix, on_corrupt=skipped.on_corrupt, on_progress=show)
    _answer(run, "copied", number, skipped)


def _answer(run: Run, verb: str, number: int, skipped: _Skipped | None = None) -> None:
    count = {} if skipped is None else {"skipped": skipped.number}
    run.output.answer({verb: number, **count}, f"{verb} {counted(number)}")


class _Skipped:
    """What happens to entries that cannot be decoded: one ends the command, or each is named and left out.

    Attributes:
        number: how many were left out.
        on_corrupt: for agentmem.transfer.
    """

    def __init__(self, wanted: bool) -> None:
        self.number = 0
        self.on_corrupt = self._leave_out if wanted else None

    def _leave_out(self, error: CorruptEntry) -> None:
        self.number += 1
        print(f"left out: {' '.join(str(error).split())}", file=sys.stderr)

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except CorruptEntry as error:
            error.add_note("--skip-corrupt leaves such entries out.")
            raise


@contextmanager
def _progress(run: Run, verb: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A count that goes on, on stderr so that stdout stays the lines; nothing where nobody looks."""
    if quiet or run.as_json or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{verb} 0 entries") as status:
        yield lambda number: status.update(f"{verb} {counted(number)}")


class _Utf8:
    """Text on its way to a file or a pipe, in UTF-8 whatever the locale; a terminal gets nothing that it would obey."""

    def __init__(self, file: BinaryIO, *, terminal: bool) -> None:
        self._file = file
        self._terminal = terminal

    def write(self, text: str) -> None:
        self._file.write((harmless(text) if self._terminal else text).encode())


@contextmanager
def _replacing(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that takes its place when it is whole: an export that fails spoils no earlier one."""
    if path is None:
        yield sys.stdout.buffer
        return
    target = path.resolve()
    ordinary = target.is_file() or not target.exists()
    part = target.with_name(f"{target.name}.{os.getpid()}.part") if ordinary else target
    with _blaming(path):
        try:
            with part.open("wb") as file:
                yield file
            if ordinary:
                part.replace(target)
        finally:
            if ordinary:
                part.unlink(missing_ok=True)


@contextmanager
def _lines(path: Path | None) -> Iterator[Iterable[bytes]]:
    if path is None or path == _DASH:
        yield standard_input("FILE", asked=path is not None)
        return
    with _blaming(path), path.open("rb") as file:
        yield file


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except AgentMemError:
        raise  # some are OSErrors as well, such as PoolTimeout
    except OSError as error:
        raise FileFailed(path, error) from error
