"""R18 for queues and learned values: whatever request of a call is lost, or its reply, nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

import agentmem
from agentmem import Ack, Enqueue, Increment, Job, Memory, OutcomeUnknown, Queue, Unavailable
from agentmem.coordination.qtable import QTable, Snapshot
from agentmem.redis import scripts
from agentmem.redis.scripts import Script
from agentmem.testing.faults import FaultProxy

pytestmark = [pytest.mark.fault, pytest.mark.slow]

STEPS: list[tuple[Any, ...]] = [("s", "a", 1.0, "s"), ("s", "b", 2.0, "t"), ("s", "a", 1.0)]
KNOWN = Snapshot([("s", "a", 1.0, 3), ("t", "a", 4.0, 1)])
OTHER = Snapshot([("s", "a", 9.0, 9)])
COMMIT = "COMMIT\0"
MOST_REQUESTS = 6
"""Of one call, on a connection that is open."""


class Place(NamedTuple):
    """What the calls of this module are about, through one handle; and the jobs that were claimed beforehand."""

    memory: Memory
    queue: Queue
    table: QTable
    held: list[Job]

    @classmethod
    def of(cls, memory: Memory, held: list[Job]) -> Place:
        return cls(memory, memory.queue("jobs", lease=3600), memory.qtable("q", gamma=1.0), held)

    def state(self) -> Any:
        """All that a call may have changed."""
        ready = [(item.value, item.attempts, item.error) for item in self.queue.peek()]
        known = list(self.table.snapshot())
        return self.queue.counts(), ready, [item.value for item in self.queue.dead()], self.memory.get("n"), known


class Write(NamedTuple):
    """A call that changes something.

    Attributes:
        call: what is done.
        script: by which Redis does it.
        marks: what PostgreSQL is told when it does it, for good.
    """

    call: Callable[[Place], object]
    script: Script
    marks: str

    def request(self, url: str) -> bytes:
        """What the request holds after which it is done."""
        return self.script.sha if url.startswith("redis") else self.marks.encode()


def exchange(call: Callable[[Place], object], marks: str = "queue_items") -> Write:
    return Write(call, scripts.QUEUE_EXCHANGE, marks)


WRITES = {
    "put": exchange(lambda p: p.queue.put("new")),
    "put into a group": exchange(lambda p: p.queue.put_many(["new", "newer"], group="g")),
    "ack": exchange(lambda p: p.queue.ack(p.held[0])),
    "ack of several": exchange(lambda p: p.queue.ack(*p.held)),
    "nack": exchange(lambda p: p.queue.nack(*p.held, error="boom")),
    "bury": exchange(lambda p: p.queue.bury(*p.held)),
    "ack and claim": exchange(lambda p: p.queue.ack_and_claim(p.held, 2)),
    "ack and count": exchange(lambda p: p.memory.apply([Ack(p.held[0]), Increment("n")]), COMMIT),
    "put and count": exchange(lambda p: p.memory.apply([Enqueue("jobs", "new"), Increment("n")]), COMMIT),
    "redrive": Write(lambda p: p.queue.redrive(), scripts.QUEUE_REDRIVE, "queue_items_redrive"),
    "purge of the dead": Write(lambda p: p.queue.purge(dead=True), scripts.QUEUE_PURGE, "queue_items_purge"),
    "update": Write(lambda p: p.table.update(*STEPS[0]), scripts.QTABLE_LEARN, "learned_values"),
    "update_many": Write(lambda p: p.table.update_many(STEPS), scripts.QTABLE_LEARN, COMMIT),
    "restore": Write(lambda p: p.table.restore(OTHER), scripts.QTABLE_COMBINE, COMMIT),
    "merge": Write(lambda p: p.table.merge(KNOWN), scripts.QTABLE_COMBINE, COMMIT),
    "decay": Write(lambda p: p.table.decay(0.5), scripts.QTABLE_DECAY, COMMIT),
    "clear": Write(lambda p: p.table.clear(), scripts.QTABLE_CLEAR, "learned_values"),
}
READS: dict[str, Callable[[Place], object]] = {
    "counts": lambda p: p.queue.counts(),
    "peek": lambda p: [item.value for item in p.queue.peek()],
    "queues": lambda p: p.memory.queues(),
    "values": lambda p: p.table.values("s"),
    "best": lambda p: p.table.best("s"),
    "choose": lambda p: p.table.choose("s", ["a"], epsilon=0.0),
    "snapshot": lambda p: list(p.table.snapshot()),
    "qtables": lambda p: p.memory.qtables(),
}


@pytest.fixture
def direct(stage: Any) -> Iterator[Memory]:
    """A handle on the store, to prepare and to look."""
    with agentmem.connect(stage.url) as memory:
        yield memory


@pytest.fixture
def proxy(stage: Any) -> Iterator[FaultProxy]:
    """The way to it that is broken."""
    with FaultProxy(stage.url) as proxy:
        yield proxy


def seeded(direct: Memory) -> Place:
    """Two leased items, a dead one and two that are ready; two values."""
    place = Place.of(direct, [])
    place.queue.purge()
    place.queue.put_many(["held", "held too", "dead"])
    *held, dead = place.queue.claim(3)
    dead.bury()
    place.queue.put_many(["first", "second"])
    place.table.clear()
    place.table.restore(KNOWN)
    direct.put("n", 0)
    return place._replace(held=held)


def reference(direct: Memory, write: Callable[[Place], object]) -> tuple[Any, Any]:
    """What there is before a call, and after it."""
    place = seeded(direct)
    before = place.state()
    write(place)
    after = place.state()
    assert after != before
    return before, after


@contextmanager
def broken(proxy: FaultProxy, held: list[Job]) -> Iterator[Place]:
    """By way of the proxy, on a connection that is open, and new: a statement is told by its text, not by a number."""
    with agentmem.connect(proxy.url, pool_size=1) as memory:
        memory.ping()
        yield Place.of(memory, held)


@pytest.mark.parametrize("fault", ["lose_reply", "halve_reply"])
@pytest.mark.parametrize("name", WRITES)
def test_r18_a_write_whose_reply_is_lost_is_not_repeated(
    stage: Any, direct: Memory, proxy: FaultProxy, name: str, fault: str
) -> None:
    write = WRITES[name]
    _, after = reference(direct, write.call)
    with broken(proxy, seeded(direct).held) as place:
        getattr(proxy, fault)(containing=write.request(stage.url))
        with pytest.raises(OutcomeUnknown):
            write.call(place)
        assert not proxy.relent()
    assert Place.of(direct, []).state() == after
    assert direct.check() == []


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
@pytest.mark.parametrize("name", WRITES)
def test_r18_whatever_is_lost_of_a_write_what_was_told_is_so(
    direct: Memory, proxy: FaultProxy, name: str, fault: str
) -> None:
    before, after = reference(direct, WRITES[name].call)
    for step in range(MOST_REQUESTS):
        possible = [after]
        with broken(proxy, seeded(direct).held) as place:
            getattr(proxy, fault)(skip=step)
            try:
                WRITES[name].call(place)
            except Unavailable:
                possible = [before]
            except OutcomeUnknown:
                possible = [before, after]
            proxy.relent()
        assert Place.of(direct, []).state() in possible
    assert direct.check() == []


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
def test_r39_a_claim_is_made_once_whatever_is_lost_of_it(direct: Memory, proxy: FaultProxy, fault: str) -> None:
    """Its request id makes it safe to repeat, and it is repeated once."""
    for step in range(2):
        with broken(proxy, seeded(direct).held) as place:
            getattr(proxy, fault)(skip=step)
            assert [(job.value, job.attempts) for job in place.queue.claim(2)] == [("first", 1), ("second", 1)]
            assert proxy.relent() is (step > 0)
            assert place.queue.counts().leased == 4


@pytest.mark.parametrize("name", READS)
def test_r34_a_look_is_repeated_once(direct: Memory, proxy: FaultProxy, name: str) -> None:
    with broken(proxy, seeded(direct).held) as place:
        wanted = READS[name](place)
        for fault in ("lose_reply", "lose_request", "halve_reply"):
            getattr(proxy, fault)()
            assert READS[name](place) == wanted
            assert not proxy.relent()
