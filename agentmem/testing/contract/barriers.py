"""R42: agents that wait for one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.errors import BarrierTimeout
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.fleets import THREADS, doomed
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import SHORT, eventually, run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory


class Barriers(Contract):
    """Nobody passes before all are there, and the dead do not count."""

    def test_r42_nobody_passes_a_barrier_alone(self, memory: Memory) -> None:
        fleet = memory.fleet("f")

        def rounds(_index: int) -> list[int]:
            seen = []
            for epoch in range(3):
                memory.increment(f"there/{epoch}")
                fleet.barrier(f"epoch/{epoch}", THREADS, timeout=60)
                seen.append(memory.get(f"there/{epoch}"))
            return seen

        assert run_threads(THREADS, rounds) == [[THREADS] * 3] * THREADS

    def test_r42_processes_meet_at_a_barrier(self, memory: Memory, url: str) -> None:
        script = (
            "with memory.fleet('f').register(sys.argv[2]) as member:\n"
            "    memory.increment('there')\n"
            "    member.barrier('ready', 4, timeout=60)\n"
            "    sys.exit(memory.get('there'))\n"
        )
        processes = [start(url, script, f"agent-{number}") for number in range(3)]
        memory.increment("there")
        memory.fleet("f").barrier("ready", 4, timeout=60)
        assert memory.get("there") == 4
        assert finish(processes) == [4] * 3

    def test_r42_an_open_barrier_stays_open(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        run_threads(2, lambda _: fleet.barrier("b", 2, timeout=60, ttl=SHORT * 2))
        eventually(lambda: not list(memory.keys("fleet/f/arrivals/")))
        fleet.barrier("b", 2, timeout=SHORT)

    def test_r42_a_barrier_may_be_kept_for_a_while(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        fleet.barrier("b", 1, keep=SHORT, ttl=SHORT)
        eventually(lambda: list(memory.keys("fleet/")) == [])
        with pytest.raises(BarrierTimeout):
            fleet.barrier("b", 2, timeout=SHORT)

    def test_r42_who_passed_does_not_count_once_the_barrier_is_kept_no_more(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        fleet.barrier("b", 1, keep=SHORT)
        eventually(lambda: not memory.exists("fleet/f/barriers/b"))
        with pytest.raises(BarrierTimeout):
            fleet.barrier("b", 2, timeout=SHORT)

    def test_r42_who_gave_up_does_not_count(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        for _ in range(2):
            with pytest.raises(BarrierTimeout) as caught:
                fleet.barrier("b", 2, timeout=SHORT)
            assert (caught.value.arrived, caught.value.parties) == (1, 2)
        assert list(memory.keys("fleet/f/arrivals/")) == []

    def test_r42_who_died_at_a_barrier_does_not_count(self, memory: Memory, url: str) -> None:
        fleet = memory.fleet("f")
        script = "memory.fleet('f').barrier('b', 3, party='killed', ttl=0.5)\n"
        with doomed(url, script):
            eventually(lambda: memory.exists("fleet/f/arrivals/b/killed"), timeout=60)
        eventually(lambda: not memory.exists("fleet/f/arrivals/b/killed"))
        with pytest.raises(BarrierTimeout):
            run_threads(2, lambda index: fleet.barrier("b", 3, timeout=0.3 + index / 10))
        assert run_threads(3, lambda _: fleet.barrier("b", 3, timeout=60)) == [None] * 3
