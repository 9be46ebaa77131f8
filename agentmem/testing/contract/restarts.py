"""R34: a handle survives the end of its server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from agentmem.errors import OutcomeUnknown, Unavailable
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def working(memory: Memory) -> bool:
    """Whether the server answers again."""
    try:
        memory.ping()
    except Unavailable:
        return False
    return True


class Restarts(Contract):
    """Calls in flight may fail, later ones work, and nothing that was acknowledged is lost."""

    @pytest.fixture
    def restartable(self, harness: Harness) -> Harness:
        """The harness, where it can restart its server."""
        if not harness.restartable:
            pytest.skip("this store has no server, or not one that may be restarted")
        return harness

    def test_r34_a_handle_survives_a_restart(self, restartable: Harness) -> None:
        with restartable.connect() as memory:
            first = memory.put("key", {"a": 1}, ttl=3600)
            restartable.restart()
            eventually(lambda: working(memory))
            assert memory.entry("key") == first
            assert memory.increment("counter") == 1
            assert memory.put("key", 2).version > first.version

    def test_r34_a_read_is_tried_again_on_a_new_connection(self, restartable: Harness) -> None:
        with restartable.connect() as memory, restartable.connect() as probe:
            memory.put("key", 1)
            restartable.restart()
            eventually(lambda: working(probe))
            # Its own connections broke while they rested: no reader is told.
            assert memory.get("key") == 1

    def test_r34_threads_lose_nothing_that_was_acknowledged(self, restartable: Harness) -> None:
        # Lists, because threads append to one without losing anything.
        acknowledged: list[int | float] = []
        unknown: list[OutcomeUnknown] = []
        done = threading.Event()

        def work(memory: Memory) -> None:
            while not done.is_set():
                try:
                    acknowledged.append(memory.increment("counter"))
                except OutcomeUnknown as error:
                    unknown.append(error)
                except Unavailable:
                    done.wait(0.01)

        with restartable.connect() as memory:
            threads = [threading.Thread(target=work, args=(memory,), daemon=True) for _ in range(4)]
            for thread in threads:
                thread.start()
            eventually(lambda: len(acknowledged) > 50)
            restartable.restart()
            before = len(acknowledged)
            eventually(lambda: len(acknowledged) > before + 50, timeout=60)
            done.set()
            for thread in threads:
                thread.join(30)
            counted = memory.get("counter")
        assert len(set(acknowledged)) == len(acknowledged) <= counted <= len(acknowledged) + len(unknown)
