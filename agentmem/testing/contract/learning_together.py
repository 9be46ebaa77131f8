"""R43: learned values of many writers, and where they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.coordination.qtable import Snapshot
from agentmem.errors import (
    Closed,
    CounterOverflow,
    NamespaceError,
)
from agentmem.testing.contract.learning_base import LearningContract, bits, exact, moved
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


#: Learns until it is killed, and tells of each step, and of each batch, when it is done.
LEARN = (
    "table, me = memory.qtable('q'), sys.argv[2]\n"
    "with open(me, 'ab', buffering=0) as told:\n"
    "    while True:\n"
    "        table.update_many([(me, 'batch', 1.0), ('all', 'batch', 1.0)])\n"
    "        told.write(b'b')\n"
    "        table.update('all', 'step', 1.0)\n"
    "        told.write(b's')\n"
)
_WHOLE = (
    "from agentmem.coordination.qtable import Snapshot\n"
    "table, n = memory.qtable('q'), 0\n"
    "while True:\n"
    "    n += 1\n"
    "    table.{}(Snapshot((f's{{number:03}}', 'a', float(n), {}) for number in range(300)))\n"
)
RESTORE, MERGE = _WHOLE.format("restore", "n"), _WHOLE.format("merge", "1")


def has_told(learner: str, count: int) -> bool:
    """Whether a learner has told so much."""
    return Path(learner).exists() and Path(learner).stat().st_size > count


def after(visits: int) -> float:
    """The value after so many steps to one target."""
    value = 0.0
    for _ in range(visits):
        value = moved(value, 1.0)
    return value


class LearningTogether(LearningContract):
    """Threads, processes, partitions, scopes."""

    # Many writers.

    def test_r43_threads_learn_exactly(self, learning: Memory) -> None:
        alone, shared = learning.qtable("alone"), learning.qtable("shared")
        alone.update_many([("s", "a", 1.0)] * 800)
        run_threads(8, lambda _: [shared.update("s", "a", 1.0) for _ in range(100)])
        assert exact(shared) == exact(alone)

    def test_r43_threads_learn_exactly_in_batches_that_cross(self, learning: Memory) -> None:
        table = learning.qtable("q")
        states = [f"s{number}" for number in range(12)]

        def work(index: int) -> None:
            order = states[index % 12 :] + states[: index % 12]
            for turn in range(10):
                table.update_many((state, "a", 1.0) for state in (order if turn % 2 else reversed(order)))

        run_threads(6, work)
        reference = learning.qtable("reference")
        reference.update_many((state, "a", 1.0) for _ in range(60) for state in states)
        assert exact(table) == exact(reference)
        assert learning.check() == []

    def test_r43_threads_learn_by_every_way_at_once(self, learning: Memory) -> None:
        table = learning.qtable("q", alpha=0.5)
        ways: list[Callable[[], Any]] = [
            lambda: table.update("s", "a", 4.0),
            lambda: table.update_many([("t", "a", 4.0), ("s", "a", 4.0)]),
            lambda: table.merge(Snapshot([("s", "a", 4.0, 1)])),
            table.snapshot,
        ]
        table.restore(Snapshot([("s", "a", 4.0, 0), ("t", "a", 4.0, 0)]))
        run_threads(8, lambda index: [ways[index % 4]() for _ in range(10)])
        assert list(table.snapshot()) == [("s", "a", 4.0, 60), ("t", "a", 4.0, 20)]

    def test_r43_a_step_back_to_its_state_loses_nothing_among_threads(self, learning: Memory) -> None:
        table = learning.qtable("q", alpha=1.0, gamma=1.0)
        # Each step adds one to what stands: with an older value in its place a sum would be missing.
        run_threads(6, lambda _: [table.update("s", "a", 1.0, "s") for _ in range(20)])
        assert table.value("s", "a") == 120.0

    def test_r43_processes_learn_exactly(self, learning: Memory, url: str) -> None:
        script = (
            "table = memory.qtable('shared')\n"
            "for _ in range(50):\n    table.update('s', 'a', 1.0)\n    table.update_many([('s', 'a', 1.0)] * 2)\n"
        )
        assert finish([start(url, script) for _ in range(3)]) == [0] * 3
        alone = learning.qtable("alone")
        alone.update_many([("s", "a", 1.0)] * 450)
        assert exact(learning.qtable("shared")) == exact(alone)

    def test_r43_a_new_process_knows_what_others_learned(self, learning: Memory, url: str) -> None:
        learning.qtable("q").update_many([(("x", 1), "left", 1.0), (("x", 1), "right", 2.0)])
        script = "sys.exit(0 if memory.qtable('q').best(('x', 1)) == 'right' else 3)\n"
        assert finish([start(url, script)]) == [0]

    @pytest.mark.slow
    def test_r43_kill_9_at_any_moment_loses_nothing_that_was_told_and_learns_nothing_twice(
        self, learning: Memory, url: str, tmp_path: Path
    ) -> None:
        told = {str(tmp_path / f"{number}"): Counter[str]() for number in range(6)}
        for pair in (list(told)[at : at + 2] for at in range(0, 6, 2)):
            learners = [start(url, LEARN, learner) for learner in pair]
            for learner in pair:
                eventually(lambda learner=learner: has_told(learner, 60), timeout=60)  # type: ignore[misc]
            for process in learners:
                process.kill()
            finish(learners)
        for learner, counts in told.items():
            counts.update(Path(learner).read_text())
        # In one look: what was on its way when its sender died may arrive only now, on some backends.
        learned = {(state, action): (value, visits) for state, action, value, visits in learning.qtable("q").snapshot()}
        batches = [learned[learner, "batch"][1] for learner in told]
        untold = [number - counts["b"] for number, counts in zip(batches, told.values(), strict=True)]
        assert set(untold) <= {0, 1}
        assert learned["all", "batch"][1] == sum(batches)  # none is half there
        steps = learned["all", "step"][1] - sum(counts["s"] for counts in told.values())
        assert 0 <= steps <= untold.count(0)
        assert [bits(value) for value, _ in learned.values()] == [bits(after(n)) for _, n in learned.values()]
        assert learning.check() == []

    @pytest.mark.slow
    def test_r43_kill_9_in_the_middle_of_a_table_leaves_a_whole_one(self, learning: Memory, url: str) -> None:
        table = learning.qtable("q")
        for script in (RESTORE, MERGE):
            table.clear()
            writer = start(url, script)
            eventually(lambda: table.visits("s000", "a") >= 3, timeout=60)
            writer.kill()
            finish([writer])
            found = list(table.snapshot())
            assert (len(found), len({row[2:] for row in found})) == (300, 1)
        assert learning.check() == []

    # Where tables are.

    def test_r43_tables_of_other_names_and_partitions_are_apart(self, learning: Memory) -> None:
        places = [(p, t, s, a) for p in ("p", "p:v") for t in ("t", "t:t") for s in ("s", "s:s") for a in ("a", "a a")]
        for number, (partition, name, state, action) in enumerate(places):
            learning.partition(partition).qtable(name, alpha=1.0).update(state, action, float(number))
        for number, (partition, name, state, action) in enumerate(places):
            assert learning.partition(partition).qtable(name).value(state, action) == number
        assert learning.check() == []

    def test_r43_a_partition_may_hold_a_table_alone(self, learning: Memory) -> None:
        part = learning.partition("learned")
        part.qtable("q").update("s", "a", 1.0)
        assert "learned" in [partition.name for partition in learning.partitions()]
        assert (part.count(), part.clear(), len(part.qtable("q").snapshot())) == (0, 0, 1)
        learning.drop_partition("learned")
        assert (part.qtables(), learning.check()) == ([], [])
        assert "learned" not in [partition.name for partition in learning.partitions()]

    def test_r43_learners_and_who_drops_their_partition(self, learning: Memory) -> None:
        """Whoever learns meanwhile makes the partition anew, and leaves no value without one."""
        part = learning.partition("jobs")

        def work(index: int) -> None:
            for turn in range(12):
                if index == 0:
                    learning.drop_partition("jobs")
                elif turn % 2:
                    part.qtable("q").update(f"s{turn}", "a", 1.0)
                else:
                    part.qtable("q").update_many([(f"s{turn}", "a", 1.0), (f"s{index}", "b", 1.0)])

        run_threads(4, work)
        assert learning.check() == []
        learning.drop_partition("jobs")
        assert part.qtables() == []

    def test_r43_a_scope_sees_its_own_tables(self, learning: Memory) -> None:
        scoped = learning.scoped("team/")
        scoped.qtable("q").update("s", "a", 1.0)
        learning.qtable("q").update("s", "b", 1.0)
        assert (scoped.qtables(), learning.qtables()) == (["q"], ["q", "team/q"])
        assert scoped.qtable("q").values("s") == {"a": 0.1}
        table = scoped.qtable("q", alpha=1.0)
        with pytest.raises(CounterOverflow) as caught:
            table.update_many([("s", "a", 1e308), ("s", "a", -1e308)])
        assert caught.value.key == "q"

    def test_r43_a_namespace_covers_tables(self, harness: Harness, learning: Memory) -> None:
        policed = learning.partition("policed", namespace="team/")
        policed.qtable("team/q").update("s", "a", 1.0)
        outside = policed.qtable("q")
        calls: list[Callable[[], Any]] = [
            lambda: outside.update("s", "a", 1.0),
            lambda: outside.update_many([("s", "a", 1.0)] * 2),
            lambda: outside.merge(Snapshot([("s", "a", 1.0, 1)])),
        ]
        for call in calls:
            with pytest.raises(NamespaceError):
                call()
        assert policed.qtables() == ["team/q"]
        with harness.connect(namespace="team/") as fenced, pytest.raises(NamespaceError):
            fenced.qtable("q")

    def test_r43_a_closed_handle_learns_nothing(self, harness: Harness, learning: Memory) -> None:
        derived = learning.scoped("x/")
        table = derived.qtable("q")
        derived.close()
        calls: list[Callable[[], Any]] = [
            lambda: table.update("s", "a", 1.0),
            lambda: table.update_many([]),
            lambda: table.best("s"),
            table.snapshot,
            lambda: table.choose("s", ["a"], epsilon=1.0),
            lambda: table.restore(Snapshot([])),
            lambda: derived.qtable("q"),
            derived.qtables,
        ]
        for call in calls:
            with pytest.raises(Closed):
                call()
