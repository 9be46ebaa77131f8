"""Work queues on Redis: every step is one script, and so is every look at a queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import InvalidArgument, InvalidOperation, LeaseLost, NamespaceError, VersionConflict
from agentmem.moments import from_microseconds
from agentmem.queue_port import Counts, Exchange, Exchanged, Item, PutOutcome, QueueStore
from agentmem.redis import scripts
from agentmem.redis.packing import pack
from agentmem.redis.queue_layout import items, step_parts
from agentmem.redis.queue_wakeups import Wakeups
from agentmem.redis.writes import REFUSED

if TYPE_CHECKING:
    from agentmem.commands import Outcome
    from agentmem.redis.layout import Layout, Place
    from agentmem.redis.scripts import Script
    from agentmem.redis.servers import Servers
    from agentmem.redis.writes import Writes

LOOK_SECONDS: Final = 0.5
"""How often who waits looks for what becomes ready by time alone, unless it is known to be sooner."""

_PIECE: Final = 1_000
_LOST, _AGAIN = -3, -4
#: A plan that never stands, made of a TTL that no partition has.
_NEVER: Final[list[Any]] = ["never", "", "", [], [], []]


class RedisQueues(QueueStore):
    """The queues of a store.

    Whatever time alone has changed, a script puts in the books before it does anything else, 1,000 items at the most;
    where there are more it ends, and is called again.

    Args:
        servers: where partitions are.
        layout: how things are called.
        writes: the repository's, for commands and for partitions that are missing.
    """

    def __init__(self, servers: Servers, layout: Layout, writes: Writes) -> None:
        self._servers = servers
        self._layout = layout
        self._writes = writes
        self._wakeups = Wakeups(servers.dedicated)

    def exchange(self, partition: str, step: Exchange) -> Exchanged:
        place = self._layout.place(partition)
        call = partial(self._step, partition, place, step, step_parts(step))
        answer, outcomes = self._planned(place, step, call) if step.commands else (call([]), [])
        _, _, puts, ends, leased = answer
        created = zip(puts[::2], puts[1::2], strict=True)
        return Exchanged(
            [PutOutcome(number, bool(new)) for number, new in created],
            sorted(items(leased, "leased"), key=lambda item: (-item.priority, item.id)),  # a repeated claim's are by id
            outcomes,
            [from_microseconds(end) for end in ends],
        )

    def _planned(self, place: Place, step: Exchange, call: Callable[[list[Any]], Any]) -> tuple[Any, list[Outcome]]:
        try:
            return self._writes.planned(place, step.commands, call)
        except (InvalidArgument, InvalidOperation, VersionConflict):
            if step.settles or step.puts:  # they come first: so does the news that they are refused
                call(_NEVER)
            raise

    def _step(self, partition: str, place: Place, step: Exchange, parts: list[Any], plan: list[Any]) -> Any:
        packed = pack([*parts, plan])
        answer = self._writes.created(partition, place, scripts.QUEUE_EXCHANGE, packed)
        while answer[0] == _AGAIN:
            answer = self._writes.created(partition, place, scripts.QUEUE_EXCHANGE, packed)
        if answer[0] == REFUSED:
            raise NamespaceError(answer[2].decode(), answer[1].decode())
        if answer[0] == _LOST:
            lost = [step.settles[position] for position in answer[1:]]
            raise LeaseLost(lost[0].queue, (settle.id for settle in lost))
        return answer

    def peek(self, partition: str, queue: str, limit: int, *, dead: bool = False) -> list[Item]:
        _, *found = self._look(partition, scripts.QUEUE_PEEK, queue, limit, b"1" if dead else b"")
        return items(found, "dead" if dead else "ready")

    def counts(self, partition: str, queue: str) -> Counts:
        _, *numbers = self._look(partition, scripts.QUEUE_COUNTS, queue)
        return Counts(*numbers)

    def redrive(self, partition: str, queue: str, limit: int) -> int:
        revived, start = 0, b"-"
        while revived < limit:
            _, number, last = self._change(partition, scripts.QUEUE_REDRIVE, queue, limit - revived, start)
            revived += number
            if last is None:
                break
            start = b"(" + last
        return revived

    def purge(self, partition: str, queue: str, *, dead: bool) -> int:
        """As the port says; pieces of 1,000."""
        removed, more = 0, 1
        while more:
            _, number, more = self._change(partition, scripts.QUEUE_PURGE, queue, b"1" if dead else b"")
            removed += number
        return removed

    def names(self, partition: str, prefix: str = "") -> list[str]:
        """As the port says; pieces of 1,000."""
        place, first = self._layout.place(partition), prefix.encode()
        start, end = (b"[" + first, b"(" + first + b"\xff") if prefix else (b"-", b"+")
        found: list[str] = []
        while True:
            bounds = (place.queues, start, end, b"LIMIT", 0, _PIECE)
            piece = self._servers.ask(place.meta, b"ZRANGEBYLEX", *bounds)
            found += [name.decode() for name in piece]
            if len(piece) < _PIECE:
                return found
            start = b"(" + piece[-1]

    def wait(self, partition: str, queue: str, seconds: float) -> None:
        """As the port says: told by a channel, and looking each half second for what time alone makes ready."""
        place = self._layout.place(partition)
        deadline = time.monotonic() + seconds
        with self._wakeups.listen(place.queues + b":" + queue.encode()) as listener:
            while (left := deadline - time.monotonic()) > 0:
                listener.prepare(left)
                soonest_us = self._servers.run(place, scripts.QUEUE_NEXT, queue.encode())
                soonest = LOOK_SECONDS if soonest_us < 0 else soonest_us / 1_000_000
                if not soonest or listener.wait(min(soonest, LOOK_SECONDS, deadline - time.monotonic())):
                    return

    def drop(self, partition: str) -> None:
        """Remove all queues of a partition, each in pieces."""
        for name in self.names(partition):
            self.purge(partition, name, dead=False)

    def close(self) -> None:
        """End the thread that listens, if there is one. Idempotent."""
        self._wakeups.close()

    def _look(self, partition: str, script: Script, queue: str, *arguments: Any) -> Any:
        """Run a script whose only change may be what time has done already: so it may be sent again, as if it read."""
        place = self._layout.place(partition)
        while (answer := self._servers.run(place, script, queue.encode(), *arguments))[0] == _AGAIN:
            pass
        return answer

    def _change(self, partition: str, script: Script, queue: str, *arguments: Any) -> Any:
        place = self._layout.place(partition)
        while (answer := self._writes.write(place, script, queue.encode(), *arguments))[0] == _AGAIN:
            pass
        return answer
