"""The blackboard of a fleet: what its agents know of each other and agree on, through one memory.

Below the fleet's own prefix, `fleet/<name>/`:

    agents/<agent>             a living member; ends when it falls silent
    plan                       what the fleet works on
    tasks/<task>               whose the task is
    board/<agent>              what the agent reported last
    last                       the number of the newest message
    messages/<number>          a message, for a while
    cursors/<agent>            up to which message the agent is
    barriers/<barrier>         it is open
    arrivals/<barrier>/<party> a party waits there; ends when it falls silent

All of it are entries like others: they can be read, watched and searched, and count in `stats`.
"""

from __future__ import annotations

import secrets
from typing import final

from agentmem.coordination.barrier import Barrier
from agentmem.coordination.membership import Membership
from agentmem.coordination.messaging import Messaging
from agentmem.coordination.planning import Planning
from agentmem.ttl import TTL, Duration, duration_ms


@final
class Fleet(Membership, Planning, Messaging):
    """Made by `memory.fleet(name)`; costs nothing to make, holds no state, and serves any number of threads.

    Names of agents, tasks, barriers and parties are any text that a key may hold. Every step is atomic, and decided by
    the server. All methods may raise InvalidKey, Unavailable and Closed, those that write also OutcomeUnknown and
    NamespaceError; what is given as JSON is checked as in `memory.put`.
    """

    def barrier(
        self,
        name: str,
        parties: int,
        *,
        timeout: float | None = None,
        party: str | None = None,
        ttl: Duration = 10.0,
        keep: TTL = None,
    ) -> None:
        """Wait until so many parties are there, then go on with all of them.

        A barrier opens once, and stays open: who comes later passes at once. For the next round take another
        name, such as `f"epoch-{n}"`. It opens in a step in which all the parties live; one that died while it waited
        counts for `ttl` more at the most, and until then the others may pass. Who waits looks after pauses that grow
        to half a second, and sits out a server that is away.

        Args:
            name: of the barrier.
            parties: how many; the same for all of them.
            timeout: seconds; None waits for as long as it takes.
            party: who arrives. Two arrivals of one party are one, so an agent that was started again should take its
                own name, as `member.barrier` does; left out, each call is a party.
            ttl: how long an arrival counts after its party fell silent; it is renewed while the party waits.
            keep: how long it stays open; None for good. After that it is as if nobody had come yet: so well above a
                second, which a party may need to see it open, and above what a restart of the server takes.

        Raises:
            BarrierTimeout: it did not open in time, and the arrival was taken back.
        """
        one = secrets.token_hex(8) if party is None else party
        seconds = duration_ms("ttl", ttl) / 1000
        Barrier(self, self._memory, name, parties, party=one, ttl_seconds=seconds, keep=keep).wait(timeout)

    def forget(self, agent: str) -> int:
        """Remove an agent's status and its cursor, which outlive it; return how many there were."""
        return self._memory.delete_many([self._key("board", agent), self._key("cursors", agent)])

    def clear(self) -> int:
        """Remove all that the fleet left, members included, and return how many entries; as `memory.clear`."""
        return self._memory.scoped(self.prefix).clear()
