"""The agents of the end-to-end tests. They share nothing but a memory, so each may as well live in another process:

python agents.py ROLE URL NAME [ARGUMENT ...]
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import agentmem
from agentmem import (
    Ack,
    AgentMemError,
    Enqueue,
    Entry,
    Increment,
    LeaseLost,
    Memory,
    OutcomeUnknown,
    Put,
    Transaction,
    Unavailable,
    VersionConflict,
)
from agentmem.coordination.fleet import Fleet
from agentmem.coordination.member import Member
from agentmem.jobs import Job

NAMESPACE = "aqe/"
QUEUE = "aqe/queue"
RESULT_TTL_SECONDS = 3600
SHORT_LEASE_SECONDS = 1.0
MEMBER_SECONDS = 30.0
POLL_SECONDS = 0.02


def fleet_of(memory: Memory) -> Fleet:
    """What all the agents here are part of."""
    return memory.scoped(NAMESPACE).fleet("quality")


class Agent:
    """Somebody with a name, who can join the fleet under it."""

    def __init__(self, memory: Memory, name: str) -> None:
        self.memory = memory
        self.name = name
        self.fleet = fleet_of(memory)

    def join(self) -> Member:
        return self.fleet.register(self.name, role=type(self).__name__, ttl=MEMBER_SECONDS, beat=True)


class Generator(Agent):
    """Makes test cases: every example in the docstrings of a module's functions."""

    def run(self, module: str, source: str) -> int:
        """Store the module and its cases, tell the fleet, and return how many there are."""
        with self.join() as me:
            self.memory.put(f"aqe/modules/{module}", source)
            cases = 0
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    me.heartbeat(f"{module}.{node.name}")
                    for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                        case = {"module": module, "function": node.name, "call": example.source, "want": example.want}
                        self.memory.put(f"aqe/cases/{module}/{cases:02d}", case, metadata={"agent": self.name})
                        cases += 1
            me.report({"module": module, "cases": cases})
            me.broadcast({"generated": module})
        return cases


class Executor(Agent):
    """Runs test cases, whoever made them, and stores what came out."""

    def run_open(self) -> int:
        """Run every case that has no result yet, and return how many there were."""
        done = {key.removeprefix("aqe/results/") for key in self.memory.keys("aqe/results/")}
        cases = {entry.key.removeprefix("aqe/cases/"): entry.value for entry in self.memory.items("aqe/cases/")}
        with self.join() as me:
            for name in sorted(cases.keys() - done):
                self.run(me, name, cases[name])
        return len(cases.keys() - done)

    def follow(self, executors: int) -> int:
        """Run the cases of modules that the fleet hears of, each module's by one of so many executors, until the plan
        says that there are no more; return how many cases were this one's."""
        ran = 0
        with self.join() as me:
            while True:
                plan = self.fleet.plan()
                heard = me.messages(timeout=0.2)
                for message in heard:
                    if self.fleet.assign(message.message["generated"], me) is not None:
                        ran += self.run_module(me, message.message["generated"])
                    me.commit(message.number)
                if plan is not None and not heard:
                    break
            me.report({"ran": ran})
            me.barrier("executed", executors, timeout=30)
            # All of them come by here, and the first one says so.
            with contextlib.suppress(VersionConflict):
                self.fleet.publish(plan.value | {"state": "executed"}, if_version=plan.version)
        return ran

    def run_module(self, me: Member, module: str) -> int:
        cases = list(self.memory.items(f"aqe/cases/{module}/"))
        for entry in cases:
            self.run(me, entry.key.removeprefix("aqe/cases/"), entry.value)
        return len(cases)

    def run(self, me: Member, name: str, case: dict[str, str]) -> None:
        """Run a case; the result counts only if the fleet has not given this executor up meanwhile."""
        me.heartbeat(name)
        space: dict[str, Any] = {}
        exec(self.memory.get(f"aqe/modules/{case['module']}"), space)
        try:
            got = f"{eval(case['call'], space)!r}\n"
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is its result
            got = f"{type(error).__name__}: {error}\n"
        result = {"status": "passed" if got == case["want"] else "failed", "got": got}
        metadata = {"agent": self.name}
        self.memory.put(f"aqe/results/{name}", result, ttl=RESULT_TTL_SECONDS, metadata=metadata, fence=me)


