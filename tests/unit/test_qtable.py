"""Learned values above the port: arrays, draws, and backends and machines that lack something."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

import agentmem
from agentmem import ConfigurationError, InvalidArgument
from agentmem.coordination.qtable import Estimate, Snapshot, Transition
from agentmem.coordination.replay import _shuffled
from agentmem.memory import Memory
from tests.unit.dict_repository import DictRepository

ESTIMATES = [("a", "x", 1.5, 3), ("b", "y", -0.0, 1), ((1, 2), "x", 5e-324, 0)]


def test_arrays_are_states_by_actions() -> None:
    snapshot = Snapshot(ESTIMATES)
    assert (snapshot.states, snapshot.actions) == ([(1, 2), "a", "b"], ["x", "y"])
    np.testing.assert_array_equal(snapshot.values, [[5e-324, np.nan], [1.5, np.nan], [np.nan, -0.0]])
    np.testing.assert_array_equal(snapshot.visits, [[0, 0], [3, 0], [0, 1]])
    assert [str(array.dtype) for array in (snapshot.values, snapshot.visits)] == ["float64", "int64"]
    assert np.signbit(snapshot.values[2, 1])


def test_what_numpy_made_of_them_goes_back() -> None:
    before = Snapshot(ESTIMATES)
    values = before.values * 2
    after = Snapshot.of_arrays(before.states, before.actions, values, before.visits)
    assert [(e.state, e.action, e.value, e.visits) for e in after] == [
        ((1, 2), "x", 1e-323, 0),
        ("a", "x", 3.0, 3),
        ("b", "y", -0.0, 1),
    ]
    assert {type(estimate.value) for estimate in after} == {float}
    assert Snapshot.of_arrays(["s"], ["a"], [[0.5]], [[2]]).as_dict() == {"s": {"a": 0.5}}


@pytest.mark.parametrize(
    ("values", "visits"),
    [([[1.0, 2.0]], [[1]]), ([[1.0], [2.0]], [[1], [1]]), ([[1.0]], [[1.5]]), ([[1.0]], [[-1]]), ([[1e999]], [[1]])],
    ids=["a column too many", "a row too many", "half a visit", "fewer than none", "infinite"],
)
def test_arrays_that_do_not_fit_are_refused(values: Any, visits: Any) -> None:
    with pytest.raises(InvalidArgument):
        Snapshot.of_arrays(["s"], ["a"], values, visits)


def test_without_numpy_all_but_arrays_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    snapshot = Snapshot(ESTIMATES)
    for name in ("values", "visits"):
        with pytest.raises(ConfigurationError, match="extra `learning`"):
            getattr(snapshot, name)
    snapshot.save(tmp_path / "table.json")
    assert list(Snapshot.load(tmp_path / "table.json")) == list(snapshot)
    assert snapshot.as_dict() == {(1, 2): {"x": 5e-324}, "a": {"x": 1.5}, "b": {"y": -0.0}}
    assert next(iter(snapshot)) == Estimate((1, 2), "x", 5e-324, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "agentmem-qtable-1"}', "[" * 9999])
def test_a_file_that_holds_no_snapshot_is_refused(text: str, tmp_path: Any) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(InvalidArgument, match="holds no snapshot"):
        Snapshot.load(tmp_path / "file")


def test_a_backend_without_learned_values_says_so() -> None:
    with Memory(DictRepository()) as memory:
        table = memory.qtable("q")
        calls = [lambda: table.update("s", "a", 1.0), lambda: table.best("s"), table.snapshot, memory.qtables]
        for call in calls:
            with pytest.raises(ConfigurationError, match="has no learned values"):
                call()
        assert table.choose("s", ["a"], epsilon=1.0) == "a"


def test_trajectories_need_no_more_than_entries() -> None:
    with Memory(DictRepository()) as memory:
        table = memory.scoped("team/").qtable("q")
        for number in range(300):
            table.record([(number, "a", 1)], limit=200)
        counts = Counter(t[0].state for _ in range(40) for t in table.sample(20, rng=np.random.default_rng(1)))
        assert set(counts) <= set(range(100, 300))
        assert memory.count("team/q/trajectory/*") == 201


def test_a_draw_reads_what_it_gives_and_no_more() -> None:
    repository = DictRepository()
    with Memory(repository) as memory:
        table = memory.qtable("q")
        for number in range(50):
            table.record([(number, "a", 1)])
        repository.calls.clear()
        assert len(table.sample(5)) == 5
        assert repository.calls == {"fetch": 2}
        assert repository.scanned == 0


def test_every_order_of_a_draw_is_as_likely_as_any_other() -> None:
    rng = random.Random(8)
    counts = Counter(tuple(_shuffled(4, rng)) for _ in range(24 * 400))
    assert len(counts) == 24
    assert all(280 < count < 520 for count in counts.values())
    assert sorted(_shuffled(1_000, rng)) == list(range(1_000))


def test_a_transition_is_a_tuple_with_names() -> None:
    assert Transition("s", "a", 1.0) == ("s", "a", 1.0, None, False, None)


def test_numbers_of_numpy_are_numbers() -> None:
    with agentmem.connect("sqlite://") as memory:
        half: Any = np.float32(0.5)
        two: Any = np.int64(2)
        table = memory.qtable("q", alpha=half, gamma=np.float64(0.9))
        assert table.update("s", "a", two) == 1.0
        assert type(table.update("s", "a", np.float64(2), alpha=np.float64(0.5))) is float
        assert table.choose("s", ["a", "b"], epsilon=0.0, rng=np.random.default_rng(1)) == "a"
