"""R18 for queues: what is lost on the way has no double effect, and says that nobody knows; a claim can be repeated."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import LeaseLost, OutcomeUnknown, Unavailable
from agentmem.commands import IncrementCommand
from agentmem.redis import scripts
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import run_threads
from tests.redis.queue_helpers import Work, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agentmem.testing.faults import FaultProxy

#: Calls on a queue with three ready items and three leased ones, and the scripts by which each takes effect.
WRITES: dict[str, tuple[Callable[[Work, list[Any]], object], Any]] = {
    "put": (lambda w, _: w.put("new", "newer", group="g"), scripts.QUEUE_EXCHANGE),
    "put with a dedup key": (lambda w, _: w.put("new", dedup_key="k"), scripts.QUEUE_EXCHANGE),
    "claim": (lambda w, _: w.claim(2, request_id="r"), scripts.QUEUE_EXCHANGE),
    "ack": (lambda w, held: w.settle("ack", *held), scripts.QUEUE_EXCHANGE),
    "nack": (lambda w, held: w.settle("nack", *held, error="boom"), scripts.QUEUE_EXCHANGE),
    "bury": (lambda w, held: w.settle("bury", *held), scripts.QUEUE_EXCHANGE),
    "extend": (lambda w, held: w.settle("extend", *held, delay_ms=10**8), scripts.QUEUE_EXCHANGE),
    "ack and claim": (
        lambda w, held: w.step(settles=w.settles("ack", *held), claim=w.claims(2, request_id="r")),
        scripts.QUEUE_EXCHANGE,
    ),
    "ack with a command": (
        lambda w, held: w.settle("ack", *held, commands=(IncrementCommand("counter"),)),
        scripts.QUEUE_EXCHANGE,
    ),
    "redrive": (lambda w, _: w.store.redrive("default", "jobs", 5), scripts.QUEUE_REDRIVE),
    "purge": (lambda w, _: w.store.purge("default", "jobs", dead=False), scripts.QUEUE_PURGE),
}


@pytest.fixture
def broken(proxy: FaultProxy) -> Iterator[Work]:
    """A queue by way of a proxy."""
    with agentmem.connect(proxy.url) as memory:
        memory.put("counter", 0)
        yield Work(memory)


def seed(work: Work) -> list[Any]:
    """Three items that are ready, one that is dead, and three that are leased, which are returned."""
    work.store.purge("default", "jobs", dead=False)
    work.put("held/1", "held/2", "held/3", priority=1)
    held = work.claim(3)
    work.put("dead", priority=1)
    work.settle("bury", *work.claim())
    work.put("1", "2", "3")
    return held


def state(work: Work) -> Any:
    """What a call may have changed."""
    found = [(text_of(item), item.attempts, item.fence, item.error) for item in work.store.peek("default", "jobs", 99)]
    entry = work.repository.fetch_one("default", "counter")
    return tuple(work.counts()), found, work.texts(dead=True), entry and entry.body


def reference(work: Work, call: Callable[[Work, list[Any]], object]) -> tuple[Any, Any]:
    """What there is before a call, and after it."""
    held = seed(work)
    before = state(work)
    call(work, held)
    after = state(work)
    # The counter begins again, so that both are comparable with what follows.
    work.repository.apply("default", [IncrementCommand("counter", int(before[-1]) - int(after[-1]))])
    return before, after


@pytest.mark.parametrize("fault", ["lose_reply", "halve_reply", "lose_request"])
@pytest.mark.parametrize("name", WRITES)
def test_r18_what_is_lost_was_applied_once_or_not_at_all(
    proxy: FaultProxy, broken: Work, name: str, fault: str
) -> None:
    call, script = WRITES[name]
    before, after = reference(broken, call)
    held = seed(broken)
    assert state(broken) == before
    getattr(proxy, fault)(containing=script.sha)
    with pytest.raises(OutcomeUnknown):
        call(broken, held)
    assert not proxy.relent()
    assert state(broken) == (before if fault == "lose_request" else after)
    assert broken.repository.verify() == []


@pytest.mark.parametrize("fault", ["lose_reply", "halve_reply", "lose_request"])
def test_r39_a_claim_whose_reply_was_lost_is_repeated(proxy: FaultProxy, broken: Work, fault: str) -> None:
    seed(broken)
    getattr(proxy, fault)(containing=scripts.QUEUE_EXCHANGE.sha)
    with pytest.raises(OutcomeUnknown):
        broken.claim(2, request_id="r")
    again = broken.claim(2, request_id="r")
    assert [(text_of(item), item.attempts, item.fence) for item in again] == [("1", 1, 1), ("2", 1, 1)]
    assert broken.claim(2, request_id="r") == again
    assert broken.counts().leased == 5


def test_r36_an_ack_whose_reply_was_lost_is_refused_the_second_time(proxy: FaultProxy, broken: Work) -> None:
    """Nothing tells it from one that came too late; what went with it was done once."""
    held = seed(broken)
    proxy.lose_reply(containing=scripts.QUEUE_EXCHANGE.sha)
    commands = (IncrementCommand("counter"),)
    with pytest.raises(OutcomeUnknown):
        broken.settle("ack", *held, commands=commands)
    with pytest.raises(LeaseLost) as caught:
        broken.settle("ack", *held, commands=commands)
    assert caught.value.items == tuple(item.id for item in held)
    assert state(broken)[-1] == "1"


def test_a_look_is_repeated_on_a_broken_connection(proxy: FaultProxy, broken: Work) -> None:
    seed(broken)
    for look in (broken.counts, broken.texts, lambda: broken.store.names("default")):
        wanted = look()
        proxy.lose_reply()
        assert look() == wanted
        assert not proxy.relent()


# A server that dies


@pytest.mark.slow
@pytest.mark.fault
def test_r17_a_killed_server_loses_nothing_that_was_confirmed(program: Path) -> None:
    """With `appendfsync always`: what was put and not acked is there, what was acked is not, the books are right."""
    with (
        LocalRedis(program, options={"appendfsync": "always"}) as server,
        agentmem.connect(server.new_store(), pool_size=8) as memory,
    ):
        work = Work(memory)
        put, acked, perhaps = set[str](), set[str](), set[str]()
        over = threading.Event()

        def produce(index: int) -> None:
            for n in range(10**6):
                body = f"{index}/{n}"
                perhaps.add(body)
                work.put(body, group=f"g{n % 3}" if n % 2 else None, dedup_key=body)
                put.add(body)
                perhaps.discard(body)

        def consume(index: int) -> None:
            while True:
                for item in work.claim(2, request_id=str(index)):
                    perhaps.add(text_of(item))
                    work.settle("ack", item)
                    acked.add(text_of(item))

        def run(index: int) -> None:
            if index == 0:
                time.sleep(0.6)
                server.kill()
                over.set()
                return
            with pytest.raises((OutcomeUnknown, Unavailable)):
                (produce if index % 2 else consume)(index)

        run_threads(7, run)
        server.start()
        left = waiting(work)
        assert put - acked - perhaps <= left
        assert not left & acked
        assert left <= put | perhaps
        assert len(acked) > 20
        assert memory.check() == []


def waiting(work: Work) -> set[str]:
    """All that is in a queue, by taking it out; each worker's request first gives what that one had claimed."""
    found = set[str]()
    for index in range(7):
        while items := work.claim(500, request_id=str(index)):
            found |= {text_of(item) for item in items}
            work.settle("ack", *items)
    return found


def test_r17_a_queue_survives_a_restart_as_it_was() -> None:
    with LocalRedis(redis_binaries()[0]) as server, agentmem.connect(server.new_store()) as memory:
        work = Work(memory)
        held = seed(work)
        work.put("grouped", "blocked", group="g", priority=-1)
        before = state(work)
        server.restart()
        assert state(work) == before
        work.settle("ack", *held)
        assert memory.check() == []
