"""A slot of a cluster that moves to another node while threads read and write in it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest

import agentmem
from agentmem import Unavailable
from agentmem.testing.support import run_threads
from agentmem.testing.witnesses import assert_consistent, assert_counted, lost, witnessed

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.redis, pytest.mark.timeout(240)]


def test_r18_a_slot_that_moves_while_threads_write_loses_and_repeats_nothing(nodes: Any, cluster_url: str) -> None:
    with agentmem.connect(cluster_url, pool_size=4) as memory:
        memory.put_many({f"before-{n}": n for n in range(200)}, ttl=600)

        def move(over: threading.Event) -> None:
            for _ in range(2):
                time.sleep(0.15)
                nodes.move(nodes.slot_of(memory), pause_seconds=0)
            time.sleep(0.15)

        witnesses = witnessed(memory, 3, move)
        assert lost(memory, witnesses) == {}
        assert_counted(memory, witnesses)
        assert all(memory.delete(f"before-{n}") for n in range(200))
        assert_consistent(memory, witnesses)
        assert sum(len(witness.confirmed) for witness in witnesses) > 100


def test_readers_see_all_or_are_told_while_a_slot_moves(nodes: Any, cluster_url: str) -> None:
    """A walk over an index that has arrived before its entries would find nothing, and say so without an error."""
    with agentmem.connect(cluster_url, pool_size=4) as memory:
        expected = {f"{n:03}": n for n in range(100)}
        memory.put_many(expected, ttl=600)
        over = threading.Event()

        def look() -> str:
            assert memory.get("050") == 50
            try:
                assert {entry.key: entry.value for entry in memory.search("*", limit=200)} == expected
                assert memory.count() == 100
                assert memory.get_many(expected) == expected
            except Unavailable:
                return "told"
            return "seen"

        def work(index: int) -> Counter[str]:
            if index:
                return Counter(look() for _ in iter(over.is_set, True))
            try:
                time.sleep(0.1)
                nodes.move(nodes.slot_of(memory), pause_seconds=0.005)
            finally:
                over.set()
            return Counter()

        assert set(sum(run_threads(4, work), Counter())) == {"seen", "told"}
        assert memory.get_many(expected) == expected
        assert memory.check() == []
