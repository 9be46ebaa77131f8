"""R43: Q-tables as a whole, and trajectories."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.coordination.qtable import Snapshot, Transition
from agentmem.errors import (
    CorruptEntry,
    CounterOverflow,
    InvalidArgument,
    InvalidOperation,
)
from agentmem.testing.contract.learning_base import EXTREMES, LearningContract, bits, exact, transitions
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from agentmem.coordination.qtable import QTable
    from agentmem.memory import Memory


class LearningTables(LearningContract):
    """Snapshots, merging, decay, replay."""

    # The table as a whole.

    def test_r43_a_snapshot_is_kept_in_a_file_and_put_back(self, table: QTable, memory: Memory, tmp_path: Any) -> None:
        table.update_many(transitions(3, 50))
        table.update((1, "x"), 2, -0.0)
        snapshot = table.snapshot()
        snapshot.save(tmp_path / "table.json")
        other = memory.qtable("other")
        other.restore(Snapshot.load(tmp_path / "table.json"))
        assert exact(other) == exact(table)
        assert other.snapshot().as_dict() == {state: table.values(state) for state in snapshot.states}
        (tmp_path / "broken.json").write_text('{"format": "agentmem-qtable-1", "values": [[1]]}')
        with pytest.raises(InvalidArgument):
            Snapshot.load(tmp_path / "broken.json")

    def test_r43_restoring_replaces_and_leaves_the_rest(self, table: QTable) -> None:
        table.update_many([("s", "a", 1.0), ("s", "b", 1.0)])
        table.restore(Snapshot([("s", "a", 9.0, 4)]))
        assert [(e.action, e.value, e.visits) for e in table.snapshot()] == [("a", 9.0, 4), ("b", 0.1, 1)]
        with pytest.raises(InvalidArgument):
            table.restore({"s": {"a": 1.0}})  # type: ignore[arg-type]  # no snapshot
        with pytest.raises(InvalidArgument):
            Snapshot([("s", "a", 1.0, 1), ("s", "a", 2.0, 1)])

    def test_r43_merging_is_the_mean_by_visits(self, table: QTable, memory: Memory) -> None:
        table.restore(Snapshot([("s", "a", 1.0, 3), ("s", "b", 1.0, 0), ("s", "c", -0.0, 5), ("s", "d", 7.0, 1)]))
        other = memory.partition("elsewhere").qtable("other")
        other.restore(Snapshot([("s", "a", 2.0, 1), ("s", "b", 0.3, 2), ("s", "c", 9.0, 0), ("t", "a", 0.7, 0)]))
        table.merge(other)
        mean = 1.0 + (2.0 - 1.0) * (1 / 4)
        expected: list[tuple[str, str, float, int]] = [
            ("s", "a", mean, 4),
            ("s", "b", 0.3, 2),
            ("s", "c", -0.0, 5),
            ("s", "d", 7.0, 1),
            ("t", "a", 0.7, 0),
        ]
        assert [(*row[:2], *bits(row[2]), row[3]) for row in expected] == exact(table)
        table.restore(Snapshot([("u", "a", -1e308, 1)]))
        before = exact(table)
        with pytest.raises(CounterOverflow):
            table.merge(Snapshot([("s", "a", 5.0, 1), ("u", "a", 1e308, 1)]))
        assert exact(table) == before

    def test_r43_decay_makes_values_smaller_and_leaves_visits(self, table: QTable) -> None:
        table.restore(Snapshot((f"s{n:04}", "a", EXTREMES[n % len(EXTREMES)], n) for n in range(2_100)))
        assert table.decay(0.3) == 2_100
        assert [row[2:] for row in exact(table)] == [
            (*bits(EXTREMES[n % len(EXTREMES)] * 0.3), n) for n in range(2_100)
        ]

    def test_r43_clear_forgets_one_table(self, learning: Memory) -> None:
        tables = [learning.qtable(name) for name in ("q", "q/x", "qq", "é")]
        for table in tables:
            table.update_many((f"s{n}", a, 1.0) for n in range(600) for a in ("a", "b"))
        assert learning.qtables() == ["q", "q/x", "qq", "é"]
        assert learning.qtables("q/") == ["q/x"]
        assert (tables[0].clear(), tables[0].clear()) == (1_200, 0)
        assert learning.qtables() == ["q/x", "qq", "é"]
        assert len(tables[1].snapshot()) == 1_200

    # Replay.

    def test_r43_trajectories_are_kept_and_drawn(self, table: QTable, memory: Memory) -> None:
        assert table.sample(3) == []
        given: list[list[tuple[Any, ...]]] = [
            [((n, "x"), "a", 1, n + 1), ((n + 1, "x"), "b", 0.5, None, True)] for n in range(5)
        ]
        keys = [table.record(trajectory) for trajectory in given]
        assert len(set(keys)) == 5
        assert all(key.startswith("q/trajectory/") and memory.exists(key) for key in keys)
        rng = random.Random(5)  # noqa: S311 - the same draws each time
        drawn = table.sample(10, rng=rng)
        assert sorted(drawn) == [[Transition(*step) for step in trajectory] for trajectory in given]
        assert {table.sample(1, rng=rng)[0][0].state for _ in range(60)} == {(number, "x") for number in range(5)}
        assert len(table.update_many(table.sample(1)[0])) == 2

    def test_r43_the_oldest_trajectories_give_way(self, table: QTable, memory: Memory) -> None:
        for number in range(8):
            table.record([(number, "a", 1.0)], limit=5)
        assert sorted(trajectory[0].state for trajectory in table.sample(10)) == [3, 4, 5, 6, 7]
        table.record([(8, "a", 1.0)], limit=2)
        assert sorted(trajectory[0].state for trajectory in table.sample(10)) == [7, 8]
        assert memory.count("q/trajectory/0*") == 2

    def test_r43_trajectories_that_expired_are_not_drawn(self, table: QTable, memory: Memory) -> None:
        for number in range(20):
            table.record([(number, "a", 1.0)], ttl=0.01 if number % 4 else None)
        eventually(lambda: memory.count("q/trajectory/0*") == 5)
        assert sorted(trajectory[0].state for trajectory in table.sample(4)) != []
        assert sorted(trajectory[0].state for trajectory in table.sample(9)) == [0, 4, 8, 12, 16]

    def test_r43_threads_record_without_loss(self, table: QTable) -> None:
        run_threads(4, lambda index: [table.record([((index, turn), "a", 1.0)]) for turn in range(6)])
        assert sorted(t[0].state for t in table.sample(99)) == [(i, turn) for i in range(4) for turn in range(6)]

    def test_r43_what_is_no_trajectory_is_told(self, table: QTable, memory: Memory) -> None:
        nonsense: list[Any] = [[], "text", [("s",)], [("s", "a", None)]]
        for wrong in nonsense:
            with pytest.raises(InvalidArgument):
                table.record(wrong)
        key = table.record([("s", "a", 1.0)])
        memory.put(key, "something else")
        with pytest.raises(CorruptEntry) as caught:
            table.sample(1)
        assert caught.value.key == key
        memory.put("q/trajectory/head", [])
        with pytest.raises(InvalidOperation):
            table.sample(1)
