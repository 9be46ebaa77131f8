"""What the fleet learns: files of which size to examine first, so that most is found early.

After W. E. Smith, "Various optimizers for single-stage production", 1956: of jobs with a yield and a length, those that
yield most for their time come first. Nobody knows what files of a size yield in a tree, so the analysts measure it, and
a Q-table keeps it for the planners to come.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from agentmem.errors import OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from agentmem.coordination.qtable import QTable

#: The actions: which files come next, by their sizes, and how large they are at the most.
SIZES: Final = {"tiny": 2_000, "small": 8_000, "medium": 32_000, "large": math.inf}

#: The only state, for what a file yields does not depend on those before it.
_NEXT: Final = "next"

#: How often a planner puts to the test what does not look best.
_EPSILON: Final = 0.1

#: So many files make a lesson of each size among them; a call for each file would cost more than it teaches.
_LOT: Final = 32


def size_of(size_bytes: int) -> str:
    """Among which files one of this size belongs."""
    return next(name for name, limit in SIZES.items() if size_bytes <= limit)


def choose_order(table: QTable) -> tuple[str, ...]:
    """The sizes in the order in which their files should be examined; at random where nothing is known."""
    left = list(SIZES)
    order = []
    while left:
        order.append(table.choose(_NEXT, left, epsilon=_EPSILON))
        left.remove(order[-1])
    return tuple(order)


def learned(table: QTable) -> list[dict[str, Any]]:
    """What is known of each size, the best first: functions in a second of an analyst's time, by how many lessons."""
    rows = [
        {"size": estimate.action, "functions_per_second": round(estimate.value, 1), "lessons": estimate.visits}
        for estimate in table.snapshot()
    ]
    return sorted(rows, key=lambda row: -row["functions_per_second"])


class Experience:
    """What one analyst has seen and not yet told.

    Args:
        table: whom it tells.
    """

    def __init__(self, table: QTable) -> None:
        self._table = table
        self._files = 0
        self._found: dict[str, tuple[int, float]] = {}

    def add(self, size_bytes: int, functions: int, seconds: float) -> None:
        """A file of this size gave so many functions in this time; a full lot is told."""
        size = size_of(size_bytes)
        total, spent = self._found.get(size, (0, 0.0))
        self._found[size] = (total + functions, spent + seconds)
        self._files += 1
        if self._files >= _LOT:
            self.tell()

    def tell(self) -> None:
        """Let the fleet learn from what was seen. What the store does not take is forgotten: others see the like."""
        lessons = [(_NEXT, size, total / spent) for size, (total, spent) in self._found.items() if spent]
        self._files, self._found = 0, {}
        with suppress(Unavailable, OutcomeUnknown):
            self._table.update_many(lessons)