class Producer(Agent):
    """Puts work into a queue.

    Attributes:
        produced: how many items so far.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.produced = 0

    def run(self, enough: threading.Event) -> None:
        """Produce until told that it is enough, then twenty more and, in the same step, say that this was all."""
        queue = self.memory.queue(QUEUE)
        while not enough.wait(0.01):
            queue.put(self.produced)
            self.produced += 1
        last = range(self.produced, self.produced + 20)
        self.produced += len(last)
        self.memory.apply([*(Enqueue(QUEUE, number) for number in last), Put("aqe/complete", self.produced)])


class Consumer(Agent):
    """Takes numbers from the queue, with what others there are, and squares them.

    Attributes:
        queue: where they come from.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.queue = memory.queue(QUEUE)

    def run(self) -> int:
        """Work until the producer is done and nothing is left; return how many items were completed."""
        completed = 0
        while not self.is_over():
            completed += sum(self.process(job) for job in self.queue.claim(10, wait=0.2))
        return completed

    def run_threads(self) -> int:
        """As `run`, in three threads, whose claims, acks and heartbeats are agentmem's."""
        stop = threading.Event()
        threading.Thread(target=self.stop_when_over, args=(stop,), daemon=True).start()
        return self.queue.work(self.complete, threads=3, stop=stop)

    def stop_when_over(self, stop: threading.Event) -> None:
        while not self.is_over():
            time.sleep(POLL_SECONDS)
        stop.set()

    def is_over(self) -> bool:
        return self.memory.exists("aqe/complete") and not self.queue.counts().open

    def process(self, job: Job) -> bool:
        """Complete an item, unless it is another one's by now."""
        try:
            self.complete(job)
        except LeaseLost:
            return False
        return True

    def complete(self, job: Job) -> None:
        """Store the result and end the job in one step, which only the holder of the lease can take, once."""
        metadata = {"agent": self.name, "attempts": job.attempts}
        done = Put(self.place_of(job), job.value**2, metadata=metadata, if_absent=True)
        self.memory.apply([Ack(job), done, Increment("aqe/count")])

    def hold(self) -> Job:
        """Complete one item, claim another one for a short time, and say so."""
        while not any(self.process(job) for job in self.queue.claim(wait=1)):
            pass
        jobs: list[Job] = []
        while not jobs:
            jobs = self.queue.claim(lease=SHORT_LEASE_SECONDS, wait=1)
        say({"holds": self.place_of(jobs[0])})
        return jobs[0]

    def hold_until_done_by_others(self) -> bool:
        """Be away until others have done the work, then come back with a result, and tell whether it was refused."""
        job = self.hold()
        while not self.memory.exists(self.place_of(job)):
            time.sleep(POLL_SECONDS)
        return not self.process(job)

    def place_of(self, job: Job) -> str:
        """Where the result belongs."""
        return f"aqe/done/{job.value:04d}"


class Learner(Agent):
    """Learns by Q-learning (Watkins, 1989) to walk to the right end of a corridor; all it knows is in memory.

    Attributes:
        table: what it knows.
        steps: what it has seen itself: state, move, reward, where that led, and whether that was the end.
    """

    STATES = 5
    MOVES = {"left": -1, "right": 1}  # noqa: RUF012
    RATE, DISCOUNT, CURIOSITY = 0.8, 0.9, 0.2

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.table = memory.qtable("aqe/q", alpha=self.RATE, gamma=self.DISCOUNT)
        self.steps: list[tuple[int, str, float, int, bool]] = []
        self.chance = random.Random(name)

    def learn(self, episodes: int) -> None:
        for _ in range(episodes):
            state = 0
            while state < self.STATES - 1:
                state = self.step(
                    state, self.table.choose(state, list(self.MOVES), epsilon=self.CURIOSITY, rng=self.chance)
                )
        self.memory.increment("aqe/episodes", episodes)

    def step(self, state: int, move: str) -> int:
        """Make a move, learn from it, and return where it leads."""
        following = self.after(state, move)
        at_the_end = following == self.STATES - 1
        self.steps.append((state, move, float(at_the_end), following, at_the_end))
        self.table.update_many(self.steps[-1:])
        return following

    def after(self, state: int, move: str) -> int:
        return max(0, state + self.MOVES[move])

    def walk(self) -> list[int]:
        """The way from the left end by what is known, given up after some steps."""
        path = [0]
        while path[-1] < self.STATES - 1 and len(path) < 2 * self.STATES:
            path.append(self.after(path[-1], self.table.best(path[-1], "left")))
        return path


