"""Agents that work together through memory alone, on real servers: threads, and some of them processes of their own."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import LeaseHeld, LeaseLost, Memory, OutcomeUnknown, Unavailable, transfer
from agentmem.demo import Progress, run_fleet
from agentmem.testing.faults import FaultProxy
from agentmem.testing.support import eventually, exactly, run_threads
from tests.integration.agents import (
    QUEUE,
    CachedReader,
    Executor,
    Generator,
    Learner,
    Librarian,
    Participant,
    Producer,
    Steadfast,
    fleet_of,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable
    from pathlib import Path

    from agentmem.coordination.member import Member
    from agentmem.coordination.session_info import SessionInfo
    from tests.integration.conftest import Inside, Measure, Start, Store

pytestmark = [pytest.mark.integration, pytest.mark.e2e, pytest.mark.timeout(60)]

SOURCE = '''
def add(a, b):
    """
    >>> add(1, 2)
    3
    >>> add("a", "é")
    'aé'
    >>> add(1, "b")
    'never'
    """
    return a + b

def half(a):
    """
    >>> half(3)
    1.5
    """
    return a / 2
'''
QUEUE_ROLES = ("stuck-consumer", "late-consumer", "consumer", "threaded-consumer")
PASSED = {"status": "passed", "got": "3\n"}


def connected(url: str) -> Memory:
    """A handle of an agent's own."""
    return agentmem.connect(url, namespace="aqe/")


def contents(memory: Memory) -> dict[str, tuple[str, str]]:
    """Values and metadata, exactly."""
    return {entry.key: (exactly(entry.value), exactly(entry.metadata)) for entry in memory.items()}


def ends(memory: Memory) -> dict[str, float]:
    """When entries expire, for those that do."""
    return {entry.key: entry.expires_at.timestamp() for entry in memory.items() if entry.expires_at is not None}


def in_step(me: Member, number: int) -> list[int]:
    """Say that an agent is in a round, wait until all five are, and return in which rounds those are that live."""
    me.heartbeat({"round": number})
    me.barrier(f"round-{number:02d}", 5, timeout=30)
    return [each.doing["round"] for each in me.fleet.alive().values()]


