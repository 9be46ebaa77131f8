"""R25: `index_values` is advice about speed: what is found is the same with and without, also while it changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidArgument
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.filter_table import DOCUMENTS, FOUND
from agentmem.testing.contract.filters import found
from agentmem.testing.contract.partitions import policy_of
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def answers(memory: Memory) -> list[tuple[set[str], int]]:
    """What the filters of the table find and count, and what their negations find."""
    rows = [(where, {"$not": where}) for where, _ in FOUND if where]
    return [(found(memory, each), memory.count(where=each)) for row in rows for each in row]


class ValueIndexes(Contract):
    """A backend that has no such index ignores the advice."""

    def test_r25_an_index_of_values_changes_no_answer(self, memory: Memory) -> None:
        jobs = memory.partition("jobs")
        jobs.put_many(DOCUMENTS)
        memory.partition("others").put_many(DOCUMENTS)
        before = answers(jobs)
        for wanted in (True, True, False, False, True):
            memory.partition("jobs", index_values=wanted)
            assert answers(jobs) == before
        assert (memory.check(), answers(memory.partition("others"))) == ([], before)
        assert jobs.delete_matching("*", where={"n": {"$in": [9, 10]}}) == 2
        assert set(jobs.keys()) == DOCUMENTS.keys() - {"int", "ten"}

    def test_r25_what_is_written_while_an_index_changes_is_found(self, memory: Memory) -> None:
        jobs = memory.partition("jobs")
        jobs.put_many({f"old/{number}": {"owner": "old"} for number in range(300)})
        is_over = threading.Event()

        def change() -> None:
            try:
                for wanted in (True, False, True):
                    memory.partition("jobs", index_values=wanted)
            finally:
                is_over.set()

        def write(index: int) -> None:
            turn = 0
            while turn < 3 or (turn < 200 and not is_over.is_set()):
                turn += 1
                jobs.put(f"{index}/{turn}", {"owner": index, "turn": turn})
                assert [entry.key for entry in jobs.search(where={"owner": index, "turn": turn})] == [f"{index}/{turn}"]
                jobs.put(f"{index}/{turn}", {"owner": [index]})
                assert jobs.count(where={"owner": index}) == 0
                assert jobs.count(where={"owner": {"$contains": index}}) == turn
            assert jobs.count(where={"owner": "old"}) == 300

        run_threads(4, lambda index: write(index) if index else change())
        assert memory.check() == []

    def test_r25_several_may_ask_for_an_index_at_once(self, shared: Harness) -> None:
        def ask(_: int) -> int:
            with shared.connect() as memory:
                jobs = memory.partition("jobs", index_values=True)
                jobs.put("a", {"n": 1})
                return jobs.count(where={"n": 1})

        assert run_threads(4, ask) == [1] * 4

    def test_r05_index_values_is_a_policy_like_others(self, memory: Memory) -> None:
        memory.partition("jobs", index_values=True, description="first")
        memory.partition("jobs", index_values=False)
        policy = policy_of(memory, "jobs")
        assert policy is not None
        assert policy.description == "first"
        memory.partition("new", index_values=False)
        assert policy_of(memory, "new") is not None
        assert (memory.drop_partition("jobs"), memory.drop_partition("new"), memory.check()) == (0, 0, [])

    @pytest.mark.parametrize("given", [None, 1, 0, "yes", []])
    def test_r05_index_values_is_true_or_false(self, memory: Memory, given: Any) -> None:
        with pytest.raises(InvalidArgument, match="index_values must be True or False"):
            memory.partition("jobs", index_values=given)
        assert policy_of(memory, "jobs") is None
