"""The fleet's blackboard: which keys there are, and every step that agents take together.

Below the tree's own prefix, in one partition:

    plan                        what is examined, which run is current, its state
    runs                        how many runs there were
    agents/<agent>              a heartbeat, gone a few seconds after the last one
    run-0001/open/<lot>/<file>  still to do; removed in the step that stores the finding
    run-0001/lease/<file>       somebody works on it; expires with a dead analyst, and the file is free again
    run-0001/findings/<file>    what was found
    run-0001/counters/<what>    sums over the findings, kept exact by the same step
    run-0001/work/<agent>       files that this agent completed
    run-0001/report             the reporter's tables

Nothing but the public surface of `Memory` is used, and no agent knows of another one but from here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import VersionConflict
from agentmem.operations import Check, Delete, Increment, Put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentmem.demo.sources import Source
    from agentmem.entries import Entry
    from agentmem.memory import Memory
    from agentmem.transaction import Transaction

#: Sums over the findings that the board keeps, beside the number of files.
COUNTED: Final = ("lines", "functions", "classes", "complexity")

#: Lots spread the analysts: two meet only where they look into the same one.
_LOTS: Final = 128

HEARTBEAT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is examined, as the planner wrote it.

    Attributes:
        run: the number of the run; its keys begin with `prefix`.
        path: the folder, for people.
        files: how many there are.
        state: `working` or `done`.
        skipped: what could not be listed.
    """

    run: int
    path: str
    files: int
    state: str = "working"
    skipped: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What all keys of the run begin with."""
        return f"run-{self.run:04d}/"

    @classmethod
    def of(cls, entry: Entry) -> Plan:
        """Read a plan from its entry."""
        value = entry.value
        return cls(**{**value, "skipped": tuple(value["skipped"])})


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that an analyst may work on, and the version of its lease: the fencing token of the completion."""

    open_key: str
    name: str
    lease_version: int


class Board:
    """One tree's blackboard.

    Args:
        memory: a handle whose keys are the board's alone, such as `memory.scoped("tree/")`.
        retention_seconds: everything that the fleet leaves expires so long after it was written.
        lease_seconds: how long an analyst may take for a small file before others may take it.
    """

    def __init__(self, memory: Memory, *, retention_seconds: float, lease_seconds: float) -> None:
        self.memory = memory
        self.retention_seconds = retention_seconds
        self.lease_seconds = lease_seconds

    def plan(self) -> Plan | None:
        """Return the standing plan."""
        entry = self.memory.entry("plan")
        return None if entry is None else Plan.of(entry)

    def publish(self, plan: Plan, sources: Sequence[Source], replaces: Entry | None) -> bool:
        """Write a plan and all of its open work in one batch.

        Returns:
            Whether it was written; False when the standing plan is no longer the one that it `replaces`.
        """
        ttl = self.retention_seconds
        lots = max(1, min(_LOTS, len(sources) // 8))
        head = Put(
            "plan",
            asdict(plan),
            ttl=ttl,
            if_absent=replaces is None,
            if_version=None if replaces is None else replaces.version,
        )
        work = [
            Put(f"{plan.prefix}open/{index % lots:03d}/{source.name}", {"size_bytes": source.size_bytes}, ttl=ttl)
            for index, source in enumerate(sources)
        ]
        try:
            self.memory.apply([head, *work])
        except VersionConflict:
            return False
        return True

    def lots(self, plan: Plan) -> list[str]:
        """The prefixes under which there is open work; none when every file is done."""
        return self.memory.children(f"{plan.prefix}open/")

    def open_work(self, plan: Plan, lot: str) -> list[Entry]:
        """Open files of a lot that nobody holds right now."""
        entries = list(self.memory.items(lot))
        leases = self.memory.get_many([_lease_key(plan, _name(entry.key)) for entry in entries])
        return [entry for entry in entries if _lease_key(plan, _name(entry.key)) not in leases]

    def claim(self, plan: Plan, work: Entry, agent: str) -> Claim | None:
        """Take a file, unless somebody holds it or it was done meanwhile: both are decided in one step."""
        name = _name(work.key)
        # A file may take longer the larger it is; ten seconds for each megabyte is ample on a busy machine.
        seconds = self.lease_seconds + work.value["size_bytes"] / 100_000
        lease = Put(_lease_key(plan, name), {"agent": agent}, ttl=seconds, if_absent=True)
        try:
            _, result = self.memory.apply([Check(work.key, work.version), lease])
        except VersionConflict:
            return None
        assert result.entry is not None  # noqa: S101  # a Put always has one
        return Claim(work.key, name, result.entry.version)

    def complete(self, plan: Plan, claim: Claim, finding: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Store a finding, take the file off the open work and count it, all in one step.

        The deletion of the lease under its version guards the rest: an analyst that was too slow, or a batch that is
        sent again because its first outcome is unknown, changes nothing.

        Returns:
            Whether this call did it.
        """
        ttl, prefix = self.retention_seconds, plan.prefix
        sums = {name: finding[name] for name in COUNTED} | {"files": 1, "errors": int(finding["error"] is not None)}
        try:
            self.memory.apply(
                [
                    Delete(_lease_key(plan, claim.name), if_version=claim.lease_version),
                    Delete(claim.open_key),
                    Put(f"{prefix}findings/{claim.name}", finding, ttl=ttl, metadata=metadata),
                    *(Increment(f"{prefix}counters/{name}", by, ttl=ttl) for name, by in sums.items()),
                    Increment(f"{prefix}work/{metadata['agent']}", ttl=ttl),
                ]
            )
        except VersionConflict:
            return False
        return True

    def heartbeat(self, agent: str, role: str, doing: str) -> None:
        """Say that an agent lives, and what it does."""
        self.memory.put(f"agents/{agent}", {"role": role, "doing": doing}, ttl=HEARTBEAT_SECONDS)

    def alive(self) -> dict[str, Any]:
        """The agents whose heartbeat has not expired, of all processes."""
        return {entry.key.removeprefix("agents/"): entry.value for entry in self.memory.items("agents/")}

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


def _lease_key(plan: Plan, name: str) -> str:
    return f"{plan.prefix}lease/{name}"


def _name(open_key: str) -> str:
    return open_key.split("/", 3)[3]
