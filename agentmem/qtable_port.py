"""The port of learned values: what a backend does natively so that `memory.qtable(name)` works.

Users never need this module; authors of backends do. What crosses it is validated: table names are absolute and are
keys under R1, states and actions are texts of 1 to 1,024 bytes of UTF-8 without NUL, numbers are finite floats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Learned(NamedTuple):
    """What is known of one action in one state.

    Attributes:
        value: an IEEE double; what comes back is what was computed, to the last bit.
        visits: how many updates made it.
    """

    state: str
    action: str
    value: float
    visits: int


class Step(NamedTuple):
    """One temporal-difference step, all of it decided by the server.

    Watkins and Dayan, "Q-learning", 1992:

        target = reward                                          where next_state is None
        target = reward + gamma * max(value of next_state's actions)     (0.0 where none is known)
        value  = value + alpha * (target - value)                (from `initial` where the action is not known)

    in double precision and in this order of operations, so that every backend gives the same bits.
    """

    state: str
    action: str
    reward: float
    next_state: str | None
    alpha: float
    gamma: float
    initial: float


class QTableStore(ABC):
    """The Q-tables of a repository; `Repository.qtables`.

    Thread safety, errors and durability: as `Repository`. A table is there when something was learned; nothing expires.
    `Repository.drop_partition` removes the partition's tables; `remove`, `count`, `scan` and `statistics` do not know
    them.
    """

    @abstractmethod
    def learn(self, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """Apply the steps in order, in one atomic batch; of each what it made.

        A step sees what those before it made. Concurrent batches on the same values wait for one another and none is
        lost; locks are taken in the order of (state, action), so they do not deadlock.
        """

    @abstractmethod
    def read(self, partition: str, table: str, states: Sequence[str]) -> list[Learned]:
        """All that is known of some states, as of one moment, in the order of (state, action) by code point."""

    @abstractmethod
    def walk(self, partition: str, table: str, *, piece: int = 1000) -> Iterator[Learned]:
        """The whole table in the order of (state, action), in pieces: memory stays flat; not one moment."""

    @abstractmethod
    def store(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """Set values and visits as they are given, in place of what is there; one atomic batch."""

    @abstractmethod
    def merge(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """Add what somebody else learned, in one atomic batch: visits add up, the value is the mean by visits.

        Where neither has any visits the given value is taken.
        """

    @abstractmethod
    def decay(self, partition: str, table: str, factor: float) -> int:
        """Multiply every value by `factor`, in bounded atomic pieces; visits stay. Returns how many values."""

    @abstractmethod
    def clear(self, partition: str, table: str) -> int:
        """Remove the table, in bounded atomic pieces; returns how many values."""

    @abstractmethod
    def names(self, partition: str, prefix: str = "") -> list[str]:
        """The tables that hold anything, by code point, among those whose name begins with `prefix`."""