def learned_alone(steps: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """What Q-learning makes of steps, by one learner after the other: (state, move, value, visits), in order."""
    known: dict[int, dict[str, tuple[float, int]]] = {}
    for state, move, reward, following, at_the_end in steps:
        best = 0.0 if at_the_end else max((value for value, _ in known.get(following, {}).values()), default=0.0)
        value, visits = known.setdefault(state, {}).get(move, (0.0, 0))
        target = reward + Learner.DISCOUNT * best
        known[state][move] = (value + Learner.RATE * (target - value), visits + 1)
    return [(state, move, *known[state][move]) for state in sorted(known) for move in sorted(known[state])]


def is_later_by(use: Callable[[], object], participant: Participant, before: SessionInfo) -> bool:
    """Use a session, and tell whether it ends later now."""
    use()
    now = told(participant).expires_at
    return now is not None and before.expires_at is not None and now > before.expires_at


def told(participant: Participant) -> SessionInfo:
    """What is known of a session."""
    info = participant.session.info()
    assert info is not None
    return info


def write_own_keys(memory: Memory, index: int) -> None:
    for number in range(10):
        memory.put(f"aqe/agent-{index}/{number}", {"by": index}, metadata={"agent": f"agent-{index}"})
        memory.increment("aqe/written")
        memory.append("aqe/log", [index, number])
        memory.qtable("aqe/q", alpha=0.3).update("writing", "again", 1.0, done=True)


def write_or_read_plan(memory: Memory, index: int) -> list[tuple[int, ...]]:
    if index:
        return [tuple(memory.get_many(["aqe/plan/head", "aqe/plan/tail"]).values()) for _ in range(10)]
    for number in range(1, 21):
        memory.put_many({"aqe/plan/head": number, "aqe/plan/tail": number})
    return []


def count_to_five(memory: Memory, _: int) -> None:
    for _ in range(5):
        memory.increment("aqe/n")


def has_seen_errors(agent: Steadfast, count: int) -> bool:
    return len(agent.errors) >= count


def answers(memory: Memory) -> bool:
    try:
        memory.ping()
    except Unavailable:
        return False
    return True


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.postgres
class TestAgentPostgresMemoryE2E:
    def test_generator_stores_results(self, postgres_memory: Memory, postgres_schema_url: str):
        assert Generator(postgres_memory, "generator-1").run("sums", SOURCE) == 4
        with connected(postgres_schema_url) as reader:
            cases = reader.search("aqe/cases/sums/*", where={"function": "add", "@metadata.agent": "generator-1"})
            assert [entry.value["call"] for entry in cases] == ["add(1, 2)\n", 'add("a", "é")\n', 'add(1, "b")\n']
            assert reader.get("aqe/modules/sums") == SOURCE
            assert reader.get("aqe/cases/sums/03") == {
                "module": "sums",
                "function": "half",
                "call": "half(3)\n",
                "want": "1.5\n",
            }
            assert reader.children("aqe/") == ["aqe/cases/", "aqe/fleet/", "aqe/modules/"]
            fleet = fleet_of(reader)
            assert fleet.alive() == {}, "it has left"
            assert fleet.board()["generator-1"].status == {"module": "sums", "cases": 4}
            heard = [(message.number, message.sender, message.message) for message in fleet.messages("reader")]
            assert heard == [(1, "generator-1", {"generated": "sums"})]

    def test_agent_coordination_via_memory(self, postgres_memory: Memory, postgres_schema_url: str):
        modules = [f"module-{number}" for number in range(5)]

        def work(index: int) -> int:
            with connected(postgres_schema_url) as memory:
                if index:
                    return Executor(memory, f"executor-{index}").follow(2)
                generator = Generator(memory, "generator")
                cases = sum(generator.run(module, SOURCE) for module in modules)
                generator.fleet.publish({"state": "generated", "cases": cases}, if_absent=True)
                return cases

        generated, *ran = run_threads(3, work)
        fleet = fleet_of(postgres_memory)
        plan = fleet.plan()
        assert plan is not None
        assert plan.value == {"state": "executed", "cases": 20}
        assert generated == sum(ran) == 20, "each case was run by one of the two"
        results = {entry.key: entry for entry in postgres_memory.items("aqe/results/")}
        assert Counter(entry.value["status"] for entry in results.values()) == {"passed": 15, "failed": 5}
        tasks = fleet.assignments()
        assert list(tasks) == modules
        assert {key: entry.metadata["agent"] for key, entry in results.items()} == {
            f"aqe/results/{module}/{number:02d}": tasks[module].agent for module in modules for number in range(4)
        }
        assert [fleet.board()[f"executor-{index}"].status for index in (1, 2)] == [{"ran": count} for count in ran]
        assert [message.message["generated"] for message in fleet.messages("newcomer")] == modules
        assert fleet.messages("executor-1") == fleet.messages("executor-2") == [], "each has heard all of them"
        assert fleet.alive() == {}

    def test_fleet_coordination_pattern(self, postgres_memory: Memory, tmp_path: Path, measured: Measure):
        for number in range(40):
            (tmp_path / f"module_{number:02d}.py").write_text(SOURCE)
        statuses: Counter[str | None] = Counter()

        def on_progress(progress: Progress) -> None:
            statuses.update(agent.role for agent in progress.alive.values())

        fleet = postgres_memory.scoped("aqe/fleet/")
        with measured("a fleet of a commander, 4 workers and a reporter examines 40 files", 40):
            outcome = run_fleet(fleet, tmp_path, analysts=4, lease_seconds=5, on_progress=on_progress)
        tree = fleet.scoped(outcome.prefix)
        assert tree.get("plan")["state"] == "done"
        assert outcome.report == tree.get(f"{outcome.plan.prefix}report")
        assert (outcome.report["exact"], outcome.report["sums"]["files"]) == (True, 40)
        assert outcome.report["sums"]["functions"] == 80
        assert sum(outcome.report["work"].values()) == 40
        assert tree.count(f"{outcome.plan.prefix}findings/*") == 40
        assert tree.qtable("orders").visits("next", "tiny") >= 1, "what such files pay, for the next run"
        assert (tree.queues(), tree.fleet("crew").alive()) == ([], {}), "nothing is left to do, and nobody there"
        assert statuses["reporter"] >= 1

    def test_q_learning_persistence(
        self, postgres_memory: Memory, postgres_schema_url: str, run_agent: Callable[..., Any]
    ):
        learner = Learner(postgres_memory, "here")
        assert learner.walk() == [0] * 10, "who knows nothing gets nowhere"
        taught = run_agent("learner", postgres_schema_url, "teacher", "20")
        learned = list(learner.table.snapshot())
        assert learned == learned_alone(taught), "to the last bit what a learner alone would know"
        entries = contents(postgres_memory)
        assert run_agent("walker", postgres_schema_url, "pupil") == [0, 1, 2, 3, 4]
        assert (list(learner.table.snapshot()), contents(postgres_memory)) == (learned, entries), (
            "the pupil has learned nothing, only read"
        )
        assert postgres_memory.get("aqe/episodes") == 20
        worth = [learner.table.value(state, "right") for state in range(4)]
        assert worth == pytest.approx([0.9**3, 0.9**2, 0.9, 1], abs=0.05)
        learner.learn(2)
        assert list(learner.table.snapshot()) == learned_alone([*taught, *learner.steps]), "it went on from there"
        assert postgres_memory.get("aqe/episodes") == 22


@pytest.mark.redis
class TestAgentRedisMemoryE2E:
    def test_executor_stores_results(self, redis_memory: Memory, redis_url: str, inside: Inside):
        Generator(redis_memory, "generator").run("sums", SOURCE)
        assert Executor(redis_memory, "executor-1").run_open() == 4
        with connected(redis_url) as reader:
            assert reader.get("aqe/results/sums/00") == PASSED
            failed = reader.search("aqe/results/*", where={"status": "failed"})
            assert [entry.key for entry in failed] == ["aqe/results/sums/02"]
            assert failed[0].value["got"].startswith("TypeError: unsupported operand")
            assert failed[0].metadata == {"agent": "executor-1"}
        assert 0 < inside.pttl("aqe/results/sums/00") <= 3_600_000
        assert Executor(redis_memory, "executor-2").run_open() == 0, "what has a result is not run again"

    def test_high_frequency_agent_coordination(self, redis_memory: Memory, redis_url: str, measured: Measure):
        def rounds(index: int) -> list[list[int]]:
            with connected(redis_url) as memory, fleet_of(memory).register(f"agent-{index}", ttl=30) as me:
                seen = [in_step(me, number) for number in range(1, 11)]
                me.barrier("seen", 5, timeout=30)
                return seen

        with measured("5 agents, 10 rounds of heartbeats in step", 50):
            for seen in run_threads(5, rounds):
                assert [len(living) for living in seen] == [5] * 10
                # Nobody is behind; who has seen the others may be in the next round already.
                assert all({*living} <= {number, number + 1} for number, living in enumerate(seen, 1)), seen
        fleet = fleet_of(redis_memory)
        assert fleet.alive() == {}, "they have left"
        silent = fleet.register("silent", role="observer", ttl=0.1)
        eventually(lambda: not fleet.is_alive("silent"))
        with pytest.raises(LeaseLost):
            silent.heartbeat()
        with fleet.register("silent", ttl=30) as successor:
            assert (fleet.alive()["silent"].role, successor.is_held) == (None, True)
            with pytest.raises(LeaseHeld):
                fleet.register("silent")

    def test_agent_cache_pattern(self, redis_memory: Memory, redis_url: str):
        agents = [CachedReader(redis_memory, f"agent-{number}") for number in range(8)]
        answer = {"answer": [4, 2]}

        def ask(index: int) -> Any:
            return agents[index].get("question", lambda: answer, 60)

        assert run_threads(8, ask) == [answer] * 8
        assert sum(agent.computed for agent in agents) == 1
        with connected(redis_url) as memory:
            newcomer = CachedReader(memory, "newcomer")
            assert newcomer.get("question", lambda: "never", 60) == answer
            assert newcomer.computed == 0
            assert newcomer.get("brief", lambda: 1, 0.05) == 1
            eventually(lambda: not memory.exists("aqe/cache/brief"))
            assert newcomer.get("brief", lambda: 2, 60) == 2
            slow = CachedReader(redis_memory, "slow", lease_seconds=0.2)
            # While it computes its lease ends, another one takes over, and its own answer comes too late.
            assert slow.get("late", lambda: [newcomer.get("late", lambda: "in time", 60)], 60) == "in time"
            assert (slow.computed, newcomer.computed) == (1, 3)
        assert list(redis_memory.keys("aqe/computing/")) == []

    def test_session_based_coordination(self, redis_memory: Memory, inside: Inside):
        monday = [Participant(redis_memory, "monday", name) for name in ("planner", "critic")]
        tuesday = Participant(redis_memory, "tuesday", "planner")
        assert [monday[0].say("we split it"), monday[1].say("in three?"), tuesday.say("something else")] == [1, 2, 1]
        assert monday[0].heard() == ["in three?"]
        assert monday[1].heard() == ["we split it"]
        assert tuesday.heard() == []
        run_threads(2, lambda index: monday[index].say_all(map(str, range(10))))
        assert monday[0].heard() == ["in three?", *map(str, range(10))]
        assert monday[1].heard() == ["we split it", *map(str, range(10))]
        messages = monday[0].session.messages(limit=None)
        assert [message.number for message in messages] == list(range(1, 23)), "one order for both, without gaps"
        assert monday[1].session.messages(limit=5, before=20) == messages[14:19]
        run_threads(2, lambda index: monday[index].agree(10))
        assert monday[1].session.state() == {"planner": 10, "critic": 10}
        assert 0 < inside.pttl("aqe/session/monday/head") <= 30_000
        assert monday[0].session.end()
        assert monday[1].heard() == []
        assert redis_memory.children("aqe/session/") == ["aqe/session/tuesday/"]
        assert not any(b"monday" in name for name in inside.names())

        lasting = Participant(redis_memory, "lasting", "planner", ttl=8)
        for use in (partial(lasting.say, "used again"), lasting.heard):
            lasting.say("begun")
            before = told(lasting)
            assert before.expires_at is not None
            assert (before.expires_at - before.updated_at).total_seconds() == pytest.approx(8, abs=0.01)
            eventually(partial(is_later_by, use, lasting, before))
        brief = Participant(redis_memory, "brief", "planner", ttl=0.2)
        brief.say("a word")
        eventually(lambda: not brief.session.exists())
        assert brief.session.messages() == []
        eventually(lambda: list(redis_memory.keys("aqe/session/brief/")) == [])
        assert [info.id for info in redis_memory.scoped("aqe/").sessions()] == ["lasting", "tuesday"]


@pytest.mark.postgres
@pytest.mark.redis
class TestHybridMemoryE2E:
    def test_postgres_for_persistence_redis_for_cache(self, postgres_memory: Memory, redis_memory: Memory):
        first, second = (Librarian(postgres_memory, redis_memory, name) for name in ("first", "second"))
        documents = {f"aqe/docs/{number:02d}": {"number": number} for number in range(20)}
        for key, document in documents.items():
            first.write(key, document)
        assert {key: second.read(key) for key in documents} == documents
        assert second.hits == 20
        redis_memory.clear()
        assert {key: second.read(key) for key in documents} == documents
        assert (second.hits, redis_memory.count("aqe/docs/*")) == (20, 20)
        first.write("aqe/docs/00", "newer")
        assert second.read("aqe/docs/00") == "newer"
        assert second.read("aqe/absent") is None

    def test_data_migration_between_backends(
        self, postgres_memory: Memory, redis_memory: Memory, inside: Inside, measured: Measure
    ):
        values = [{"z": 1, "a": -0.0}, 2**70, 1e22, "\x00é😀\u2028", None, [[]], True]
        for number in range(30):
            ttl = (None, 600, 7 * 24 * 3600)[number % 3]
            metadata = {"from": "PostgreSQL", "é": number} if number % 2 else None
            postgres_memory.put(f"aqe/{number:02d} é", values[number % 7], ttl=ttl, metadata=metadata)
        postgres_memory.put_many({f"aqe/many/{number:04d}": number for number in range(1500)})
        back = postgres_memory.partition("back", default_ttl=1)
        with measured("entries copied from PostgreSQL to Redis and back", 2 * 1530):
            assert transfer.copy(postgres_memory, redis_memory) == transfer.copy(redis_memory, back) == 1530
        assert contents(back) == contents(redis_memory) == contents(postgres_memory)
        assert 590_000 < inside.pttl("aqe/01 é") <= 600_000
        before, after = ends(postgres_memory), ends(back)
        assert before.keys() == after.keys()
        assert len(before) == 20
        assert [key for key in before if abs(before[key] - after[key]) > 5] == []


@pytest.mark.postgres
@pytest.mark.redis
class TestConcurrentAgentAccess:
    def test_multiple_agents_concurrent_writes(self, stores: list[Store]):
        for memory, _ in stores:
            run_threads(10, partial(write_own_keys, memory))
            assert memory.get("aqe/written") == 100
            alone = 0.0
            for _ in range(100):
                alone += 0.3 * (1.0 - alone)
            assert list(memory.qtable("aqe/q").snapshot()) == [("writing", "again", alone, 100)]
            log = memory.get("aqe/log")
            assert len(log) == 100
            for index in range(10):
                own = [(entry.value, entry.metadata) for entry in memory.items(f"aqe/agent-{index}/")]
                assert own == [({"by": index}, {"agent": f"agent-{index}"})] * 10
                assert [number for who, number in log if who == index] == list(range(10))

    def test_agents_reading_shared_data(self, stores: list[Store], measured: Measure):
        for memory, _ in stores:
            memory.put_many({"aqe/plan/head": 0, "aqe/plan/tail": 0})
            with measured(f"20 agents read a shared plan that is rewritten meanwhile, {memory.stats().backend}", 200):
                plans = run_threads(21, partial(write_or_read_plan, memory))[1:]
            assert [len(own) for own in plans] == [10] * 20
            for own in plans:
                assert all(head == tail for head, tail in own), "half of a plan was read"
                assert own == sorted(own), "a plan came back"
            assert memory.get_many(["aqe/plan/head", "aqe/plan/tail"]) == {"aqe/plan/head": 20, "aqe/plan/tail": 20}

    @pytest.mark.fault
    def test_agent_work_queue_pattern(self, stores: list[Store], start_agent: Start):
        for memory, url in stores:
            agents = [start_agent(role, url, f"consumer-{number}") for number, role in enumerate(QUEUE_ROLES)]
            stuck, late, *others = agents
            producer, enough = Producer(memory, "producer"), threading.Event()
            producing = threading.Thread(target=producer.run, args=(enough,), daemon=True)
            producing.start()
            held = [json.loads(said(agent))["holds"] for agent in (stuck, late)]
            stuck.kill()
            enough.set()
            producing.join(30)
            completed = [json.loads(other.communicate(timeout=40)[0]) for other in others]
            assert json.loads(late.communicate(timeout=40)[0]) is True, "what came too late was refused"
            assert sum(completed) + 2 == memory.get("aqe/count") == memory.get("aqe/complete") == producer.produced
            done = {entry.key: entry for entry in memory.items("aqe/done/")}
            assert [entry.value for entry in done.values()] == [number**2 for number in range(producer.produced)]
            by = Counter(entry.metadata["agent"] for entry in done.values())
            # As counters, to which none is zero: on a busy machine a consumer may begin when nothing is left.
            assert by == Counter(
                {"consumer-0": 1, "consumer-1": 1, "consumer-2": completed[0], "consumer-3": completed[1]}
            )
            for key in held:
                assert done[key].metadata["agent"] in {"consumer-2", "consumer-3"}
                assert done[key].metadata["attempts"] > 1
            assert (sum(memory.queue(QUEUE).counts()), memory.queues()) == (0, [])


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.fault
class TestMemoryResilience:
    def test_agent_continues_after_memory_error(self, stores: list[Store]):
        for direct, url in stores:
            with FaultProxy(url) as proxy, connected(proxy.url) as memory:
                agent = Steadfast(memory, "agent")
                agent.run(range(5))
                assert agent.errors == []
                proxy.refuse()
                # A read finds out that the connection broke; a write on it would not know what became of it.
                for call in (agent.journal.count, partial(agent.write, 5)):
                    with pytest.raises(Unavailable) as caught:
                        call()
                    assert caught.value.retryable
                working = threading.Thread(target=agent.run, args=(range(5, 10),), daemon=True)
                working.start()
                eventually(partial(has_seen_errors, agent, 2))
                assert {type(error) for error in agent.errors} <= {Unavailable, OutcomeUnknown}
                journal = Steadfast(direct, "agent").journal
                assert journal.count() == 5
                proxy.accept()
                working.join(30)
            written = [(message.number, message.value) for message in journal.messages(limit=None)]
            assert written == [(number + 1, number) for number in range(10)], "each step once, and in order"

    def test_memory_backend_isolation(self, stores: list[Store]):
        for healthy, failing in (stores, stores[::-1]):
            with FaultProxy(failing.url) as proxy, connected(proxy.url) as memory:
                memory.put("aqe/before", 1)
                proxy.refuse()
                for _ in range(3):
                    with pytest.raises((Unavailable, OutcomeUnknown)):
                        memory.put("aqe/during", 1)
                    run_threads(4, partial(count_to_five, healthy.memory))
                assert healthy.memory.get("aqe/n") == 3 * 4 * 5
                proxy.accept()
                eventually(partial(answers, memory))
                assert memory.get_many(["aqe/before", "aqe/during"]) == {"aqe/before": 1}
                assert list(failing.memory.keys()) == list(memory.keys())