class CachedReader(Agent):
    """Looks into a cache before it works; of several that miss at once one works and the others wait for it.

    Attributes:
        computed: how often this agent worked.
        lease_seconds: so long the others wait for it.
    """

    def __init__(self, memory: Memory, name: str, lease_seconds: float = 10) -> None:
        super().__init__(memory, name)
        self.computed = 0
        self.lease_seconds = lease_seconds

    def get(self, key: str, compute: Callable[[], Any], ttl: float) -> Any:
        while True:
            value = self.memory.get(f"aqe/cache/{key}", agentmem.MISSING)
            if value is not agentmem.MISSING:
                return value
            # Who was too slow gets LeaseLost: the answer is another one's by then.
            with contextlib.suppress(LeaseLost):
                self.fill(key, compute, ttl)

    def fill(self, key: str, compute: Callable[[], Any], ttl: float) -> None:
        with self.memory.lease(f"aqe/computing/{key}", self.lease_seconds, owner=self.name, wait=30) as lease:
            # Between the look and the lease another one may have come and gone.
            if not self.memory.exists(f"aqe/cache/{key}"):
                self.computed += 1
                self.memory.put(f"aqe/cache/{key}", compute(), ttl=ttl, fence=lease)


class Steadfast(Agent):
    """Goes on where its memory does not answer, and remembers how often.

    Attributes:
        journal: where it writes its steps down.
        errors: what it was told.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.journal = memory.scoped(NAMESPACE).session(f"journal of {name}")
        self.errors: list[AgentMemError] = []

    def run(self, steps: Iterable[int]) -> None:
        for number in steps:
            while not self.take(number):
                time.sleep(POLL_SECONDS)

    def take(self, number: int) -> bool:
        """Write a step down; by its request id it is there once, so an unknown outcome is as good as a failure."""
        try:
            self.write(number)
        except (Unavailable, OutcomeUnknown) as error:
            self.errors.append(error)
            return False
        return True

    def write(self, number: int) -> None:
        self.journal.append(number, request_id=f"step {number}")


class Librarian(Agent):
    """Keeps documents for good in one memory, and at hand in another one.

    Attributes:
        hits: how often the second one knew.
    """

    def __init__(self, memory: Memory, cache: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.cache = cache
        self.hits = 0

    def write(self, key: str, document: Any) -> None:
        self._keep_at_hand(self.memory.put(key, document))

    def read(self, key: str) -> Any:
        cached = self.cache.get(key)
        if cached is not None:
            self.hits += 1
            return cached["document"]
        entry = self.memory.entry(key)
        if entry is None:
            return None
        self._keep_at_hand(entry)
        return entry.value

    def _keep_at_hand(self, entry: Entry) -> None:
        """Never over a newer one: a reader that was slow must not bring back what a writer has replaced."""

        def keep(tx: Transaction) -> None:
            cached = tx.get(entry.key)
            if cached is None or cached["version"] < entry.version:
                tx.put(entry.key, {"version": entry.version, "document": entry.value}, ttl=60)

        self.cache.run(keep)


class Participant(Agent):
    """One agent's part in a session. What is said there concerns nobody else; it ends when nobody takes part any more.

    Attributes:
        session: what is said, and the state of it.
    """

    def __init__(self, memory: Memory, session: str, name: str, ttl: float = 30) -> None:
        super().__init__(memory, name)
        self.session = memory.scoped(NAMESPACE).session(session, ttl=ttl)

    def say(self, text: str) -> int:
        return self.session.append({"by": self.name, "text": text})

    def say_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.say(text)

    def agree(self, rounds: int) -> None:
        """Count up the rounds in which this agent agreed; who agrees at the same time counts, too."""
        for _ in range(rounds):
            self.session.update_state(
                lambda state: state | {self.name: state.get(self.name, 0) + 1}, default={}, attempts=100
            )

    def heard(self) -> list[str]:
        said = [message.value for message in self.session.messages(limit=None)]
        return [turn["text"] for turn in said if turn["by"] != self.name]


def say(answer: Any) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(role: str, url: str, name: str, *arguments: str) -> None:
    with agentmem.connect(url, namespace=NAMESPACE) as memory:
        answer: Any = None
        if role == "consumer":
            answer = Consumer(memory, name).run()
        elif role == "threaded-consumer":
            answer = Consumer(memory, name).run_threads()
        elif role == "stuck-consumer":
            Consumer(memory, name).hold()
            threading.Event().wait()
        elif role == "late-consumer":
            answer = Consumer(memory, name).hold_until_done_by_others()
        elif role == "learner":
            learner = Learner(memory, name)
            learner.learn(int(arguments[0]))
            answer = learner.steps
        elif role == "walker":
            answer = Learner(memory, name).walk()
        else:
            raise SystemExit(f"unknown role {role}")
    say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
