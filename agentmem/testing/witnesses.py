"""Writers that remember what they were told, which after a crash or a failover is held against what is there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import OutcomeUnknown, Unavailable
from agentmem.operations import Append, Put
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory

COUNTER: Final = "counter"
LOG: Final = "log"
_PARTS: Final = 4
_PAUSE_SECONDS: Final = 0.005


class Witness:
    """Writes to a memory in every way, and remembers what became of each write. Used by one thread.

    Args:
        memory: where to.
        name: no two may have the same; its keys begin with it and a slash.

    Attributes:
        confirmed: keys, and when the answer came by `time.monotonic`.
        unknown: keys of writes whose outcome nobody knows.
        increments: of the common counter, by how they ended: `confirmed`, `unknown`, `refused`.
        refused: how many writes were certainly not applied.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        self.confirmed: dict[str, float] = {}
        self.unknown: set[str] = set()
        self.increments: Counter[str] = Counter()
        self.refused = 0
        self._memory = memory
        self._name = name

    def write_until(self, over: threading.Event) -> None:
        """Write until the event is set. Any error but Unavailable and OutcomeUnknown is raised."""
        number = 0
        while not over.is_set():
            number += 1
            for keys, write in self._writes(f"{self._name}/{number}"):
                outcome = _outcome_of(write)
                if outcome == "confirmed":
                    self.confirmed |= dict.fromkeys(keys, time.monotonic())
                elif outcome == "unknown":
                    self.unknown.update(keys)
                else:
                    self.refused += 1
            self.increments[_outcome_of(lambda: self._memory.increment(COUNTER))] += 1

    def _writes(self, stem: str) -> list[tuple[list[str], Callable[[], object]]]:
        """Keys, and how they are written: alone, or as one batch."""
        memory = self._memory
        single, many, applied = f"{stem}/put", _parts(stem, "many"), _parts(stem, "applied")
        return [
            ([single], lambda: memory.put(single, stem)),
            (many, lambda: memory.put_many(dict.fromkeys(many, stem))),
            (applied, lambda: memory.apply([Append(LOG, stem, limit=100), *(Put(key, stem) for key in applied)])),
        ]


def witnessed(memory: Memory, count: int, meanwhile: Callable[[threading.Event], Any]) -> list[Witness]:
    """Let witnesses write in threads of their own while something happens to the server.

    Args:
        memory: where to.
        count: how many witnesses.
        meanwhile: called once, in a thread as well, with the event that it sets to end the writing; it is set in any
            case when the call ends.
    """
    over = threading.Event()
    witnesses = [Witness(memory, f"{index}") for index in range(count)]

    def work(index: int) -> None:
        if index < count:
            witnesses[index].write_until(over)
            return
        try:
            meanwhile(over)
        finally:
            over.set()

    run_threads(count + 1, work, timeout=100)
    return witnesses


def lost(memory: Memory, witnesses: Iterable[Witness]) -> dict[str, float]:
    """The keys that were confirmed and are not there, and when they were confirmed."""
    present = set(memory.keys())
    return {key: at for witness in witnesses for key, at in witness.confirmed.items() if key not in present}


def assert_consistent(memory: Memory, witnesses: list[Witness]) -> None:
    """Nothing is there that nobody wrote, no half of a batch, and the store's books are right.

    Raises:
        AssertionError: otherwise.
    """
    present = {key for key in memory.keys() if "/" in key}  # noqa: SIM118 - not a dict
    written = {key for witness in witnesses for key in (*witness.confirmed, *witness.unknown)}
    assert present <= written, f"written by nobody: {sorted(present - written)[:5]}"
    batches = Counter(key.rpartition("-")[0] for key in present if "-" in key)
    assert set(batches.values()) <= {_PARTS}, batches
    assert memory.check() == []


def assert_counted(memory: Memory, witnesses: Iterable[Witness]) -> None:
    """No increment that was confirmed is missing, and none counts twice.

    Raises:
        AssertionError: otherwise.
    """
    totals: Counter[str] = sum((witness.increments for witness in witnesses), Counter())
    found: Any = memory.get(COUNTER, 0)
    assert totals["confirmed"] <= found <= totals["confirmed"] + totals["unknown"], (found, totals)


def _parts(stem: str, way: str) -> list[str]:
    return [f"{stem}/{way}-{part}" for part in range(_PARTS)]


def _outcome_of(write: Callable[[], object]) -> str:
    try:
        write()
    except OutcomeUnknown:
        return "unknown"
    except Unavailable:
        time.sleep(_PAUSE_SECONDS)  # somebody else must come up first
        return "refused"
    return "confirmed"
