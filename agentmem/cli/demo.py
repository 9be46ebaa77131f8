"""The demo: a fleet of agents examines a source tree and coordinates by memory alone."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentmem.cli.command import Run
from agentmem.cli.exits import ExitCode
from agentmem.cli.output import plain, to_json
from agentmem.urls import is_private, redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from agentmem.demo import Outcome, Progress

PARTITION = "demo"

Tree = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="The source tree. Else the standard library of this Python.",
    ),
]


def demo(
    run: Run,
    *,
    path: Tree = None,
    analysts: Annotated[int, typer.Option("--analysts", metavar="N", min=1, max=64, help="How many analysts.")] = 4,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first so many files.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run, even where one stands.")] = False,
    lease: Annotated[
        float, typer.Option("--lease", metavar="SECONDS", min=0.1, help="How long a dead analyst keeps its file.")
    ] = 5.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar and no tables, only how it went.")
    ] = False,
) -> None:
    """Let a fleet of agents examine a source tree, with memory as their only link.

    A planner puts the files into a queue, analysts claim and examine them, a reporter sums up.

    The fleet learns files of which size to examine first, so that a second run finds most of it sooner.

    Kill it and start it again: it goes on where it was.

    Start it twice at once: both share the work.

    The partition is `demo` unless another one is named.
    """
    from agentmem.demo import run_fleet, standard_library

    # What the workers log while a store is away would tear the progress bar; what matters is raised.
    logging.getLogger("agentmem.worker").addHandler(logging.NullHandler())
    here = replace(run, partition=run.partition or PARTITION)
    with here.memory(create="always") as memory, _display(silent=here.as_json or quiet) as show:
        outcome = run_fleet(
            memory,
            standard_library() if path is None else path,
            analysts=analysts,
            limit=limit,
            fresh=fresh,
            lease_seconds=lease,
            on_progress=show,
        )
        # Heartbeats and leases that have expired still take room until somebody sweeps.
        memory.purge_expired(max_seconds=1.0)
    if here.as_json:
        here.output.line(to_json(_document(outcome)))
    else:
        _print(here, outcome, quiet=quiet)
    if not outcome.report["exact"]:
        raise typer.Exit(ExitCode.FAILED)


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.report,
        "prefix": outcome.prefix + outcome.plan.prefix,
        "resumed_at": outcome.resumed_at,
        "seconds": round(outcome.seconds, 3),
    }


@contextmanager
def _display(*, silent: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on stderr, so that stdout stays the report; none where nobody looks."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None)

        def show(progress: Progress) -> None:
            done = progress.counters["files"]
            bar.update(task, total=progress.plan.files, completed=done, description=_alive(progress))

        yield show


def _alive(progress: Progress) -> str:
    return f"{len(progress.alive)} agents alive, {progress.counters['functions']:,} functions so far"


def _print(run: Run, outcome: Outcome, *, quiet: bool) -> None:
    console = run.output.console()
    console.print(_headline(outcome), soft_wrap=True)
    if not quiet:
        for table in _tables(outcome.report):
            console.print(table)
        console.print(_lesson(outcome.report), soft_wrap=True)
        _print_list(console, "Last heard", [f"{line['agent']}: {line['what']}" for line in outcome.report["journal"]])
        _print_list(console, "Not parsed", [f"{e['file']}: {e['error']}" for e in outcome.report["errors"]])
    _print_list(console, "Not listed", outcome.report["skipped"])
    console.print(_books(outcome.report), soft_wrap=True)
    if not quiet:
        _print_list(console, _invitation(run), _commands(run, outcome))


def _headline(outcome: Outcome) -> str:
    report = outcome.report
    sums, total = report["sums"], report["planned"]
    what = (
        f"{total:,} files of {plain(report['path'])}: {sums['lines']:,} lines, "
        f"{sums['functions']:,} functions, {sums['classes']:,} classes"
    )
    if outcome.plan.state == "done":
        return f"{what}\nThe run was finished already: this is its stored report. --fresh begins a new one."
    began = f", going on from {outcome.resumed_at:,}" if outcome.resumed_at else ""
    return f"{what}\nRun {report['run']} took {outcome.seconds:.1f} s{began}."


def _lesson(report: dict[str, Any]) -> str:
    order = ", ".join(report["order"])
    known = report["experience"]
    why = f"as {known:,} lessons had taught" if known else "at random, for nothing was known"
    text = f"This run took the files in the order {order}: {why}."
    if report["half_found_at"] is not None:
        text += f" Half of the functions were found after {report['half_found_at']:.0%} of the work."
    return text


def _books(report: dict[str, Any]) -> str:
    counted = ", ".join(f"{name} {number:,}" for name, number in report["counters"].items())
    if report["exact"]:
        return f"The books agree: each file was done once, and the shared counters are the findings' sums ({counted})."
    summed = ", ".join(f"{name} {number:,}" for name, number in report["sums"].items())
    return f"THE BOOKS DISAGREE: planned {report['planned']:,}; counters: {counted}; sums over the findings: {summed}."


def _tables(report: dict[str, Any]) -> Iterator[Table]:
    yield _table(
        "Most complex files",
        ("file", "complexity", "functions", "lines", "most complex function"),
        [
            (row["file"], row["complexity"], row["functions"], row["lines"], _function(row["knottiest"]))
            for row in report["complex_files"]
        ],
    )
    yield _table(
        "Longest functions",
        ("function", "lines", "complexity", "file"),
        [(row["name"], row["lines"], row["complexity"], row["file"]) for row in report["longest_functions"]],
    )
    yield _table("Most imported modules", ("module", "files"), [(i["module"], i["files"]) for i in report["imports"]])
    yield _table("Work of each analyst", ("analyst", "files"), sorted(report["work"].items()))
    yield _table(
        "What the fleet learned",
        ("size", "functions a second", "lessons"),
        [(row["size"], round(row["functions_per_second"]), row["lessons"]) for row in report["learned"]],
    )


def _function(function: dict[str, Any] | None) -> str:
    return "" if function is None else f"{function['name']} ({function['complexity']})"


def _table(title: str, columns: tuple[str, ...], rows: list[Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else plain(cell)) for cell in row))
    return table


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(f"\n{title}")
    for line in lines:
        console.print(f"  {plain(line)}", soft_wrap=True)


def _invitation(run: Run) -> str:
    hint = " (with AGENTMEM_URL set to the same URL)" if _has_secrets(run) else ""
    return f"Look at what is left{hint}"


def _has_secrets(run: Run) -> bool:
    # Neither the terminal nor the shell's history is a place for a password.
    return run.url is not None and redact(run.url) != run.url


def _commands(run: Run, outcome: Outcome) -> list[str]:
    if run.url is not None and is_private(run.url):
        return []
    place = [] if run.url is None or _has_secrets(run) else ["--url", run.url]
    inside = outcome.prefix + outcome.plan.prefix
    findings = f"{inside}findings/*"
    commands = [
        ["tree", inside],
        ["search", f"{inside}counters/*"],
        *(["search", findings, "--where", to_json(where)] for where in _questions(outcome.report)),
        ["stats"],
    ]
    given = [*place, *_shown_options(run), "-p", str(run.partition)]
    return [shlex.join(["agentmem", *given, *command]) for command in commands]


def _shown_options(run: Run) -> Iterator[str]:
    for option in (f"{name}={value}" for name, value in run.options.items()):
        if redact(option) == option:
            yield from ("-o", option)


def _questions(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Filters that find something in this run."""
    functions = [row["knottiest"]["complexity"] for row in report["complex_files"] if row["knottiest"]]
    if functions:
        yield {"knottiest.complexity": {"$gte": max(functions)}}
    if report["imports"]:
        yield {"imports": {"$contains": report["imports"][-1]["module"]}, "lines": {"$lt": 100}}
