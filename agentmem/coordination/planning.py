"""What a fleet works on: its plan, who has which task, and how far everybody is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentmem.coordination.blackboard import Blackboard, name_of
from agentmem.errors import VersionConflict
from agentmem.operations import Check, Delete
from agentmem.ttl import UNSET, MaybeTTL

if TYPE_CHECKING:
    from datetime import datetime

    from agentmem.coordination.member import Member
    from agentmem.entries import Entry


@dataclass(frozen=True, slots=True)
class Assignment:
    """One agent's task.

    Attributes:
        task: its name.
        agent: whose it is.
        since: when it was assigned, by the server's clock.
        key: of its entry, relative to the handle.
        version: of its entry, the fencing token: a batch that begins with `Check(key, version)`, or ends the task by
            `Delete(key, version)`, is applied only while the task is still this agent's.
    """

    task: str
    agent: str
    since: datetime
    key: str
    version: int

    @classmethod
    def of(cls, task: str, entry: Entry) -> Assignment:
        """Read it from its entry."""
        return cls(task, entry.value, entry.updated_at, entry.key, entry.version)


@dataclass(frozen=True, slots=True)
class Status:
    """What an agent reported last.

    Attributes:
        agent: who.
        status: what.
        at: when, by the server's clock.
    """

    agent: str
    status: Any
    at: datetime


class Planning(Blackboard):
    """The part of `Fleet` that holds plan, tasks and status board."""

    def publish(
        self, plan: Any, *, if_version: int | None = None, if_absent: bool = False, ttl: MaybeTTL = UNSET
    ) -> Entry:
        """Store the plan; several planners agree by compare-and-set.

        Args:
            plan: JSON.
            if_version: only over the plan of this version, which `plan()` told.
            if_absent: only where there is none.
            ttl: as in `memory.put`.

        Raises:
            VersionConflict: another planner was first; `current` is its plan. Nothing was written.
        """
        return self._memory.put(self.prefix + "plan", plan, ttl=ttl, if_version=if_version, if_absent=if_absent)

    def plan(self) -> Entry | None:
        """The standing plan as an entry, whose `version` is what `publish` compares; None when there is none."""
        return self._memory.entry(self.prefix + "plan")

    def assign(self, task: str, agent: str | Member, *, ttl: MaybeTTL = UNSET) -> Assignment | None:
        """Give a task to an agent unless another one has it; the server decides, so each task is one agent's.

        Args:
            task: its name.
            agent: who; that it lives is not asked.
            ttl: as in `memory.put`; when it is over, the task is nobody's again.

        Returns:
            The assignment, also when the agent had the task already, so that the call may be repeated after
            OutcomeUnknown; None when the task is another's.
        """
        name = name_of(agent)
        try:
            entry = self._memory.put(self._key("tasks", task), name, ttl=ttl, if_absent=True)
        except VersionConflict as error:
            entry = error.current
        return Assignment.of(task, entry) if entry.value == name else None

    def release(self, assignment: Assignment) -> bool:
        """Take a task from its agent, because it is done or given back; tell whether it still was the agent's."""
        try:
            return self._memory.delete(assignment.key, if_version=assignment.version)
        except VersionConflict:
            return False

    def reassign(self) -> list[str]:
        """Take the tasks of agents that do not live from them, and return the tasks: nobody's now, for `assign`.

        Each is decided by the server in one step, which looks whether the agent is still away: one that came back
        keeps its tasks, and of several that call this one gets the task. A task of an agent that never registered goes
        back, too. Costs a round trip for each task of the dead.
        """
        living = self._names("agents")
        dead = [one for one in self.assignments().values() if one.agent not in living]
        return [one.task for one in dead if self._is_taken_back(one)]

    def _is_taken_back(self, one: Assignment) -> bool:
        try:
            self._memory.apply([Check(self._key("agents", one.agent), None), Delete(one.key, one.version)])
        except VersionConflict:
            return False
        return True

    def assignments(self, agent: str | Member | None = None) -> dict[str, Assignment]:
        """All assignments by task, or those of one agent; in order of tasks."""
        found = (Assignment.of(task, entry) for task, entry in self._below("tasks"))
        wanted = None if agent is None else name_of(agent)
        return {one.task: one for one in found if wanted in (None, one.agent)}

    def report(self, agent: str | Member, status: Any, *, ttl: MaybeTTL = UNSET) -> None:
        """Put an agent's status on the board, in place of what it reported before.

        Args:
            agent: whose.
            status: JSON.
            ttl: as in `memory.put`. A status outlives its agent: whether that lives, `alive` tells.
        """
        self._memory.put(self._key("board", name_of(agent)), status, ttl=ttl)

    def board(self) -> dict[str, Status]:
        """What each agent reported last, by agent, in order of names."""
        return {agent: Status(agent, entry.value, entry.updated_at) for agent, entry in self._below("board")}
