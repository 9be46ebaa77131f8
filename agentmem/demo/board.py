"""The fleet's blackboard: which keys there are, and every step that agents take together.

Below the tree's own prefix, in one partition:

    plan                       what is examined, which run is current, its state
    runs                       how many runs there were
    orders                     a Q-table: files of which size pay; kept from run to run
    fleet/crew/agents/<agent>  a member, gone a few seconds after its last heartbeat
    session/journal/           what the agents say about their work, the newest of it
    run-0001/files             a queue: what is still to do; a dead analyst's file returns when its lease ends
    run-0001/findings/<file>   what was found; stored in the step that takes the file off the queue
    run-0001/counters/<what>   sums over the findings, kept exact by the same step
    run-0001/work/<agent>      files that this agent completed
    run-0001/report            the reporter's tables

Queues and Q-tables are no entries and do not expire. An empty queue leaves nothing; that of a run which was never
finished goes when the next run of the tree is planned.

Nothing but the public surface of `Memory` is used, and no agent knows of another one but from here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from agentmem.demo.orders import size_of
from agentmem.errors import LeaseLost, OutcomeUnknown, Unavailable, VersionConflict
from agentmem.operations import Ack, Enqueue, Increment, Put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentmem.coordination.member import Member
    from agentmem.coordination.membership import MemberInfo
    from agentmem.coordination.queue import Queue
    from agentmem.demo.sources import Source
    from agentmem.entries import Entry
    from agentmem.jobs import Job
    from agentmem.memory import Memory
    from agentmem.transaction import Transaction

#: Sums over the findings that the board keeps, beside the number of files.
COUNTED: Final = ("lines", "functions", "classes", "complexity")

HEARTBEAT_SECONDS: Final = 3.0

#: How much of the journal is kept.
_JOURNAL: Final = 200

#: While Python's parser is busy no other thread runs, those that extend leases included; twice what it needs.
_PARSED_BYTES_PER_SECOND: Final = 400_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is examined, as the planner wrote it.

    Attributes:
        run: the number of the run; its keys begin with `prefix`.
        path: the folder, for people.
        files: how many there are.
        state: `working` or `done`.
        skipped: what could not be listed.
        order: which files come first, by their sizes.
        experience: from how many lessons the order was learned; 0 for none, then it is at random.
        largest_bytes: the size of the largest file.
    """

    run: int
    path: str
    files: int
    state: str = "working"
    skipped: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    experience: int = 0
    largest_bytes: int = 0

    @property
    def prefix(self) -> str:
        """What all keys of the run begin with."""
        return f"run-{self.run:04d}/"

    @classmethod
    def of(cls, entry: Entry) -> Plan:
        """Read a plan from its entry."""
        value = entry.value
        return cls(**{**value, "skipped": tuple(value["skipped"]), "order": tuple(value["order"])})


