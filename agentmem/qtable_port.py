"""The port of learned values: what a backend does natively so that `memory.qtable(name)` works.

Users never need this module; authors of backends do. What crosses it is validated: table names are absolute and are
keys under R1, states are texts of 1 to 1,024 and actions of 1 to 256 bytes of UTF-8 without NUL (together with the
names of partition and table they must fit an index of PostgreSQL), numbers are finite floats, visits are 0 to
MAX_VISITS.

`advanced`, `merged` and `decayed` are the arithmetic, for backends that compute over rows that they have locked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from agentmem.errors import CounterOverflow

MAX_STATE_BYTES: Final = 1024
MAX_ACTION_BYTES: Final = 256
MAX_VISITS: Final = 2**53 - 1
"""What a double holds exactly, because scripts of Redis have no other numbers."""


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
    What stores anything creates the partition when it is missing, and raises NamespaceError where the partition's
    policy has a namespace that does not begin the table's name; it raises CounterOverflow, with the table's name as the
    key, where a value would not be finite or visits would exceed MAX_VISITS. After an error nothing is changed.
    `Repository.drop_partition` removes the partition's tables and `Repository.verify` looks at them; `remove`, `count`,
    `scan` and `statistics` do not know them.
    """

    @abstractmethod
    def learn(self, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """Apply the steps in order, in one atomic batch; of each what it made.

        A step sees what those before it made. Concurrent batches on the same values wait for one another and none is
        lost; locks are taken in the order of (state, action), so they do not deadlock. What a batch changes it has read
        under that lock; of other values, which it only looks at as those of a next state, it sees what was committed
        when it began, or later.
        """

    @abstractmethod
    def read(self, partition: str, table: str, states: Sequence[str]) -> list[Learned]:
        """All that is known of some states, as of one moment, in the order of (state, action) by code point."""

    @abstractmethod
    def walk(self, partition: str, table: str, *, piece: int = 1000) -> Iterator[Learned]:
        """The whole table in the order of (state, action), in pieces: memory stays flat; not one moment."""

    @abstractmethod
    def store(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """Set values and visits as they are given, in place of what is there; one atomic batch.

        No two of `values` here and in `merge` are of one action in one state.
        """

    @abstractmethod
    def merge(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        """Add what somebody else learned, in one atomic batch: visits add up, the value is the mean by visits.

        To the last bit it is `value + (given - value) * (visits given / sum of visits)`. Where the action is not known
        or has no visits the given value is taken; where only the given one has none, the value stays.
        """

    @abstractmethod
    def decay(self, partition: str, table: str, factor: float) -> int:
        """Multiply every value by `factor`, from 0 to 1, in bounded atomic pieces; visits stay. Returns how many."""

    @abstractmethod
    def clear(self, partition: str, table: str) -> int:
        """Remove the table, in bounded atomic pieces; returns how many values."""

    @abstractmethod
    def names(self, partition: str, prefix: str = "") -> list[str]:
        """The tables that hold anything, by code point, among those whose name begins with `prefix`."""


Known = dict[str, dict[str, Learned]]
"""By state and action."""


def advanced(table: str, steps: Sequence[Step], known: Known) -> list[Learned]:
    """Apply steps in order; of each what it made.

    Args:
        table: for the error.
        steps: see Step.
        known: of the values that are changed, and all that is known of the next states. It is changed.

    Raises:
        CounterOverflow: a step leaves what a finite double, or MAX_VISITS, can hold.
    """
    made = []
    for step in steps:
        target = step.reward
        if step.next_state is not None:
            following = known.get(step.next_state, {}).values()
            target += step.gamma * max((each.value for each in following), default=0.0)
        actions = known.setdefault(step.state, {})
        value, visits = actions[step.action][2:] if step.action in actions else (step.initial, 0)
        after = Learned(step.state, step.action, value + step.alpha * (target - value), visits + 1)
        actions[step.action] = within_bounds(table, after)
        made.append(after)
    return made


def merged(table: str, mine: Learned | None, given: Learned) -> Learned:
    """What `QTableStore.merge` makes of one value.

    Raises:
        CounterOverflow: the difference of the two values is not finite, or the sum of visits above MAX_VISITS.
    """
    if mine is None or not mine.visits:
        return given
    if not given.visits:
        return mine
    visits = mine.visits + given.visits
    value = mine.value + (given.value - mine.value) * (given.visits / visits)
    return within_bounds(table, given._replace(value=value, visits=visits))


def decayed(value: Learned, factor: float) -> Learned:
    """What `QTableStore.decay` makes of one value."""
    return value._replace(value=value.value * factor)


def within_bounds(table: str, value: Learned) -> Learned:
    """The value itself.

    Raises:
        CounterOverflow: it cannot be.
    """
    if not math.isfinite(value.value):
        raise CounterOverflow(table, f"the value of {value.action!r} in {value.state!r} would not be a finite float")
    if value.visits > MAX_VISITS:
        raise CounterOverflow(table, f"{value.action!r} in {value.state!r} would have more than {MAX_VISITS:,} visits")
    return value
