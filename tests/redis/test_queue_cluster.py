"""Queues in a cluster: a slot that moves to another node, or a primary that is killed, while threads put and work."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.testing.support import run_threads
from tests.redis.queue_helpers import Work, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.redis, pytest.mark.timeout(240)]


def persisted(call: Callable[[], Any]) -> Any:
    """What a call returns in the end; nothing is done while the slot is on its way."""
    while True:
        try:
            return call()
        except Unavailable:
            time.sleep(0.01)


def test_r36_a_slot_that_moves_while_threads_work_loses_and_repeats_nothing(nodes: Any, cluster_url: str) -> None:
    with agentmem.connect(cluster_url, pool_size=4) as memory:
        work = Work(memory)
        work.put("first")
        over = threading.Event()
        put: set[str] = set()
        done: list[str] = []

        def move() -> None:
            for _ in range(2):
                time.sleep(0.2)
                nodes.move(nodes.slot_of(memory), pause_seconds=0)
            over.set()

        def produce() -> None:
            while not over.is_set():
                text = str(len(put))
                persisted(lambda: work.put(text, group=f"g{len(put) % 3}", dedup_key=text))  # noqa: B023 - called at once
                put.add(text)

        def consume() -> None:
            while not over.is_set() or persisted(lambda: sum(work.counts())):
                items = persisted(lambda: work.claim(3))
                persisted(lambda: work.settle("ack", *items))  # noqa: B023 - called at once
                done.extend(map(text_of, items))
                if not items:
                    persisted(lambda: work.store.wait("default", "jobs", 0.05))

        jobs = [move, produce, consume, consume]
        run_threads(4, lambda index: jobs[index]())
        assert sorted(done) == sorted({*put, "first"})
        assert len(done) > 20
        assert memory.check() == []


def test_a_primary_that_is_killed_is_replaced_and_work_goes_on(nodes: Any, cluster_url: str) -> None:
    with agentmem.connect(cluster_url, pool_size=4) as memory:
        work = Work(memory)
        work.put("1")
        work.store.wait("default", "jobs", 5)
        nodes.owner(nodes.slot_of(memory)).kill()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                work.put("2", dedup_key="k")
                break
            except (Unavailable, OutcomeUnknown):
                time.sleep(0.05)
        assert "2" in {text_of(item) for item in persisted(lambda: work.claim(5))}
        start = time.monotonic()
        persisted(lambda: work.store.wait("default", "jobs", 0.3))
        assert time.monotonic() - start < 20