class Board:
    """One tree's blackboard.

    Args:
        memory: a handle whose keys are the board's alone, such as `memory.scoped("tree/")`.
        retention_seconds: every entry that the fleet leaves, but the number of runs, expires so long after it was
            written.
        lease_seconds: how long a dead analyst's file stays with it, or a little longer where there are large ones.

    Attributes:
        orders: what was learned; see `agentmem.demo.orders`.
    """

    def __init__(self, memory: Memory, *, retention_seconds: float, lease_seconds: float) -> None:
        self.memory = memory
        self.retention_seconds = retention_seconds
        self.lease_seconds = lease_seconds
        self.orders = memory.qtable("orders", alpha=0.2)
        self._fleet = memory.fleet("crew")
        self._journal = memory.session("journal", ttl=retention_seconds, keep=_JOURNAL)

    def plan(self) -> Plan | None:
        """Return the standing plan."""
        entry = self.memory.entry("plan")
        return None if entry is None else Plan.of(entry)

    def publish(self, plan: Plan, sources: Sequence[Source], replaces: Entry | None) -> bool:
        """Write a plan and all of its open work in one batch.

        Returns:
            Whether it was written; False when the standing plan is no longer the one that it `replaces`.
        """
        head = Put(
            "plan",
            asdict(plan),
            ttl=self.retention_seconds,
            if_absent=replaces is None,
            if_version=None if replaces is None else replaces.version,
        )
        # Any number of attempts: however often a file's analysts are killed, some day it is examined.
        work = [
            Enqueue(_queue(plan), source._asdict(), priority=-plan.order.index(size), max_attempts=None)
            for source in sources
            for size in [size_of(source.size_bytes)]
        ]
        try:
            self.memory.apply([head, *work])
        except VersionConflict:
            return False
        return True

    def queue(self, plan: Plan) -> Queue:
        """The files that are still to do; each job's value is a Source."""
        return self.memory.queue(
            _queue(plan), lease=self.lease_seconds + plan.largest_bytes / _PARSED_BYTES_PER_SECOND, max_attempts=None
        )

    def complete(self, plan: Plan, job: Job, finding: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Store a finding, end the job and count it, all in one step.

        The ack guards the rest: an analyst that was too slow, or a batch that is sent again because its first outcome
        is unknown, changes nothing.

        Returns:
            Whether this call did it.
        """
        ttl, prefix = self.retention_seconds, plan.prefix
        sums = {name: finding[name] for name in COUNTED} | {"files": 1, "errors": int(finding["error"] is not None)}
        try:
            self.memory.apply(
                [
                    Ack(job),
                    Put(f"{prefix}findings/{job.value['name']}", finding, ttl=ttl, metadata=metadata),
                    *(Increment(f"{prefix}counters/{name}", by, ttl=ttl) for name, by in sums.items()),
                    Increment(f"{prefix}work/{metadata['agent']}", ttl=ttl),
                ]
            )
        except LeaseLost:
            return False
        return True

    def drop_runs_before(self, plan: Plan) -> None:
        """Remove what older runs left: who works on them loses the leases, and completes nothing any more."""
        for name in self.memory.queues("run-"):
            if _run(name) < plan.run:
                self.memory.queue(name).purge()
        for prefix in self.memory.children("run-"):
            if _run(prefix) < plan.run:
                self.memory.delete_matching(f"{prefix}*")

    def join(self, agent: str, role: str, *, beat: bool = False) -> Member:
        """Take a place in the fleet; with `beat` a thread keeps it."""
        return self._fleet.register(agent, role=role, ttl=HEARTBEAT_SECONDS, beat=beat)

    def alive(self) -> dict[str, MemberInfo]:
        """The agents whose heartbeat has not expired, of all processes."""
        return self._fleet.alive()

    def say(self, agent: str, what: str, *, once: str | None = None) -> None:
        """Add a line to the journal; not where the store is away for a moment, for news can be missed.

        Args:
            agent: who says it.
            what: for people.
            once: a name for the event, where several agents see the same one.
        """
        with suppress(Unavailable, OutcomeUnknown):
            self._journal.append({"agent": agent, "what": what}, request_id=once)

    def journal(self, limit: int) -> list[dict[str, Any]]:
        """The newest lines of the journal, oldest first."""
        return [message.value for message in self._journal.messages(limit=limit)]

    def counters(self, plan: Plan) -> dict[str, int]:
        """The shared counters, in one consistent view."""
        prefix = f"{plan.prefix}counters/"
        names = (*COUNTED, "files", "errors")
        found = self.memory.get_many([prefix + name for name in names])
        return {name: found.get(prefix + name, 0) for name in names}

    def work(self, plan: Plan) -> dict[str, int]:
        """How many files each agent completed."""
        prefix = f"{plan.prefix}work/"
        return {entry.key.removeprefix(prefix): entry.value for entry in self.memory.items(prefix)}

    def findings(self, plan: Plan) -> Iterator[Entry]:
        """All findings, by name."""
        return self.memory.items(f"{plan.prefix}findings/")

    def finish(self, plan: Plan, report: dict[str, Any]) -> None:
        """Store the report and mark the plan as done, unless a fresh run has replaced it."""

        def write(tx: Transaction) -> None:
            standing = tx.get("plan")
            if standing is not None and standing["run"] == plan.run:
                tx.put("plan", asdict(replace(plan, state="done")), ttl=self.retention_seconds)
                tx.put(f"{plan.prefix}report", report, ttl=self.retention_seconds)

        self.memory.run(write)

    def report(self, plan: Plan) -> dict[str, Any] | None:
        """The stored report of a finished run."""
        report: dict[str, Any] | None = self.memory.get(f"{plan.prefix}report")
        return report


def beat(member: Member, doing: str) -> None:
    """Say what an agent does; one that was silent for too long, stopped perhaps, takes its place again."""
    try:
        member.heartbeat(doing)
    except LeaseLost:
        member.join()


def _queue(plan: Plan) -> str:
    return f"{plan.prefix}files"


def _run(name: str) -> int:
    return int(name.removeprefix("run-").partition("/")[0])
