"""R12 to R16 together: whatever threads were answered, there is one order of their calls that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.operations import Delete, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.linearizability import assert_linearizable
from agentmem.testing.mixes import wander_together
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class Linearizability(Contract):
    """Threads make random calls on few keys, in many short rounds, and their histories are checked."""

    @pytest.mark.rule("R12", "R13", "R15", "R16")
    def test_r14_calls_of_threads_take_effect_one_after_the_other(self, harness: Harness, memory: Memory) -> None:
        for seed in range(8):
            keys = [f"{seed}/{name}" for name in ("a", "b", "c")]
            events = wander_together([memory], keys, seed, clients=5, calls=15)
            assert_linearizable(events)
        assert memory.check() == []

    @pytest.mark.rule("R12", "R13", "R14", "R15", "R16")
    def test_r17_calls_by_two_handles_take_effect_one_after_the_other(self, shared: Harness) -> None:
        with shared.connect() as one, shared.connect(pool_size=2) as other:
            for seed in range(8):
                keys = [f"{seed}/{name}" for name in ("a", "b")]
                events = wander_together([one, other], keys, seed, clients=4, calls=15)
                assert_linearizable(events)

    def test_r15_a_batch_is_of_one_moment_for_what_it_finds_missing_too(self, memory: Memory) -> None:
        # Two clear each other's place before they take their own: the later one must have cleared the earlier one's.
        for number in range(60):
            places = [f"{number}/a", f"{number}/b"]

            def take(index: int, places: list[str] = places) -> None:
                memory.apply([Delete(places[1 - index]), Put(places[index], index)])

            run_threads(2, take)
            assert len(memory.get_many(places)) == 1
