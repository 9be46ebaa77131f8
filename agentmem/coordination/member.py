"""One agent's place in a fleet, while it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from agentmem import translate
from agentmem.coordination.barrier import Barrier
from agentmem.coordination.lease import Lease
from agentmem.coordination.messaging import DAY_SECONDS, KEPT
from agentmem.ttl import TTL, UNSET, Duration, MaybeTTL

if TYPE_CHECKING:
    from agentmem.coordination.fleet import Fleet
    from agentmem.coordination.messaging import Message
    from agentmem.coordination.planning import Assignment
    from agentmem.gateway import Gateway
    from agentmem.memory import Memory


class Member(Lease):
    """Made by `fleet.register()`; leaves at the end of a `with` block. Any number of threads may share it.

    It is the lease of the agent's name: it belongs to the process that registered it, `lost` is set when it was found
    lost, and it fences: `memory.put(..., fence=member)` writes only while the agent counts as alive. Once it is lost,
    every further heartbeat raises LeaseLost, and the agent's tasks may be others' by now: `join` takes the place anew,
    if nobody else has it, as does another `register`.

    Attributes:
        agent: its name in the fleet.
        fleet: where.
    """

    def __init__(
        self,
        fleet: Fleet,
        memory: Memory,
        gateway: Gateway,
        agent: str,
        key: str,
        *,
        ttl: Duration,
        beat: bool,
        told: dict[str, Any],
    ) -> None:
        super().__init__(gateway, key, ttl, renew=beat, metadata=told)
        self.agent = agent
        self.fleet = fleet
        self._memory = memory
        self._told = told

    def join(self) -> Self:
        """Take the place; `register` does it. Again after it was lost or left: as a new member, who fences anew.

        Raises:
            LeaseHeld: a living member has the name, which may be this very one.
        """
        return super().__enter__()

    def heartbeat(self, doing: Any = UNSET) -> None:
        """Say that the agent lives, for another ttl from now on; one round trip.

        Args:
            doing: JSON, what it does; left out, what it said last stands.

        Raises:
            LeaseLost: the place is lost, and `lost` is set. Nothing was changed.
            InvalidValue, ValueTooLarge: refused before any I/O; role, details and this come to 16 KiB at most.
        """
        if doing is not UNSET:
            told = self._told | {"doing": doing}
            # The thread that renews takes it from here, too.
            self._entry.metadata = translate.encoded_metadata(told)
            self._told = told
        self.renew()

    def leave(self) -> None:
        """End the membership, and its thread. Idempotent; that the place was lost is no error."""
        self.release()

    # What a member does in its own name.

    def report(self, status: Any, *, ttl: MaybeTTL = UNSET) -> None:
        """As `fleet.report`."""
        self.fleet.report(self, status, ttl=ttl)

    def assignments(self) -> dict[str, Assignment]:
        """The tasks that are this agent's."""
        return self.fleet.assignments(self)

    def broadcast(self, message: Any, *, ttl: TTL = DAY_SECONDS, keep: int = KEPT) -> int:
        """As `fleet.broadcast`, in the name of this agent."""
        return self.fleet.broadcast(message, ttl=ttl, keep=keep, sender=self.agent)

    def messages(self, *, limit: int = 100, timeout: float | None = None) -> list[Message]:
        """As `fleet.messages`."""
        return self.fleet.messages(self, limit=limit, timeout=timeout)

    def commit(self, number: int) -> None:
        """As `fleet.commit`."""
        self.fleet.commit(self, number)

    def barrier(self, name: str, parties: int, *, timeout: float | None = None, keep: TTL = None) -> None:
        """As `fleet.barrier`. While it waits the member beats, and when the agent dies its arrival dies with it.

        Raises:
            LeaseLost: the place in the fleet is lost.
        """
        fleet, memory, seconds = self.fleet, self._memory, self.ttl_seconds
        barrier = Barrier(fleet, memory, name, parties, party=self.agent, ttl_seconds=seconds, keep=keep)
        barrier.wait(timeout, renew=self.heartbeat)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.agent!r} of {self.fleet!r}>"
