"""The fleet: a planner, analysts in threads and a reporter, which work on one tree through one memory."""

from __future__ import annotations

import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentmem.demo import reporter
from agentmem.demo.analyst import Analyst
from agentmem.demo.board import Board, Plan, beat
from agentmem.demo.orders import choose_order, learned
from agentmem.demo.sources import Listing, list_sources, tree_name
from agentmem.errors import AgentMemError, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from agentmem.coordination.member import Member
    from agentmem.coordination.membership import MemberInfo
    from agentmem.jobs import Job
    from agentmem.memory import Memory

RETENTION_SECONDS: Final = timedelta(days=7).total_seconds()
_PROGRESS_SECONDS: Final = 0.2

#: How long a store may give no answer before the fleet gives up.
PATIENCE_SECONDS: Final = 60.0

#: How long an analyst has for the file in its hands when the fleet is to stop.
_GRACE_SECONDS: Final = 10.0


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
    alive: dict[str, MemberInfo]


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
        plan = _draw_up(board, root, listing)
        if board.publish(plan, listing.sources, replaces=standing):
            board.drop_runs_before(plan)
            board.say("planner", f"planned run {plan.run}: {plan.files:,} files, the {plan.order[0]} ones first")
            return plan
        before, standing = standing, board.memory.entry("plan")
        if standing is not None and (before is None or Plan.of(standing).run != Plan.of(before).run):
            return Plan.of(standing)


def _draw_up(board: Board, root: Path, listing: Listing) -> Plan:
    return Plan(
        int(board.memory.increment("runs")),
        str(root.resolve()),
        len(listing.sources),
        skipped=tuple(listing.skipped),
        order=choose_order(board.orders),
        experience=sum(row["lessons"] for row in learned(board.orders)),
        largest_bytes=max((source.size_bytes for source in listing.sources), default=0),
    )


class Crew:
    """The analysts of this process. Each is one agent, so it has one file at a time, whichever thread works."""

    def __init__(self, board: Board, plan: Plan, analysts: list[Analyst]) -> None:
        self._queue = board.queue(plan)
        self._threads = len(analysts)
        self._idle = list(analysts)
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="analysts")
        self._failures: list[BaseException] = []

    def start(self) -> None:
        """Work in threads until every file of the run is done, by whomever, or until told to stop."""
        self._thread.start()

    def has_ended(self, wait_seconds: float) -> bool:
        """Wait so long at the most for the end."""
        # Not a join with a time-out: interrupted there, CPython 3.11 takes the thread for ended (python/cpython#90882)
        # and whoever then joins it for good goes on while it still works.
        return self._ended.wait(wait_seconds)

    def stop(self) -> None:
        """Let each analyst finish its file."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def raise_failure(self) -> None:
        """Raise what ended the work, if anything went wrong."""
        if self._failures:
            raise self._failures[0]

    def _work(self) -> None:
        try:
            self._queue.work(
                self._examine,
                threads=self._threads,
                stop=self._stop,
                until_empty=True,
                backoff=0.2,
                longest_backoff=2.0,
                grace=_GRACE_SECONDS,
            )
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._failures.append(error)
        finally:
            self._ended.set()

    def _examine(self, job: Job) -> None:
        """As `Analyst.examine`, by one who is idle; there are as many of them as threads."""
        analyst = self._idle.pop()
        try:
            analyst.examine(job)
        except BaseException as error:
            # A store that is away is the worker's business, which waits for it and tries the file again.
            if not (isinstance(error, OutcomeUnknown) or (isinstance(error, Unavailable) and error.retryable)):
                self._failures.append(error)
                self._stop.set()
            raise
        finally:
            self._idle.append(analyst)


def _work(board: Board, plan: Plan, root: Path, analysts: int, on_progress: Callable[[Progress], None] | None) -> None:
    process = secrets.token_hex(2)
    with _quiet_parser(), ExitStack() as leaving:
        member = board.join(f"reporter-{process}", "reporter")
        leaving.callback(_leave, member)
        team = []
        for number in range(1, analysts + 1):
            team.append(Analyst(board, plan, root, f"analyst-{number}-{process}"))
            leaving.callback(team[-1].leave)
        board.say(member.agent, f"began with {analysts} analysts at file {board.counters(plan)['files']:,}")
        crew = Crew(board, plan, team)
        try:
            crew.start()
            _watch(board, plan, member, on_progress, crew)
        finally:
            crew.stop()
        crew.raise_failure()


def _leave(member: Member) -> None:
    with suppress(Unavailable, OutcomeUnknown):
        member.leave()


def _watch(
    board: Board, plan: Plan, member: Member, on_progress: Callable[[Progress], None] | None, crew: Crew
) -> None:
    """The reporter while the others work: its heartbeat, and the state of things for people."""
    answered = time.monotonic()
    while True:
        # A store that is away for a moment is the analysts' business: they wait for it, the display only stands still.
        try:
            beat(member, "watching")
            if on_progress is not None:
                on_progress(Progress(plan, board.counters(plan), board.alive()))
            answered = time.monotonic()
        except (Unavailable, OutcomeUnknown):
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
        if crew.has_ended(_PROGRESS_SECONDS):
            return


def _finish(board: Board, plan: Plan) -> dict[str, Any]:
    standing = board.plan()
    if standing is None or standing.run != plan.run:
        raise RunReplaced(f"run {plan.run} of {plan.path} was replaced: run again to join the new one")
    board.say("reporter", f"every file of run {plan.run} is done", once=f"run {plan.run} is done")
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
