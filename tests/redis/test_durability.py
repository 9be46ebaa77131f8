"""R15, R17: what a killed server had confirmed is there when it comes back, and batches are whole."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import run_threads
from agentmem.testing.witnesses import Witness, assert_consistent, assert_counted, lost, witnessed

if TYPE_CHECKING:
    from pathlib import Path

    from agentmem.memory import Memory

pytestmark = [pytest.mark.slow, pytest.mark.fault]

WRITERS = 8
SECONDS = 0.8


def crash(server: LocalRedis, memory: Memory) -> tuple[list[Witness], float]:
    """Writers at work, the server killed among them and started again; what they saw, and when it was killed."""
    moments: list[float] = []

    def kill(over: threading.Event) -> None:
        time.sleep(SECONDS)
        moments.append(time.monotonic())
        server.kill()
        over.set()

    witnesses = witnessed(memory, WRITERS, kill)
    server.start()
    assert_consistent(memory, witnesses)
    assert sum(len(each.confirmed) for each in witnesses) > 100
    return witnesses, moments[0]


@pytest.mark.parametrize("turn", range(2))
def test_r17_with_appendfsync_always_a_kill_loses_nothing_that_was_confirmed(program: Path, turn: int) -> None:
    options = {"appendfsync": "always"}
    with LocalRedis(program, options=options) as server, agentmem.connect(server.new_store(), pool_size=4) as memory:
        witnesses, _ = crash(server, memory)
        assert lost(memory, witnesses) == {}
        assert_counted(memory, witnesses)
        assert memory.stats().server["appendfsync"] == "always"


def test_r17_with_appendfsync_everysec_the_loss_is_bounded(program: Path, record_property: Any) -> None:
    """Of a killed process the system still has all that it wrote; of a machine without power, the last two seconds."""
    options = {"appendfsync": "everysec"}
    with LocalRedis(program, options=options) as server, agentmem.connect(server.new_store(), pool_size=4) as memory:
        witnesses, killed = crash(server, memory)
        ages = [killed - at for at in lost(memory, witnesses).values()]
        record_property("confirmed", sum(len(witness.confirmed) for witness in witnesses))
        record_property("lost", len(ages))
        record_property("oldest_loss_seconds", max(ages, default=0))
        assert max(ages, default=0) < 2, f"{len(ages)} lost, the oldest {max(ages):.3f} s before the end"


def test_r17_without_an_append_only_file_a_restart_is_told_of_beforehand(program: Path) -> None:
    options = {"appendonly": "no", "save": ""}
    with LocalRedis(program, options=options) as server, agentmem.connect(server.new_store()) as memory:
        memory.put("key", 1)
        assert any("loses everything" in warning for warning in memory.stats().server["warnings"])
        server.kill()
        server.start()
        assert memory.get("key") is None
        assert memory.put("key", 2).value == 2


def test_r17_a_snapshot_and_its_append_only_file_hold_everything(program: Path) -> None:
    """A rewrite of the file while others write, and a restart from it."""
    options = {"appendfsync": "always"}
    with LocalRedis(program, options=options) as server, agentmem.connect(server.new_store()) as memory:
        memory.put_many({f"{n:04}": n for n in range(2_000)})

        def work(index: int) -> None:
            if index == 0:
                with server.client() as administrator:
                    administrator.bgrewriteaof()
            for n in range(100):
                memory.increment(f"counter/{index}")
                memory.put(f"short/{index}/{n}", n, ttl=0.01)

        run_threads(4, work)
        server.kill()
        server.start()
        assert [memory.get(f"counter/{index}") for index in range(4)] == [100] * 4
        assert memory.count("0*") + memory.count("1*") == 2_000
        memory.purge_expired()
        assert memory.check() == []
