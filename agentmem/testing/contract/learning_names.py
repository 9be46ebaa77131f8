"""R43: states and actions, what is known of them, and choosing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.coordination.qtable import Snapshot
from agentmem.errors import (
    InvalidArgument,
    InvalidKey,
    InvalidValue,
)
from agentmem.testing.contract.learning_base import LearningContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.coordination.qtable import QTable
    from agentmem.memory import Memory


#: What stands for no state and no action.
NO_NAMES: dict[str, Any] = {
    "none": None,
    "empty": "",
    "nul": "a\0b",
    "surrogate": "\ud800",
    "dict": {"a": 1},
    "dict inside": [1, ({"a": 1},)],
    "bytes": b"a",
    "set": {1},
    "nan": float("nan"),
    "too long": "é" * 513,
    "too long as JSON": ["x" * 1030],
}


class LearningNames(LearningContract):
    """What a caller gives and gets back."""

    # What is known, and choosing.

    def test_r43_the_best_of_equals_is_the_first_by_code_point(self, table: QTable) -> None:
        assert table.best("s") is None
        assert table.best("s", "wait") == "wait"
        table.restore(Snapshot(("s", action, 1.0, 1) for action in ("é", "z", "B", "a", "𝄞", "\uff5e")))
        assert table.best("s") == "B"
        assert list(table.values("s")) == ["B", "a", "z", "é", "\uff5e", "𝄞"]
        table.update("s", "z", 2.0)
        assert table.best("s") == "z"

    def test_r43_choosing_is_greedy_but_for_epsilon(self, learning: Memory) -> None:
        table = learning.qtable("q", initial=1.0)
        table.restore(Snapshot([("s", "good", 2.0, 1), ("s", "bad", 0.5, 1)]))
        rng = random.Random(3)  # noqa: S311 - the same draws each time
        assert {table.choose("s", ["bad", "new", "good"], epsilon=0.0, rng=rng) for _ in range(5)} == {"good"}
        assert {table.choose("s", ["bad", "new"], epsilon=0.0, rng=rng) for _ in range(5)} == {"new"}
        drawn = [table.choose("s", ("bad", "new", "good"), epsilon=1.0, rng=rng) for _ in range(60)]
        assert {drawn.count(action) > 5 for action in ("bad", "new", "good")} == {True}
        assert len({table.choose("t", range(4), epsilon=0.0, rng=rng) for _ in range(60)}) == 4
        with pytest.raises(InvalidArgument):
            table.choose("s", [])

    def test_r43_states_and_actions_come_back_as_keys(self, table: QTable) -> None:
        states: list[Any] = ["text", "=text", "=[1]", (1, 2), ("a", (None, True), 1.5), 7, 7.5, False, "7", ("7",), ()]
        for number, state in enumerate(states):
            table.update(state, state, float(number), alpha=1.0)
        for number, state in enumerate(states):
            assert repr(table.values(state)) == repr({state: float(number)})
        assert {repr(state) for state in table.snapshot().states} == {repr(state) for state in states}
        assert table.value([1, 2], [1, 2]) == table.value((1, 2), (1, 2)) == 3.0

    @pytest.mark.parametrize("thing", NO_NAMES.values(), ids=NO_NAMES)
    def test_r43_what_is_no_state_and_no_action_is_refused(self, table: QTable, thing: Any) -> None:
        refused: list[Callable[[], Any]] = [
            lambda: table.update(thing, "a", 1.0),
            lambda: table.update("s", thing, 1.0),
            lambda: table.value(thing, "a"),
            lambda: table.choose(thing, ["a"], epsilon=1.0),
            lambda: table.choose("s", ["a", thing], epsilon=1.0),
            lambda: table.record([("s", thing, 1.0)]),
            lambda: Snapshot([("s", thing, 1.0, 1)]),
        ]
        for call in refused:
            with pytest.raises((InvalidValue, InvalidKey)):
                call()
        assert len(table.snapshot()) == 0

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, True, "1", None])
    def test_r43_what_is_no_number_is_refused(self, memory: Memory, table: QTable, number: Any) -> None:
        refused: list[Callable[[], Any]] = [
            lambda: table.update("s", "a", number),
            lambda: table.decay(number),
            lambda: table.choose("s", ["a"], epsilon=number),
            lambda: memory.qtable("q", alpha=number),
            lambda: memory.qtable("q", gamma=number),
            lambda: memory.qtable("q", initial=number),
            lambda: Snapshot([("s", "a", number, 1)]),
        ]
        for call in refused:
            with pytest.raises(InvalidArgument):
                call()
        for outside in (-0.1, 1.1):
            with pytest.raises(InvalidArgument):
                memory.qtable("q", alpha=outside)
        assert len(table.snapshot()) == 0

    def test_r43_the_longest_names(self, learning: Memory) -> None:
        rng = random.Random(1)  # noqa: S311 - what does not compress
        partition, name, state, action = (
            "".join(chr(rng.randrange(33, 0x7F)) for _ in range(length)) for length in (128, 1024, 1024, 256)
        )
        table = learning.partition(partition).qtable(name)
        table.update_many([("x" + state[1:], "x" + action[1:], 1.0), (state, action, 1.0)])
        table.update(state, action, 1.0)
        assert table.visits(state, action) == 2
        with pytest.raises(InvalidKey):
            table.update("s", action + "é", 1.0)
