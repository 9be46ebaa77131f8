"""What the parts about learned values share."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.coordination.qtable import Transition
from agentmem.testing.contract.base import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.coordination.qtable import QTable
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


#: Zeros of both signs, the smallest and the largest numbers, and what no decimal of few digits is.
EXTREMES = (0.0, -0.0, 5e-324, -5e-324, 1e-310, 0.1 + 0.2, -1 / 3, 1e300, -1e308, 1.7976931348623157e308)


def bits(*numbers: float) -> list[bytes]:
    """What two doubles share only if they are the same, the sign of zero included."""
    return [struct.pack("<d", number) for number in numbers]


def moved(value: float, reward: float, alpha: float = 0.1, expected: float = 0.0, gamma: float = 0.0) -> float:
    """One step, in the order of operations that the rule prescribes."""
    return value + alpha * ((reward + gamma * expected) - value)


def exact(table: QTable) -> list[tuple[Any, Any, bytes, int]]:
    """All that a table holds, comparable to the last bit."""
    return [(state, action, *bits(value), visits) for state, action, value, visits in table.snapshot()]


def transitions(seed: int, count: int) -> Iterator[Transition]:
    """Steps that meet one another: few states, some of them their own next one, some at an end."""
    rng = random.Random(seed)  # noqa: S311 - the same steps each time
    for _ in range(count):
        following = rng.choice([None, "a", "b", "c", "unknown"])
        reward = rng.choice([rng.gauss(0, 1), 0.0, -0.0, 5e-324, 1e100])
        alpha = rng.choice([1.0, 0.5, 0.1, 1e-200])
        yield Transition(rng.choice("abc"), rng.choice("xyz"), reward, following, rng.random() < 0.1, alpha)


class LearningContract(Contract):
    """The base of every part about Q-tables: use `table` in tests, and `memory` for the handle that it is of.

    No part may override a fixture of another: ContractSuite is all of them in one class, which has one of each name.
    """

    @pytest.fixture
    def learning(self, harness: Harness, memory: Memory) -> Memory:
        """A handle on a store that has learned values."""
        if not harness.qtables:
            pytest.skip("this backend has no learned values (Harness.qtables)")
        return memory

    @pytest.fixture
    def table(self, learning: Memory) -> QTable:
        """A table of which nothing is known."""
        return learning.qtable("q", alpha=0.1, gamma=0.9)
