"""R23: what is dead goes, in bounded steps, and is counted truly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, SHORT, eventually, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def bury(memory: Memory, count: int, prefix: str = "dead/") -> None:
    """Put entries and wait until they are all expired."""
    memory.put_many({f"{prefix}{number:04}": number for number in range(count)}, ttl=SHORT)
    eventually(lambda: memory.count() == 0)


class Purging(Contract):
    """Dead entries take room until they are purged or their server forgets them."""

    def test_r23_purge_removes_the_dead_and_counts_them(self, memory: Memory, harness: Harness) -> None:
        bury(memory, 20)
        memory.put_many({"alive/1": 1, "alive/2": 2}, ttl=LONG)
        memory.put("alive/3", 3)
        before = harness.stored("default")
        assert memory.stats().expired_pending == before - 3
        assert memory.purge_expired() == before - harness.stored("default")
        assert harness.stored("default") == 3
        assert memory.stats().expired_pending == 0
        assert memory.purge_expired() == 0
        assert list(memory.keys()) == ["alive/1", "alive/2", "alive/3"]

    def test_r23_batches_bound_a_step_and_not_the_whole(self, memory: Memory, harness: Harness) -> None:
        bury(memory, 25)
        before = harness.stored("default")
        assert memory.purge_expired(batch=4) == before - harness.stored("default")
        assert harness.stored("default") == 0

    def test_r23_a_batch_may_be_larger_than_what_a_server_removes_at_once(
        self, memory: Memory, harness: Harness
    ) -> None:
        bury(memory, 1_200)
        before = harness.stored("default")
        assert memory.purge_expired(batch=1_100) == before - harness.stored("default")
        assert harness.stored("default") == 0

    def test_r23_time_bounds_the_whole(self, memory: Memory, harness: Harness) -> None:
        bury(memory, 30)
        purged, before = 0, harness.stored("default")
        for _ in range(31):
            purged += memory.purge_expired(batch=1, max_seconds=0.000001)
            assert before - harness.stored("default") == purged
        assert harness.stored("default") == 0

    def test_r23_purge_sweeps_every_partition(self, memory: Memory, harness: Harness) -> None:
        for name in ("a", "b", "c"):
            bury(memory.partition(name), 3)
        memory.partition("a").purge_expired()
        assert [harness.stored(name) for name in ("a", "b", "c")] == [0, 0, 0]

    def test_r23_many_purges_count_each_once(self, memory: Memory, harness: Harness) -> None:
        bury(memory, 60)
        before = harness.stored("default")
        assert sum(run_threads(6, lambda _: memory.purge_expired(batch=5))) == before
        assert harness.stored("default") == 0

    def test_r23_purge_spares_what_comes_back_to_life(self, memory: Memory) -> None:
        keys = [f"key/{number:02}" for number in range(20)]
        done = threading.Event()

        def work(index: int) -> bool:
            if index:
                while not done.is_set():
                    memory.purge_expired(batch=3)
                return True
            for _ in range(15):
                memory.put_many(dict.fromkeys(keys, 1), ttl=0.001)
                eventually(lambda: memory.count() == 0)
                entries = memory.put_many(dict.fromkeys(keys, 2))
                if memory.get_many(keys) != dict.fromkeys(keys, 2) or len(entries) != 20:
                    return False
            done.set()
            return True

        try:
            assert all(run_threads(3, work))
        finally:
            done.set()

    def test_r23_a_sweeper_runs_by_itself(self, harness: Harness) -> None:
        before = set(threading.enumerate())
        with harness.connect(sweep_every=0.05) as memory:
            memory.put_many({f"dead/{number}": 1 for number in range(10)}, ttl=SHORT)
            memory.put("alive", 1)
            eventually(lambda: harness.stored("default") == 1)
            assert memory.get("alive") == 1
        eventually(lambda: {t for t in threading.enumerate() if "sweep" in t.name.lower()} <= before)

    def test_r23_it_is_off_by_default(self, harness: Harness) -> None:
        before = set(threading.enumerate())
        with harness.connect() as memory:
            memory.put("key", 1)
            assert {t for t in threading.enumerate() if "sweep" in t.name.lower()} <= before

    def test_r23_several_sweepers_do_not_hurt_each_other(self, shared: Harness) -> None:
        with (
            shared.connect(sweep_every=0.03) as first,
            shared.connect(sweep_every=0.03) as second,
            shared.connect(sweep_every=0.03) as third,
        ):
            for turn in range(5):
                for memory in (first, second, third):
                    memory.put_many({f"{turn}/{number}": 1 for number in range(10)}, ttl=SHORT)
                third.put(f"alive/{turn}", turn)
            eventually(lambda: shared.stored("default") == 5)
            assert second.get_many(f"alive/{turn}" for turn in range(5)) == {f"alive/{n}": n for n in range(5)}
            assert first.check() == []
