"""A Q-table as it was: to look at, to keep in a file, to compute with in NumPy, and to put back."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from agentmem import arguments, values
from agentmem.coordination.transitions import action_text, state_text, thing_of
from agentmem.errors import ConfigurationError, InvalidArgument
from agentmem.qtable_port import MAX_VISITS, Learned

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMAT: Final = "agentmem-qtable-1"


class Estimate(NamedTuple):
    """What is known of one action in one state, and how many updates made it."""

    state: Any
    action: Any
    value: float
    visits: int


class Snapshot:
    """Values and visits of a Q-table; it does not change. Iterating gives each Estimate, in order.

    Attributes:
        states, actions: those that occur, by code point: the rows and columns of `values` and `visits`.

    Args:
        estimates: in any order.

    Raises:
        InvalidValue, InvalidKey, InvalidArgument: a bad state, action or number; two estimates of one pair.
    """

    def __init__(self, estimates: Iterable[tuple[Any, Any, float, int]]) -> None:
        rows = [_learned(*estimate) for estimate in estimates]
        if len({row[:2] for row in rows}) < len(rows):
            raise InvalidArgument("a snapshot has one value for each action in a state, not two")
        self._hold(rows, "snapshot")

    @classmethod
    def of_rows(cls, rows: Iterable[Learned], table: str) -> Self:
        """Of what a backend gave of a table."""
        made = cls.__new__(cls)
        made._hold(rows, table)
        return made

    def _hold(self, rows: Iterable[Learned], table: str) -> None:
        self._rows = sorted(rows)
        self._states = sorted({row.state for row in self._rows})
        self._actions = sorted({row.action for row in self._rows})
        self.states = [thing_of(text, table) for text in self._states]
        self.actions = [thing_of(text, table) for text in self._actions]

    @classmethod
    def of_arrays(cls, states: Sequence[Any], actions: Sequence[Any], values: Any, visits: Any) -> Self:
        """A snapshot of two arrays, or lists of lists, of states by actions; where a value is NaN nothing is known.

        Raises:
            InvalidArgument: their shapes are not so many states by so many actions. Else as the class.
        """
        shape = (len(states), len(actions))
        for name, array in (("values", values), ("visits", visits)):
            if len(array) != shape[0] or any(len(row) != shape[1] for row in array):
                raise InvalidArgument(f"{name} must be {shape[0]} states by {shape[1]} actions")
        return cls(
            (state, action, value, count)
            for state, row, counts in zip(states, values, visits, strict=True)
            for action, value, count in zip(actions, row, counts, strict=True)
            if not math.isnan(value)
        )

    def __iter__(self) -> Iterator[Estimate]:
        states = dict(zip(self._states, self.states, strict=True))
        actions = dict(zip(self._actions, self.actions, strict=True))
        return (Estimate(states[row.state], actions[row.action], row.value, row.visits) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self._states):,} states, {len(self._actions):,} actions, {len(self):,} values>"

    @property
    def rows(self) -> Sequence[Learned]:
        """As they are stored, for `restore` and `merge`."""
        return self._rows

    def as_dict(self) -> dict[Any, dict[Any, float]]:
        """The values by state and action."""
        found: dict[Any, dict[Any, float]] = {}
        for state, action, value, _ in self:
            found.setdefault(state, {})[action] = value
        return found

    @property
    def values(self) -> NDArray[Any]:
        """The values as a new NumPy array of float64, states by actions; NaN where nothing is known.

        Raises:
            ConfigurationError: NumPy is not installed.
        """
        return self._filled(_numpy().full(self._shape, math.nan), "value")

    @property
    def visits(self) -> NDArray[Any]:
        """The visits as a new NumPy array of int64, states by actions; 0 where nothing is known.

        Raises:
            ConfigurationError: NumPy is not installed.
        """
        numpy = _numpy()
        return self._filled(numpy.zeros(self._shape, dtype=numpy.int64), "visits")

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self._states), len(self._actions)

    def _filled(self, array: NDArray[Any], field: str) -> NDArray[Any]:
        row_of = {text: number for number, text in enumerate(self._states)}
        column_of = {text: number for number, text in enumerate(self._actions)}
        for row in self._rows:
            array[row_of[row.state], column_of[row.action]] = getattr(row, field)
        return array

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file, as JSON: every bit of the numbers comes back.

        Raises:
            OSError: the file cannot be written.
        """
        document = {"format": _FORMAT, "values": [list(estimate) for estimate in self]}
        Path(path).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read it from a file that `save` wrote.

        Raises:
            InvalidArgument: the file holds no snapshot. OSError: it cannot be read.
        """
        try:
            document = json.loads(Path(path).read_bytes())
            if document["format"] != _FORMAT:
                raise ValueError(f"its format is {values.shown(document['format'])}")
            return cls(document["values"])
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise InvalidArgument(f"{Path(path)} holds no snapshot of a Q-table: {error}") from error


def _learned(state: Any, action: Any, value: Any, visits: Any) -> Learned:
    if isinstance(visits, bool) or not hasattr(visits, "__index__") or not 0 <= visits <= MAX_VISITS:
        raise InvalidArgument(f"visits must be a whole number from 0 to {MAX_VISITS:,}, not {values.shown(visits)}")
    return Learned(state_text(state), action_text(action), arguments.real("value", value), operator.index(visits))


def _numpy() -> ModuleType:
    try:
        import numpy as np
    except ImportError as error:
        raise ConfigurationError("arrays need NumPy: install the extra `learning`") from error
    return np
