"""R42: what a fleet shares: who lives, plan and tasks, messages."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from agentmem.errors import LeaseHeld, LeaseLost, NamespaceError, VersionConflict
from agentmem.operations import Check, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import SHORT, eventually, run_threads

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from agentmem.coordination.fleet import Fleet
    from agentmem.coordination.member import Member
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

THREADS = 8


@contextmanager
def doomed(url: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end, if it was not before."""
    process = start(url, script)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_all(fleet: Fleet, agent: str, count: int) -> list[int]:
    """Read so many messages, committing each page; their numbers."""
    numbers: list[int] = []
    deadline = time.monotonic() + 60
    while len(numbers) < count and time.monotonic() < deadline:
        page = fleet.messages(agent, limit=7, timeout=1)
        numbers += [message.number for message in page]
        if page:
            fleet.commit(agent, page[-1].number)
    return numbers


class Fleets(Contract):
    """Many agents on one blackboard."""

    def test_r42_a_name_has_one_living_member(self, memory: Memory) -> None:
        fleet = memory.fleet("f")

        def register(_index: int) -> Member | None:
            try:
                return fleet.register("agent", role="worker", details={"cores": 2})
            except LeaseHeld:
                return None

        (member,) = [member for member in run_threads(THREADS, register) if member]
        info = fleet.alive()["agent"]
        assert (info.agent, info.role, info.doing, info.details) == ("agent", "worker", None, {"cores": 2})
        with pytest.raises(LeaseHeld) as caught:
            fleet.register("agent")
        assert caught.value.owner == info.process
        member.leave()
        member.leave()
        assert not fleet.is_alive("agent")
        with fleet.register("agent"):
            assert set(fleet.alive()) == {"agent"}
        assert fleet.alive() == {}

    def test_r42_a_heartbeat_tells_what_the_agent_does(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        with fleet.register("agent") as member:
            before = fleet.alive()["agent"]
            time.sleep(0.002)  # Redis counts in milliseconds
            member.heartbeat({"file": "a.py"})
            member.heartbeat()
            after = fleet.alive()["agent"]
        assert after.doing == {"file": "a.py"}
        assert after.since == before.since
        assert before.expires_at is not None
        assert after.expires_at is not None
        assert after.expires_at > before.expires_at

    def test_r42_a_silent_member_counts_as_dead_and_learns_it(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        silent = fleet.register("agent", ttl=SHORT)
        eventually(lambda: not fleet.is_alive("agent"))
        with pytest.raises(LeaseLost):
            silent.heartbeat()
        assert silent.lost.is_set()
        with fleet.register("agent") as heir:
            with pytest.raises(LeaseLost):
                silent.heartbeat("a zombie")
            silent.leave()
            assert fleet.alive()["agent"].doing is None
            heir.heartbeat()

    def test_r42_a_lost_member_is_one_again_by_joining_anew(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        member = fleet.register("agent", ttl=60)
        token = member.token
        assert fleet.clear() == 1
        for _ in range(2):
            with pytest.raises(LeaseLost):
                member.heartbeat()
        with fleet.register("agent"), pytest.raises(LeaseHeld):
            member.join()
        with member.join():
            assert not member.lost.is_set()
            member.heartbeat("back")
            assert fleet.alive()["agent"].doing == "back"
            with pytest.raises(LeaseLost):
                memory.put("k", 1, fence=token)
            memory.put("k", 1, fence=member)
        assert not fleet.is_alive("agent")

    def test_r42_a_thread_beats_until_the_member_leaves(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        with fleet.register("agent", ttl=3, beat=True) as member:
            begun = fleet.alive()["agent"].expires_at
            member.heartbeat("busy")

            def is_renewed() -> bool:
                now = fleet.alive()["agent"].expires_at
                return begun is not None and now is not None and (now - begun).total_seconds() > 1.5

            eventually(is_renewed)
            assert fleet.alive()["agent"].doing == "busy"
        assert not fleet.is_alive("agent")

    def test_r42_a_members_threads_beat_at_the_same_time(self, memory: Memory) -> None:
        with memory.fleet("f").register("agent", ttl=60) as member:

            def beat(index: int) -> None:
                for number in range(10):
                    member.heartbeat([index, number])

            run_threads(4, beat)
            assert member.fleet.alive()["agent"].doing[1] == 9
            assert not member.lost.is_set()

    def test_r42_a_killed_member_vanishes_and_its_tasks_go_back(self, memory: Memory, url: str) -> None:
        fleet = memory.fleet("f")
        script = (
            "member = memory.fleet('f').register('killed', ttl=2.5, beat=True)\n"
            "memory.fleet('f').assign('b', member)\n"
            "memory.fleet('f').assign('a', member)\n"
            "signal.pause()\n"
        )
        with fleet.register("lives", ttl=60) as lives, doomed(url, script) as process:
            fleet.assign("c", lives)
            eventually(lambda: len(fleet.assignments("killed")) == 2, timeout=60)
            assert fleet.reassign() == []
            process.kill()
            assert finish([process]) == [-signal.SIGKILL]
            eventually(lambda: not fleet.is_alive("killed"))
            assert sorted(chain(*run_threads(4, lambda _: fleet.reassign()))) == ["a", "b"]
            assert set(fleet.assignments()) == {"c"}

    def test_r42_a_task_is_one_agents(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        tasks = [f"src/{number}.py" for number in range(10)]

        def take(index: int) -> list[str]:
            return [task for task in tasks if fleet.assign(task, f"agent-{index}")]

        taken = run_threads(THREADS, take)
        assert sorted(chain(*taken)) == tasks
        assert {task: one.agent for task, one in fleet.assignments().items()} == {
            task: f"agent-{index}" for index, mine in enumerate(taken) for task in mine
        }

    def test_r42_an_assignment_is_a_fence(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        old = fleet.assign("task", "slow")
        assert old is not None
        assert fleet.assign("task", "slow") == old
        assert fleet.assign("task", "quick") is None
        assert fleet.reassign() == ["task"]
        new = fleet.assign("task", "quick")
        assert new is not None
        assert new.version > old.version
        assert not fleet.release(old)
        with pytest.raises(VersionConflict):
            memory.apply([Check(old.key, old.version), Put("result", "of the slow one")])
        memory.apply([Check(new.key, new.version), Put("result", "of the quick one")])
        assert fleet.release(new)
        assert not fleet.release(new)

    def test_r42_planners_agree_by_compare_and_set(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        assert fleet.plan() is None
        first = fleet.publish({"revision": 0}, if_absent=True)

        def revise(index: int) -> bool:
            try:
                fleet.publish({"revision": 1, "by": index}, if_version=first.version)
            except VersionConflict:
                return False
            return True

        winner = run_threads(THREADS, revise).index(True)
        plan = fleet.plan()
        assert plan is not None
        assert plan.value == {"revision": 1, "by": winner}

    def test_r42_the_board_shows_what_each_reported_last(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        with fleet.register("b", ttl=60) as member:
            member.report("begun")
            member.report({"done": 3})
            fleet.report("a/with/slashes", None)
        assert {agent: one.status for agent, one in fleet.board().items()} == {"a/with/slashes": None, "b": {"done": 3}}
        assert fleet.forget("b") == 1
        assert set(fleet.board()) == {"a/with/slashes"}

    def test_r42_all_agents_read_all_messages_in_one_order(self, memory: Memory) -> None:
        fleet = memory.fleet("f")

        def work(index: int) -> list[int]:
            if index < 4:
                return [fleet.broadcast({"from": index, "n": n}) for n in range(10)]
            return read_all(fleet, f"agent-{index}", 40)

        *sent, first, second, third = run_threads(7, work)
        assert sorted(chain(*sent)) == list(range(1, 41))
        assert all(numbers == sorted(numbers) for numbers in sent)
        assert first == second == third == list(range(1, 41))
        said = {message.number: message.message for message in fleet.messages("late", limit=1000)}
        assert all(
            said[number] == {"from": index, "n": n} for index in range(4) for n, number in enumerate(sent[index])
        )

    def test_r42_processes_broadcast(self, memory: Memory, url: str) -> None:
        script = (
            "with memory.fleet('f').register(sys.argv[2]) as member:\n"
            "    for n in range(20):\n"
            "        member.broadcast(n)\n"
        )
        processes = [start(url, script, f"agent-{number}") for number in range(3)]
        assert read_all(memory.fleet("f"), "reader", 60) == list(range(1, 61))
        assert finish(processes) == [0] * 3
        messages = memory.fleet("f").messages("again", limit=60)
        for number in range(3):
            assert [one.message for one in messages if one.sender == f"agent-{number}"] == list(range(20))

    def test_r42_a_cursor_outlives_its_agent(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        for number in range(5):
            fleet.broadcast(number)
        with fleet.register("reader") as reader:
            assert [one.message for one in reader.messages(limit=2)] == [0, 1]
            assert [one.message for one in reader.messages(limit=3)] == [0, 1, 2]
            reader.commit(2)
            reader.commit(1)
        with fleet.register("reader") as reader:
            assert [(one.number, one.message) for one in reader.messages()] == [(3, 2), (4, 3), (5, 4)]
            reader.commit(5)
            assert reader.messages() == []
        assert len(fleet.messages("another")) == 5

    def test_r42_old_messages_go(self, memory: Memory) -> None:
        fleet = memory.fleet("f")
        fleet.broadcast("expires", ttl=SHORT)
        for number in range(6):
            fleet.broadcast(number, keep=3)
        assert [one.number for one in fleet.messages("reader")] == [5, 6, 7]
        fleet.broadcast("expires", ttl=SHORT)
        eventually(lambda: len(fleet.messages("reader")) == 3)
        assert fleet.broadcast("next") == 9
        assert [one.number for one in fleet.messages("reader")] == [5, 6, 7, 9]

    def test_r42_a_default_ttl_does_not_end_what_a_fleet_counts_by(self, memory: Memory) -> None:
        fleet = memory.partition("short", default_ttl=SHORT).fleet("f")
        fleet.broadcast("one")
        fleet.commit("reader", 1)
        fleet.barrier("b", 1)
        fleet.publish("a plan like any other entry")
        eventually(lambda: fleet.plan() is None)
        assert fleet.broadcast("two") == 2
        assert [one.message for one in fleet.messages("reader")] == ["two"]
        fleet.barrier("b", 2, timeout=SHORT)

    def test_r42_fleets_do_not_meet(self, memory: Memory) -> None:
        names = ["a", "a/agents", "a%2Fagents", "A", "a b", "é"]
        for name in names:
            memory.fleet(name).register("agents/x", role=name)
            memory.fleet(name).broadcast(name)
        memory.scoped("s/").fleet("a").register("scoped")
        memory.partition("p").fleet("a").register("apart")
        for name in names:
            fleet = memory.fleet(name)
            assert {agent: info.role for agent, info in fleet.alive().items()} == {"agents/x": name}
            assert [one.message for one in fleet.messages("x")] == [name]
        assert set(memory.scoped("s/").fleet("a").alive()) == {"scoped"}
        assert memory.fleet("a").clear() == 3
        assert set(memory.fleet("a/agents").alive()) == {"agents/x"}

    def test_r42_a_fleet_obeys_the_namespace(self, harness: Harness) -> None:
        with harness.connect(namespace="team/") as memory:
            with pytest.raises(NamespaceError):
                memory.fleet("f")
            fleet = memory.scoped("team/").fleet("f")
            with fleet.register("agent"):
                assert list(memory.keys()) == ["team/fleet/f/agents/agent"]
