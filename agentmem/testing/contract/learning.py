"""R43: one step of learning, and batches of them, to the last bit of a double."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.coordination.qtable import Snapshot
from agentmem.errors import (
    CounterOverflow,
    InvalidArgument,
    InvalidOperation,
    InvalidValue,
)
from agentmem.testing.contract.learning_base import EXTREMES, LearningContract, bits, exact, moved, transitions

if TYPE_CHECKING:
    from agentmem.coordination.qtable import QTable
    from agentmem.memory import Memory


class Learning(LearningContract):
    """What an update makes."""

    # Steps.

    def test_r43_a_step_moves_the_value_towards_its_target(self, table: QTable) -> None:
        first = table.update("s", "a", 1.0)
        assert bits(first) == bits(moved(0.0, 1.0))
        assert bits(table.update("s", "a", -3.0)) == bits(moved(first, -3.0))
        assert table.visits("s", "a") == 2
        assert (table.visits("s", "b"), table.value("s", "b"), table.values("t")) == (0, 0.0, {})

    def test_r43_what_follows_counts_by_its_best_action(self, table: QTable) -> None:
        low, high = table.update("end", "low", -5.0), table.update("end", "high", 5.0)
        assert low < high
        made = table.update("s", "a", 1.0, "end")
        assert bits(made) == bits(moved(0.0, 1.0, expected=high, gamma=0.9))
        assert bits(table.update("t", "a", 1.0, "never seen")) == bits(moved(0.0, 1.0))

    def test_r43_all_bad_actions_are_still_the_best_there_are(self, table: QTable) -> None:
        table.restore(Snapshot([("end", "a", -2.0, 1), ("end", "b", -3.0, 1)]))
        assert bits(table.update("s", "a", 0.0, "end")) == bits(moved(0.0, 0.0, expected=-2.0, gamma=0.9))

    def test_r43_at_the_end_nothing_follows(self, table: QTable) -> None:
        table.update("s2", "a", 100.0)
        for state, arguments in (("x", {"next_state": "s2", "done": True}), ("y", {}), ("z", {"done": True})):
            assert bits(table.update(state, "a", 1.0, **arguments)) == bits(moved(0.0, 1.0))

    def test_r43_a_step_back_to_its_state_sees_the_value_that_it_changes(self, table: QTable) -> None:
        value = table.update("s", "a", 10.0, "s")
        assert bits(value) == bits(moved(0.0, 10.0))
        for _ in range(5):
            after = table.update("s", "a", 1.0, "s")
            assert bits(after) == bits(moved(value, 1.0, expected=value, gamma=0.9))
            value = after
        other = table.update("s", "b", 0.0, "s")
        assert bits(other) == bits(moved(0.0, 0.0, expected=value, gamma=0.9))

    def test_r43_values_begin_at_initial(self, learning: Memory) -> None:
        table = learning.qtable("q", alpha=0.5, initial=8.0)
        assert table.value("s", "a") == 8.0
        assert table.update("s", "a", 0.0) == 4.0
        assert table.update("s", "b", 0.0, alpha=1.0) == 0.0
        assert table.values("s") == {"a": 4.0, "b": 0.0}

    def test_r43_a_chain_is_learned_from_its_end(self, learning: Memory) -> None:
        table = learning.qtable("walk", alpha=1.0, gamma=0.5)
        for _ in range(4):
            for place in range(4):
                table.update(place, "right", float(place == 3), place + 1, done=place == 3)
        assert [table.value(place, "right") for place in range(4)] == [0.125, 0.25, 0.5, 1.0]

    # Batches.

    def test_r43_a_batch_equals_its_steps_one_by_one(self, learning: Memory) -> None:
        one, many, pairs = learning.qtable("one"), learning.qtable("many"), learning.qtable("pairs")
        steps = list(transitions(7, 120))
        by_one = [one.update(*step[:4], done=step.done, alpha=step.alpha) for step in steps]
        assert bits(*many.update_many(steps)) == bits(*by_one)
        by_pairs: list[float] = []
        for at in range(0, 120, 2):
            by_pairs += pairs.update_many(tuple(step) for step in steps[at : at + 2])
        assert bits(*by_pairs) == bits(*by_one)
        assert exact(one) == exact(many) == exact(pairs)

    def test_r43_a_batch_is_all_or_nothing(self, table: QTable) -> None:
        table.update("s", "a", 1.0)
        before = exact(table)
        wrong: list[tuple[Any, type[Exception]]] = [
            ([("s", "a", 1.0), ("s", None, 1.0)], InvalidValue),
            ([("s", "a", 1.0), ("s", "a", float("nan"))], InvalidArgument),
            ([("s", "a", 1.0), ("s", "a")], InvalidArgument),
            ([("s", "a", 1e308, None, False, 1.0), ("s", "a", -1e308, None, False, 1.0)] * 2, CounterOverflow),
        ]
        for steps, error in wrong:
            with pytest.raises(error):
                table.update_many(steps)
            assert exact(table) == before
        assert table.update_many([]) == []

    def test_r43_a_batch_of_many_steps(self, table: QTable) -> None:
        values = table.update_many((f"s{number % 500}", f"a{number % 3}", 1.0) for number in range(3_000))
        assert len(values) == 3_000
        assert sum(estimate.visits for estimate in table.snapshot()) == 3_000
        assert bits(values[0], values[-1]) == bits(moved(0.0, 1.0), table.value("s499", "a2"))

    # Numbers.

    def test_r43_every_bit_of_a_double_comes_back(self, table: QTable) -> None:
        given = Snapshot((f"s{number}", "a", value, number) for number, value in enumerate(EXTREMES))
        table.restore(given)
        assert bits(*(table.value(f"s{n}", "a") for n in range(len(EXTREMES)))) == bits(*EXTREMES)
        assert [row[2:] for row in exact(table)] == [(*bits(value), n) for n, value in enumerate(EXTREMES)]

    def test_r43_what_underflows_becomes_zero_or_stays(self, table: QTable) -> None:
        table.restore(Snapshot([("s", "a", 5e-324, 1), ("s", "b", 1e-308, 1), ("n", "a", 5e-324, 1)]))
        for action, value in (("a", 5e-324), ("b", 1e-308)):
            assert bits(table.update("s", action, 0.0)) == bits(moved(value, 0.0))
        assert bits(table.update("t", "a", 0.0, "n", alpha=1e-10)) == bits(0.0)
        assert bits(table.update("u", "a", 5e-324, alpha=0.25)) == bits(0.0)

    @pytest.mark.parametrize("values", [(1e308, 1e308), (-1e308, 1e308)], ids=["target", "difference"])
    def test_r43_what_overflows_is_refused(self, learning: Memory, values: tuple[float, float]) -> None:
        own, following = values
        table = learning.qtable("q", alpha=1.0, gamma=1.0)
        table.restore(Snapshot([("s", "a", own, 3), ("n", "a", following, 1)]))
        before = exact(table)
        for count in (1, 2):
            with pytest.raises(CounterOverflow) as caught:
                table.update_many([("s", "a", 1e308, "n")] * count)
            assert caught.value.key == "q"
            assert isinstance(caught.value, InvalidOperation)
        assert exact(table) == before

    def test_r43_visits_end_where_doubles_are_whole(self, table: QTable) -> None:
        table.restore(Snapshot([("s", "a", 1.0, 2**53 - 2)]))
        table.update("s", "a", 1.0)
        assert table.visits("s", "a") == 2**53 - 1
        with pytest.raises(CounterOverflow):
            table.update("s", "a", 1.0)
        with pytest.raises(CounterOverflow):
            table.merge(Snapshot([("s", "a", 1.0, 1)]))
        assert table.visits("s", "a") == 2**53 - 1
