"""Who belongs to a fleet and lives: an entry for each agent, which ends when the agent falls silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from agentmem.coordination.blackboard import Blackboard
from agentmem.coordination.member import Member
from agentmem.errors import CorruptEntry
from agentmem.ttl import Duration

if TYPE_CHECKING:
    from datetime import datetime

    from agentmem.coordination.fleet import Fleet
    from agentmem.entries import Entry


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A living agent, as everybody sees it.

    Attributes:
        agent: its name.
        role: as it registered.
        doing: as its last heartbeat said.
        details: as it registered.
        process: host and process id, for people.
        since: when it registered, by the server's clock.
        expires_at: when it counts as dead, unless it is heard of before.
    """

    agent: str
    role: str | None
    doing: Any
    details: Any
    process: str
    since: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, agent: str, entry: Entry) -> Self:
        """Read it from its entry.

        Raises:
            CorruptEntry: somebody else has written there.
        """
        try:
            told, owner = entry.metadata, entry.value["owner"]
            role, doing, details = told["role"], told["doing"], told["details"]
        except (KeyError, TypeError) as error:
            raise CorruptEntry(entry.key, "it is no member of a fleet") from error
        return cls(agent, role, doing, details, owner, entry.created_at, entry.expires_at)


class Membership(Blackboard):
    """The part of `Fleet` that knows who lives. The server's clock decides (R21)."""

    def register(
        self,
        agent: str,
        *,
        role: str | None = None,
        ttl: Duration = 10.0,
        details: Any = None,
        beat: bool = False,
    ) -> Member:
        """Join under a name that no other living member has; the server decides between two who try at once.

        Args:
            agent: the name. An agent that starts again takes the same one, and so finds its cursor and its tasks.
            role: what it is there for.
            ttl: how long after its last heartbeat it counts as alive; seconds or a timedelta.
            details: JSON, for others to read; short, see `heartbeat`.
            beat: send heartbeats from a thread of its own, each third of `ttl`, until the member leaves. Without it
                whoever registered calls `heartbeat` in time.

        Returns:
            The membership, also a context manager, which leaves at its end.

        Raises:
            LeaseHeld: a living member has the name: `owner` is its host and process. After a crash it is free when the
                ttl is over.
            InvalidTTL, InvalidArgument: a bad ttl or flag. ValueTooLarge: role and details are above 16 KiB.
        """
        told = {"role": role, "doing": None, "details": details}
        key = self._key("agents", agent)
        fleet = cast("Fleet", self)
        return Member(fleet, self._memory, self._gateway, agent, key, ttl=ttl, beat=beat, told=told).join()

    def alive(self) -> dict[str, MemberInfo]:
        """The living members by name, of all processes, in order of names.

        Raises:
            CorruptEntry: what stands in a member's place is none.
        """
        return {agent: MemberInfo.of(agent, entry) for agent, entry in self._below("agents")}

    def is_alive(self, agent: str) -> bool:
        """Tell whether a member of this name lives."""
        return self._memory.exists(self._key("agents", agent))
