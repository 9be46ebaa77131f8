"""R18, R27: what is not repeated, and what does not grow with the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.errors import OutcomeUnknown
from agentmem.operations import Increment, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.untouchable import untouchable

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

#: Every way to write.
WRITES: dict[str, Callable[[Memory], Any]] = {
    "put": lambda memory: memory.put("key", 1),
    "put if_absent": lambda memory: memory.put("key", 1, if_absent=True),
    "delete": lambda memory: memory.delete("key"),
    "pop": lambda memory: memory.pop("key"),
    "increment": lambda memory: memory.increment("key"),
    "append": lambda memory: memory.append("key", 1),
    "merge": lambda memory: memory.merge("key", {"a": 1}),
    "update": lambda memory: memory.update("key", lambda value: value, default=1),
    "touch": lambda memory: memory.touch("key", 60),
    "put_many": lambda memory: memory.put_many({"a": 1, "b": 2}),
    "load": lambda memory: memory.load({"a": 1, "b": 2}, chunk=1),
    "delete_many": lambda memory: memory.delete_many(["a", "b"]),
    "apply": lambda memory: memory.apply([Put("a", 1), Increment("b")]),
    "run": lambda memory: memory.run(lambda tx: tx.put("key", 1)),
    "run after a read": lambda memory: memory.run(lambda tx: tx.put("key", tx.get("key"))),
}

#: Reads under the prefix `needle/` that cost what they return.
READS: dict[str, Callable[[Memory], Any]] = {
    "get": lambda memory: memory.get("needle/3"),
    "search": lambda memory: memory.search("needle/*", limit=10),
    "search descending": lambda memory: memory.search("needle/*", limit=10, descending=True),
    "search where": lambda memory: memory.search("needle/*", where={"n": {"$gte": 0}}, limit=10),
    "search by time": lambda memory: memory.search("needle/*", order="updated", limit=10),
    "first page": lambda memory: memory.search(limit=10),
    "keys": lambda memory: list(memory.keys("needle/")),
    "items": lambda memory: list(memory.items("needle/")),
    "children": lambda memory: memory.children(),
    "count": lambda memory: memory.count("needle/*"),
    "scoped": lambda memory: list(memory.scoped("needle/").keys()),
}


def best_seconds(call: Callable[[], Any], times: int = 15) -> float:
    """The shortest of several runs: what else the machine does makes a run longer, never shorter."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


class Costs(Contract):
    """Promises about effort."""

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_r18_a_write_of_unknown_outcome_is_not_repeated(self, write: Callable[[Memory], Any]) -> None:
        repository: Any = untouchable()
        calls = []

        def lose(partition: str, commands: Any) -> Any:
            calls.append(commands)
            raise OutcomeUnknown("the reply was lost")

        kind = type(repository)
        kind.apply, kind.fetch_one = staticmethod(lose), staticmethod(lambda partition, key: None)
        with agentmem.connect(repository) as memory, pytest.raises(OutcomeUnknown):
            write(memory)
        assert len(calls) == 1

    @pytest.mark.slow
    def test_r27_reads_cost_what_they_return(self, harness: Harness, memory: Memory) -> None:
        memory.put_many({f"needle/{n}": {"n": n} for n in range(10)})
        alone = {name: best_seconds(lambda read=read: read(memory)) for name, read in READS.items()}  # type: ignore[misc]
        memory.put_many({f"hay/{n % 7}/{n:06}": {"n": n, "filler": "x" * 200} for n in range(20_000)})
        harness.settle()
        among = {name: best_seconds(lambda read=read: read(memory)) for name, read in READS.items()}  # type: ignore[misc]
        # Two thousand times as many entries; a scan of them all would take a hundred times as long.
        slow = {name: (alone[name], among[name]) for name in READS if among[name] > 8 * alone[name] + 0.002}
        assert slow == {}
