"""What agents that work together ask a `Memory` for: queues, leases, sessions, fleets, learned values, changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from agentmem.handle import Handle
from agentmem.keys import validate_prefix
from agentmem.operations import DEFAULT_MAX_ATTEMPTS
from agentmem.ttl import Duration

if TYPE_CHECKING:
    import threading

    from agentmem.coordination.fencing import Fence
    from agentmem.coordination.fleet import Fleet
    from agentmem.coordination.lease import Lease
    from agentmem.coordination.qtable import QTable
    from agentmem.coordination.queue import Queue
    from agentmem.coordination.session import Session
    from agentmem.coordination.session_info import SessionInfo
    from agentmem.coordination.watch import Watch
    from agentmem.memory import Memory
    from agentmem.qtable_port import QTableStore
    from agentmem.queue_port import QueueStore


class Coordinating(Handle):
    """The part of `Memory` that agents work together by; docs/coordination.md shows each by an example.

    Names are keys under R1 and relative to the handle, as keys are: a scoped handle sees its own queues alone, and a
    namespace (R4) must begin them. What each object offers is atomic as its own documentation says. Nothing here makes
    any I/O before a method of the object is called.
    """

    def queue(self, name: str, *, lease: Duration = 30.0, max_attempts: int | None = DEFAULT_MAX_ATTEMPTS) -> Queue:
        """Return the work queue of a name: put, claim under a lease, ack. No I/O; nothing need be made or declared.

        Args:
            name: a key under R1; the handle's namespace must begin it (R4).
            lease: seconds or a timedelta; how long a claimed item is nobody else's, unless the claim says otherwise.
            max_attempts: after so many claims an item that is put here is dead; None for any number.

        Raises:
            InvalidKey, NamespaceError, InvalidArgument: a bad argument.
        """
        from agentmem.coordination.queue import Queue

        return Queue(self._gateway, name, lease=lease, max_attempts=max_attempts)

    def queues(self, prefix: str = "") -> list[str]:
        """List the queues that hold anything, dead items too, by code point.

        Args:
            prefix: only those whose names begin with it; literal.

        Raises:
            InvalidKey: a bad prefix. ConfigurationError: the backend has no work queues.
        """
        return self._names(lambda: self._gateway.queues, prefix)

    def fleet(self, name: str) -> Fleet:
        """Return the blackboard of a fleet of agents: who lives, plan, tasks, status, barriers, messages. No I/O.

        Args:
            name: of the fleet, any text that a key may hold. All that the fleet shares lies below `fleet/<name>/` of
                this handle, where the handle's namespace (R4) must allow it.

        Raises:
            InvalidKey, NamespaceError: a bad name.
        """
        from agentmem.coordination.fleet import Fleet

        self._gateway.check_open()
        fleet = Fleet(cast("Memory", self), self._gateway, name)
        self._scope.writable(fleet.prefix)
        return fleet

    def watch(
        self,
        prefix: str = "",
        *,
        position: str | None = None,
        poll: tuple[float, float] = (0.05, 1.0),
        timeout: float | None = None,
        heartbeat: float | None = None,
        stop: threading.Event | None = None,
    ) -> Watch:
        """Return an iterator over the changes below a prefix: what is put, deleted, or expires (R42). No I/O yet.

        It begins with what is there, each entry as a put, and then waits for more. Each change is given at least once,
        those of a key in their order; several of a key between two looks are one, the last, and what came and went
        between them is not seen at all. So what a watcher knows of a key is always what was the case at its last look.

        It looks again and again, after pauses, at keys and versions alone, and fetches what changed. A look costs the
        server in proportion to the keys below the prefix, however few of them changed; a pause is at least ten times
        as long as the look before it took. For work that one of many should do take a queue, for news to all the
        messages of a fleet: both cost what is new.

        Args:
            prefix: literal; "" for all of the handle's keys.
            position: what a former watch of this prefix gave by `position()`; goes on after it, and misses nothing that
                changed meanwhile, deletions and expiries included.
            poll: the shortest and the longest pause in seconds; they grow from one to the other while nothing happens.
            timeout: end after so many seconds without a change; None never ends. Asked for more it goes on.
            heartbeat: give a Change of kind `heartbeat` after so many seconds without another; None gives none.
            stop: ends it when it is set, from any thread.

        Returns:
            The iterator, also a context manager. While the server is away it waits (Unavailable is logged, not
            raised); its next look raises Closed when this handle is closed.

        Raises:
            InvalidKey, InvalidCursor, InvalidArgument: a bad prefix, position or number.
        """
        from agentmem.coordination.watch import Watch

        self._gateway.check_open()
        return Watch(
            self._gateway,
            prefix,
            position=position,
            poll=poll,
            timeout=timeout,
            heartbeat=heartbeat,
            stop=stop,
        )

    def lease(
        self,
        name: str,
        ttl: Duration,
        *,
        owner: str | None = None,
        wait: float = 0.0,
        renew: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Return the lease of a name, of which there is one holder at a time in all processes; not acquired yet.

            with memory.lease("leader", ttl=10, renew=True) as lease:
                memory.put("plan", plan, fence=lease)

        Args:
            name: a key under R1, and the key of the entry that tells who holds it.
            ttl: seconds or a timedelta; how long it lasts unless it is renewed. Well above what a pause of the process
                or a restart of the server takes.
            owner: what the holder calls itself, for others to read; None for host and process id.
            wait: seconds that a `with` block, or `acquire`, waits for another holder.
            renew: renew it from a thread, at each third of the ttl, until it is released, dropped or lost.
            metadata: of the entry.

        Raises:
            InvalidKey, NamespaceError, InvalidTTL, InvalidArgument, InvalidValue, ValueTooLarge: a bad argument.
        """
        from agentmem.coordination.lease import Lease

        self._gateway.check_open()
        return Lease(self._gateway, name, ttl, owner=owner, wait=wait, renew=renew, metadata=metadata)

    def qtable(self, name: str, *, alpha: float = 0.1, gamma: float = 0.9, initial: float = 0.0) -> QTable:
        """Return the Q-table of a name: what actions are worth in states, learned by all agents together (R43). No I/O.

        Args:
            name: a key under R1; the handle's namespace must begin it (R4).
            alpha: the learning rate, from 0 to 1: how far a value moves towards what a step has shown.
            gamma: what the future counts for, from 0 to 1.
            initial: where a value starts from, and what one counts of which nothing is known.

        Raises:
            InvalidKey, NamespaceError, InvalidArgument: a bad argument.
        """
        from agentmem.coordination.qtable import QTable

        return QTable(cast("Memory", self), self._gateway, name, alpha=alpha, gamma=gamma, initial=initial)

    def qtables(self, prefix: str = "") -> list[str]:
        """List the Q-tables that hold anything, by code point.

        Args:
            prefix: only those whose names begin with it; literal.

        Raises:
            InvalidKey: a bad prefix. ConfigurationError: the backend has no learned values.
        """
        return self._names(lambda: self._gateway.qtables, prefix)

    def _names(self, port: Callable[[], QueueStore | QTableStore], prefix: str) -> list[str]:
        """What a port lists below a relative prefix, as the handle calls it."""
        scope = self._scope
        start = scope.prefix + validate_prefix(prefix)
        names = self._gateway.call(port().names, scope.partition, start)
        return [scope.relative(name) for name in names if name != scope.prefix]

    def fenced(self, fence: Fence) -> Self:
        """Return a handle that writes only while a lease stands: the check is part of each write's own batch.

        A write that comes when the lease has ended, was released or has another holder raises LeaseLost and changes
        nothing, whatever this process believes. So do batches, transactions, sessions, and what queues do in one step.
        What is more than one step is refused by PermissionDenied: clear, delete_matching, purge_expired, policies,
        drop_partition, a queue's purge and redrive, learned values. Reads are not fenced. What is derived from the
        handle is fenced, too.

        Args:
            fence: a lease that is held, or a token of it; with the prefix of this handle or outside of it.

        Raises:
            InvalidArgument: no fence, or one of another partition. LeaseLost: a lease that is not held.
        """
        return self._fenced(fence)

    def session(
        self,
        session_id: str,
        *,
        ttl: Duration | None = None,
        keep: int | None = None,
        max_bytes: int | None = None,
    ) -> Session:
        """Return the session of an id: ordered messages, and a state. It is begun by the first write.

        It lies below `session/<id>/`, so a namespace (R4) other than that refuses it.

        Args:
            session_id: a text under R1; `/` in it is escaped in the keys.
            ttl: seconds or a timedelta, up to 25 years; it ends when it was neither written nor read for so long, give
                or take a tenth. None for the ttl that it was last written with, or never.
            keep: after each append through this object only so many messages are kept, the newest.
            max_bytes: as `keep`, by the sum of their JSON texts; the newest one is kept in any case.

        Raises:
            InvalidKey, NamespaceError, InvalidTTL, InvalidArgument: a bad argument.
        """
        from agentmem.coordination.session import Session

        self._gateway.check_open()
        return Session(self._gateway, session_id, ttl=ttl, keep=keep, max_bytes=max_bytes)

    def sessions(self, prefix: str = "") -> Iterator[SessionInfo]:
        """Iterate over the living sessions, in the order of their keys; costs follow their number.

        Args:
            prefix: only those whose ids begin with it; literal.

        Raises:
            InvalidKey: a bad prefix, at the call.
        """
        from agentmem.coordination.session_info import sessions

        return sessions(self._gateway, prefix)
