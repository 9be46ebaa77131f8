"""R32: one handle serves any number of threads, and holds no connection while user code runs."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from agentmem.errors import VersionConflict
from agentmem.operations import Append, Delete, Increment, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


KEYS = tuple(f"key/{number}" for number in range(12))

#: What threads do to keys that all of them use.
CALLS: list[Callable[[Memory, str], Any]] = [
    lambda memory, key: memory.put(key, 1.5),
    lambda memory, key: memory.put(key, {"a": key}, ttl=0.001),
    lambda memory, key: memory.put(key, [key], ttl=60),
    lambda memory, key: memory.delete(key),
    lambda memory, key: memory.touch(key, 60),
    lambda memory, key: memory.apply([Delete(key), Increment(key), Put(f"{key}/x", 1), Append(f"{key}/l", 1, limit=3)]),
    lambda memory, _: memory.delete_many(KEYS[:3]),
    lambda memory, key: memory.run(lambda tx: tx.put(key, tx.get(key)), attempts=3),
    lambda memory, _: memory.delete_matching("key/1*"),
    lambda memory, _: memory.purge_expired(batch=2),
    lambda memory, _: memory.search("key/*", where={"$not": {(): 5}}, limit=3),
    lambda memory, _: memory.stats(),
]


class Threads(Contract):
    """More threads than connections wait; none fails."""

    def test_r32_forty_threads_share_a_pool_of_ten(self, harness: Harness) -> None:
        with harness.connect(pool_size=10, pool_timeout=30) as memory:

            def work(index: int) -> None:
                for turn in range(5):
                    memory.put(f"{index}/{turn}", index)
                    assert memory.get(f"{index}/{turn}") == index
                    memory.increment("counter")
                    memory.put_many({f"{index}/a": turn, f"{index}/b": turn})

            run_threads(40, work)
            assert memory.get("counter") == 200
            assert memory.count() == 1 + 40 * 7
            assert memory.check() == []

    def test_r32_the_first_calls_may_come_together(self, harness: Harness) -> None:
        with harness.connect() as memory:
            assert sorted(run_threads(20, lambda _: int(memory.increment("first")))) == list(range(1, 21))

    def test_r32_user_code_runs_without_a_connection(self, harness: Harness) -> None:
        with harness.connect(pool_size=1, pool_timeout=5) as memory:
            memory.put_many({f"key/{n:04}": n for n in range(1500)})

            def nested(value: int) -> Any:
                memory.put("inside", value)
                return memory.get("inside") + 1

            with memory.transaction() as tx:
                tx.put("key/0000", nested(tx.get("key/0000")))
            assert memory.update("key/0001", nested).value == 2
            memory.run(lambda tx: tx.put("key/0002", nested(tx.get("key/0002"))))
            for entry in memory.items("key/000"):
                memory.touch(entry.key, 60)
            for key in memory.keys("key/"):
                assert memory.exists(key)
                break
            assert memory.get_many(["key/0000", "key/0001", "key/0002"]) == {
                "key/0000": 1, "key/0001": 2, "key/0002": 3,
            }  # fmt: skip

    def test_r32_a_thread_inside_a_transaction_keeps_nobody_out(self, harness: Harness) -> None:
        with harness.connect(pool_size=1, pool_timeout=5) as memory:
            inside, done = threading.Event(), threading.Event()

            def work(index: int) -> None:
                if index == 0:
                    with memory.transaction() as tx:
                        tx.put("late", tx.get("late", 0))
                        inside.set()
                        assert done.wait(30)
                    return
                assert inside.wait(30)
                memory.put("early", 1)
                done.set()

            run_threads(2, work)
            assert memory.get_many(["early", "late"]) == {"early": 1, "late": 0}

    def test_r32_concurrent_writers_and_readers(self, memory: Memory) -> None:
        def work(index: int) -> int:
            if index < 20:
                memory.put(f"writer/{index}", {"by": index})
                return 1
            return all(entry.value == {"by": int(entry.key[7:])} for entry in memory.items("writer/"))

        assert run_threads(50, work) == [1] * 50
        assert memory.count("writer/*") == 20

    def test_r32_everything_at_once_leaves_the_books_in_order(self, memory: Memory) -> None:
        def work(index: int) -> None:
            dice = random.Random(index)  # noqa: S311 - a sequence that is the same in each run
            for _ in range(30):
                key = dice.choice(KEYS)
                try:
                    dice.choice(CALLS)(memory, key)
                except VersionConflict:
                    memory.increment("conflicts")
            memory.increment("done")

        run_threads(8, work)
        assert memory.get("done") == 8
        assert memory.check() == []
        # What was given a millisecond at the very end may still live for some of it.
        eventually(lambda: memory.stats().entries == memory.count() == len(list(memory.keys())))

    def test_r32_many_partitions_at_once(self, memory: Memory) -> None:
        def work(index: int) -> None:
            mine = memory.partition(f"agent {index}", default_ttl=60)
            mine.put_many({f"key/{n}": index for n in range(10)})
            for _ in range(5):
                mine.increment("counter")
            assert {entry.value for entry in mine.items("key/")} == {index}

        run_threads(12, work)
        assert memory.stats().partitions.items() >= {f"agent {n}": 11 for n in range(12)}.items()
        assert [memory.partition(f"agent {n}").get("counter") for n in range(12)] == [5] * 12

    def test_r32_values_do_not_mix_between_threads(self, memory: Memory) -> None:
        values = [{"who": index, "filler": chr(97 + index) * (1000 * index + 1)} for index in range(16)]

        def work(index: int) -> None:
            for _ in range(10):
                memory.put(f"key/{index}", values[index])
                assert memory.get(f"key/{index}") == values[index]
                assert memory.get_many([f"key/{index}"]) == {f"key/{index}": values[index]}

        run_threads(16, work)
