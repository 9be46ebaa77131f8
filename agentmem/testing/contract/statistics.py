"""R28: stats() is one consistent answer."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from agentmem.entries import Stats
from agentmem.operations import Delete, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import expire, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class Statistics(Contract):
    """The same field names everywhere."""

    def test_r28_an_empty_store(self, memory: Memory) -> None:
        stats = memory.stats()
        assert isinstance(stats, Stats)
        assert (stats.entries, stats.expired_pending, stats.value_bytes) == (0, 0, 0)
        assert sum(stats.partitions.values()) == 0
        assert stats.backend
        assert any(character.isdigit() for character in stats.server_version)

    def test_r28_entries_and_bytes_of_all_partitions(self, memory: Memory) -> None:
        values = {"a": "x" * 100, "b": {"k": [1, 2]}, "c": "é", "d": None}
        memory.put_many(values)
        memory.partition("other").put("a", 12345)
        memory.partition("empty", description="nothing yet")
        stats = memory.stats()
        assert stats.entries == 5
        assert stats.partitions == {"default": 4, "other": 1, "empty": 0}
        bodies = [*memory.items(), *memory.partition("other").items()]
        assert stats.value_bytes == sum(len(entry.body.encode()) for entry in bodies)
        # What the server says of itself may count the calls that ask for it.
        assert replace(stats, server={}) == replace(memory.partition("other").stats(), server={})

    def test_r28_nothing_dead_is_counted_as_living(self, memory: Memory, harness: Harness) -> None:
        memory.put("alive", 1)
        for number in range(3):
            expire(memory, f"dead/{number}", "x" * 50)
        stats = memory.stats()
        assert (stats.entries, stats.value_bytes, stats.partitions["default"]) == (1, 1, 1)
        assert stats.expired_pending == harness.stored("default") - 1

    def test_r28_stats_follow_every_removal(self, memory: Memory) -> None:
        memory.put_many({f"key/{number}": "x" * number for number in range(10)})
        memory.delete("key/0")
        memory.delete_many(["key/1", "key/2"])
        memory.pop("key/3")
        memory.delete_matching("key/4")
        memory.put("key/5", "x" * 100)
        stats = memory.stats()
        assert (stats.entries, stats.value_bytes) == (5, 102 + 6 + 7 + 8 + 9 + 8)
        memory.clear()
        assert (memory.stats().entries, memory.stats().value_bytes) == (0, 0)

    def test_r28_stats_are_one_view_while_others_write(self, memory: Memory) -> None:
        other = memory.partition("other")
        memory.put_many({f"key/{number}": "x" * 10 for number in range(10)})
        done = threading.Event()

        def work(index: int) -> set[tuple[int, int, bool]]:
            if index == 0:
                for turn in range(40):
                    old, new = ("key", "new") if turn % 2 == 0 else ("new", "key")
                    swap = [op for n in range(10) for op in (Delete(f"{old}/{n}"), Put(f"{new}/{n}", "y" * 10))]
                    memory.apply(swap)
                    other.put_many({f"{turn}/{n}": 0 for n in range(5)})
                    other.clear()
                done.set()
            seen = set()
            while not done.is_set():
                stats = memory.stats()
                consistent = sum(stats.partitions.values()) == stats.entries
                seen.add((stats.partitions["default"], stats.value_bytes - 12 * 10, consistent))
            return seen

        seen = set().union(*run_threads(3, work))
        assert {(count, consistent) for count, _, consistent in seen} <= {(10, True)}
        # `other` holds nothing or five entries of one byte; a clear may go in bounded pieces.
        assert {extra for _, extra, _ in seen} <= set(range(6))

    def test_r28_the_server_tells_what_only_it_has(self, memory: Memory) -> None:
        memory.put("key", 1)
        server = memory.stats().server
        assert all(isinstance(name, str) for name in server)
        # It is shown by the command and sent to monitoring: so it is made of what JSON holds.
        assert json.loads(json.dumps(dict(server))) == dict(server)

    def test_r28_check_finds_nothing_wrong(self, memory: Memory) -> None:
        memory.put_many({f"key/{number}": number for number in range(20)}, ttl=60)
        expire(memory, "dead")
        memory.partition("other").put("key", {"a": 1}, metadata={"m": 1})
        memory.delete("key/3")
        assert memory.check() == []

    def test_r28_ping_answers(self, memory: Memory) -> None:
        memory.ping()
        memory.put("key", 1)
        memory.ping()
