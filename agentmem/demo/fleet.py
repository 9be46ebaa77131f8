"""The fleet: a planner, analysts in threads and a reporter, which work on one tree through one memory."""

from __future__ import annotations

import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from agentmem.demo import reporter
from agentmem.demo.analyst import Analyst
from agentmem.demo.board import Board, Plan
from agentmem.demo.sources import list_sources, tree_name
from agentmem.errors import AgentMemError, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from agentmem.memory import Memory

RETENTION_SECONDS: Final = timedelta(days=7).total_seconds()
_PROGRESS_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, as the board tells it: work of other processes is in it.

    Attributes:
        plan: what is examined.
        counters: the shared counters.
        alive: agents with a fresh heartbeat, and what they do.
    """

    plan: Plan
    counters: dict[str, int]
    alive: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call of `run_fleet`.

    Attributes:
        report: see `agentmem.demo.reporter.report`.
        prefix: what all keys of the tree begin with, for those who want to look at what is left.
        plan: the run.
        resumed_at: how many files were done before this call; the number of all where the run was finished already.
        seconds: how long this call took.
    """

    report: dict[str, Any]
    prefix: str
    plan: Plan
    resumed_at: int
    seconds: float


class RunReplaced(AgentMemError):
    """Another process began a fresh run of the same tree, so this one's findings are gone."""


def run_fleet(
    memory: Memory,
    root: Path,
    *,
    analysts: int = 4,
    limit: int | None = None,
    fresh: bool = False,
    lease_seconds: float = 5.0,
    retention_seconds: float = RETENTION_SECONDS,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Examine a source tree, or go on with one that was begun, and return when every file is done.

    Any number of processes may run on one store at once: they share the work. An interrupt (Ctrl-C) lets each
    analyst finish its file, then propagates; what was done stays done.

    Args:
        memory: a handle on any backend; keys are written below a prefix of the tree's own.
        root: the folder.
        analysts: how many threads.
        limit: examine only so many files.
        fresh: begin a new run even where one stands.
        lease_seconds: how long a dead analyst's file stays with it.
        retention_seconds: when what the fleet leaves expires.
        on_progress: called about five times a second from the calling thread.

    Raises:
        NotADirectoryError: `root` is no folder.
        RunReplaced: another process began a fresh run meanwhile.
        AgentMemError: the store failed for good; run again to go on.
    """
    started = time.monotonic()
    prefix = f"{tree_name(root, limit)}/"
    board = Board(memory.scoped(prefix), retention_seconds=retention_seconds, lease_seconds=lease_seconds)
    plan = make_plan(board, root, limit=limit, fresh=fresh)
    resumed_at = board.counters(plan)["files"]
    stored = board.report(plan) if plan.state == "done" else None
    if stored is None:
        _work(board, plan, root, analysts, on_progress)
        stored = _finish(board, plan)
    return Outcome(stored, prefix, plan, resumed_at, time.monotonic() - started)


def make_plan(board: Board, root: Path, *, limit: int | None = None, fresh: bool = False) -> Plan:
    """The planner: write the plan and its open work, or return the plan that stands.

    Idempotent: whoever comes second, in this process or another one, works on the first one's plan.
    """
    standing = board.memory.entry("plan")
    if standing is not None and not fresh:
        return Plan.of(standing)
    listing = list_sources(root, limit)
    while True:
        number = board.memory.increment("runs")
        plan = Plan(int(number), str(root.resolve()), len(listing.sources), skipped=tuple(listing.skipped))
        if board.publish(plan, listing.sources, replaces=standing):
            if standing is not None:
                # The old run's agents lose their leases with it, so they can no longer complete anything.
                board.memory.delete_matching(f"{Plan.of(standing).prefix}*")
            return plan
        before, standing = standing, board.memory.entry("plan")
        if standing is not None and (before is None or Plan.of(standing).run != Plan.of(before).run):
            return Plan.of(standing)


def _work(board: Board, plan: Plan, root: Path, analysts: int, on_progress: Callable[[Progress], None] | None) -> None:
    stop = threading.Event()
    process = secrets.token_hex(2)
    crew = [Analyst(board, plan, root, f"analyst-{number}-{process}", stop) for number in range(1, analysts + 1)]
    failures: list[BaseException] = []

    ended: SimpleQueue[Analyst] = SimpleQueue()

    def live(analyst: Analyst) -> None:
        try:
            analyst.run()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failures.append(error)
            stop.set()
        finally:
            ended.put(analyst)

    threads = [threading.Thread(target=live, args=(analyst,), name=analyst.name) for analyst in crew]
    with _quiet_parser():
        try:
            for thread in threads:
                thread.start()
            _watch(board, plan, f"reporter-{process}", on_progress, ended=ended, analysts=analysts)
        finally:
            stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
    if failures:
        raise failures[0]


def _watch(
    board: Board,
    plan: Plan,
    name: str,
    on_progress: Callable[[Progress], None] | None,
    *,
    ended: SimpleQueue[Analyst],
    analysts: int,
) -> None:
    """The reporter while the others work: a heartbeat of its own, and the state of things for people."""
    while analysts:
        # A store that is away for a moment is the analysts' business: they wait for it, the display only stands still.
        with suppress(Unavailable, OutcomeUnknown):
            board.heartbeat(name, "reporter", "watching")
            if on_progress is not None:
                on_progress(Progress(plan, board.counters(plan), board.alive()))
        # Not a join with a time-out: interrupted there, CPython 3.11 takes the thread for ended (python/cpython#90882)
        # and whoever then joins it for good goes on while it still works.
        with suppress(Empty):
            ended.get(timeout=_PROGRESS_SECONDS)
            analysts -= 1


def _finish(board: Board, plan: Plan) -> dict[str, Any]:
    standing = board.plan()
    if standing is None or standing.run != plan.run:
        raise RunReplaced(f"run {plan.run} of {plan.path} was replaced: run again to join the new one")
    report = reporter.report(board, plan)
    board.finish(plan, report)
    return report


@contextmanager
def _quiet_parser() -> Iterator[None]:
    """Python's parser warns of other people's invalid escapes; catch_warnings is of the process, hence here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
