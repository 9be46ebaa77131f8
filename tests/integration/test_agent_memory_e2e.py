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
from agentmem import Memory, OutcomeUnknown, Unavailable, transfer
from agentmem.demo import Progress, run_fleet
from agentmem.testing.faults import FaultProxy
from agentmem.testing.support import eventually, exactly, run_threads
from tests.integration.agents import (
    CachedReader,
    Executor,
    Generator,
    Learner,
    Librarian,
    Producer,
    Session,
    Steadfast,
)

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

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
QUEUE_ROLES = ("stuck-consumer", "consumer", "consumer")
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


def heartbeat(memory: Memory, agent: str, number: int) -> int:
    """Say that an agent lives, wait until all five have said so in this round, and count who is alive."""
    memory.put(f"aqe/agents/{agent}", {"round": number}, ttl=30)
    memory.increment(f"aqe/rounds/{number:02d}")
    eventually(lambda: memory.get(f"aqe/rounds/{number:02d}") == 5)
    return memory.count("aqe/agents/*")


def write_own_keys(memory: Memory, index: int) -> None:
    for number in range(10):
        memory.put(f"aqe/agent-{index}/{number}", {"by": index}, metadata={"agent": f"agent-{index}"})
        memory.increment("aqe/written")
        memory.append("aqe/log", [index, number])


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
            assert reader.children("aqe/") == ["aqe/agents/", "aqe/cases/", "aqe/modules/"]

    def test_agent_coordination_via_memory(self, postgres_memory: Memory, postgres_schema_url: str):
        def generate() -> None:
            with connected(postgres_schema_url) as memory:
                for number in range(5):
                    Generator(memory, "generator").run(f"module-{number}", SOURCE)
                memory.put("aqe/plan", {"state": "generated"})

        def execute() -> None:
            with connected(postgres_schema_url) as memory:
                complete = False
                while not complete:
                    complete = memory.exists("aqe/plan")
                    Executor(memory, "executor").run_open()
                memory.merge("aqe/plan", {"state": "executed"})

        run_threads(2, lambda index: (generate, execute)[index]())
        assert postgres_memory.get("aqe/plan") == {"state": "executed"}
        results = [entry.value["status"] for entry in postgres_memory.items("aqe/results/")]
        assert Counter(results) == {"passed": 15, "failed": 5}
        assert postgres_memory.count("aqe/cases/*") == len(results)

    def test_fleet_coordination_pattern(self, postgres_memory: Memory, tmp_path: Path, measured: Measure):
        for number in range(40):
            (tmp_path / f"module_{number:02d}.py").write_text(SOURCE)
        statuses: Counter[str] = Counter()

        def on_progress(progress: Progress) -> None:
            statuses.update(agent["role"] for agent in progress.alive.values())

        fleet = postgres_memory.scoped("aqe/fleet/")
        with measured("a fleet of a commander, 4 workers and a reporter examines 40 files", 40):
            outcome = run_fleet(fleet, tmp_path, analysts=4, lease_seconds=5, on_progress=on_progress)
        tree = fleet.scoped(outcome.prefix)
        assert tree.get("plan")["state"] == "done"
        assert outcome.report == tree.get(f"{outcome.plan.prefix}report")
        assert (outcome.report["exact"], outcome.report["sums"]["files"]) == (True, 40)
        assert outcome.report["sums"]["functions"] == 80
        assert sum(outcome.report["work"].values()) == 40
        assert list(tree.keys(f"{outcome.plan.prefix}open/")) == list(tree.keys(f"{outcome.plan.prefix}lease/")) == []
        assert statuses["reporter"] >= 1

    def test_q_learning_persistence(
        self, postgres_memory: Memory, postgres_schema_url: str, run_agent: Callable[..., Any]
    ):
        learner = Learner(postgres_memory, "here")
        assert learner.walk() == [0] * 10, "who knows nothing gets nowhere"
        run_agent("learner", postgres_schema_url, "teacher", "20")
        learned = contents(postgres_memory)
        assert run_agent("walker", postgres_schema_url, "pupil") == [0, 1, 2, 3, 4]
        assert contents(postgres_memory) == learned, "the pupil has learned nothing, only read"
        assert postgres_memory.get("aqe/q/episodes") == 20
        worth = [learner.values(state)["right"] for state in range(4)]
        assert worth == pytest.approx([0.9**3, 0.9**2, 0.9, 1], abs=0.05)
        versions = {entry.key: entry.version for entry in postgres_memory.items("aqe/q/state/")}
        learner.learn(2)
        assert all(entry.version >= versions[entry.key] for entry in postgres_memory.items("aqe/q/state/"))
        assert postgres_memory.get("aqe/q/episodes") == 22


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
        def rounds(index: int) -> list[int]:
            with connected(redis_url) as memory:
                return [heartbeat(memory, f"agent-{index}", number) for number in range(1, 11)]

        with measured("5 agents, 10 rounds of heartbeats in step", 50):
            assert run_threads(5, rounds) == [[5] * 10] * 5
        assert [entry.value for entry in redis_memory.items("aqe/rounds/")] == [5] * 10
        assert [entry.value for entry in redis_memory.items("aqe/agents/")] == [{"round": 10}] * 5
        for key in list(redis_memory.keys("aqe/agents/")):
            redis_memory.touch(key, 0.1)
        eventually(lambda: redis_memory.children("aqe/agents/") == [])

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
        assert list(redis_memory.keys("aqe/computing/")) == []

    def test_session_based_coordination(self, redis_memory: Memory, inside: Inside):
        monday = [Session(redis_memory, "monday", name) for name in ("planner", "critic")]
        tuesday = Session(redis_memory, "tuesday", "planner")
        monday[0].say("we split it")
        monday[1].say("in three?")
        tuesday.say("something else")
        assert monday[0].heard() == ["in three?"]
        assert monday[1].heard() == ["we split it"]
        assert tuesday.heard() == []
        run_threads(2, lambda index: monday[index].say_all(map(str, range(10))))
        assert monday[0].heard() == ["in three?", *map(str, range(10))]
        assert 0 < inside.pttl("aqe/sessions/monday/turns") <= 30_000
        assert monday[0].end() == 1
        assert monday[1].heard() == []
        assert list(redis_memory.keys()) == ["aqe/sessions/tuesday/turns"]


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
            stuck, *others = [start_agent(role, url, f"consumer-{n}") for n, role in enumerate(QUEUE_ROLES)]
            producer, enough = Producer(memory, "producer"), threading.Event()
            producing = threading.Thread(target=producer.run, args=(enough,), daemon=True)
            producing.start()
            held = json.loads(said(stuck))["holds"]
            stuck.kill()
            enough.set()
            producing.join(30)
            completed = [json.loads(other.communicate(timeout=40)[0]) for other in others]
            assert sum(completed) + 1 == memory.get("aqe/queue/count") == producer.produced
            done = {entry.key: entry for entry in memory.items("aqe/queue/done/")}
            assert [entry.value["square"] for entry in done.values()] == [n**2 for n in range(producer.produced)]
            agents = Counter(entry.metadata["agent"] for entry in done.values())
            assert agents == {"consumer-0": 1, "consumer-1": completed[0], "consumer-2": completed[1]}
            assert done[held.replace("/open/", "/done/")].metadata["agent"] != "consumer-0"
            assert list(memory.keys("aqe/queue/open/")) == list(memory.keys("aqe/queue/lease/")) == []


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
                for call in (partial(memory.get, "aqe/steps/0"), partial(memory.put, "aqe/steps/5", 5)):
                    with pytest.raises(Unavailable) as caught:
                        call()
                    assert caught.value.retryable
                working = threading.Thread(target=agent.run, args=(range(5, 10),), daemon=True)
                working.start()
                eventually(partial(has_seen_errors, agent, 2))
                assert {type(error) for error in agent.errors} <= {Unavailable, OutcomeUnknown}
                assert direct.count("aqe/steps/*") == 5
                proxy.accept()
                working.join(30)
            steps = {entry.key: entry.value for entry in direct.items("aqe/steps/")}
            assert steps == {f"aqe/steps/{number}": number for number in range(10)}

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
