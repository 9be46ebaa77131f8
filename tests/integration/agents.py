"""The agents of the end-to-end tests. They share nothing but a memory, so each may as well live in another process:

python agents.py ROLE URL NAME [ARGUMENT ...]
"""

from __future__ import annotations

import ast
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
    AgentMemError,
    Append,
    Check,
    Delete,
    Entry,
    Increment,
    Memory,
    OutcomeUnknown,
    Put,
    Touch,
    Transaction,
    Unavailable,
    VersionConflict,
)

NAMESPACE = "aqe/"
RESULT_TTL_SECONDS = 3600
LEASE_SECONDS = 1.0
POLL_SECONDS = 0.02


class Agent:
    """Somebody with a name who says now and then what they do."""

    def __init__(self, memory: Memory, name: str) -> None:
        self.memory = memory
        self.name = name

    def beat(self, doing: str, ttl: float = 5) -> None:
        self.memory.put(f"aqe/agents/{self.name}", {"doing": doing}, ttl=ttl)


class Generator(Agent):
    """Makes test cases: every example in the docstrings of a module's functions."""

    def run(self, module: str, source: str) -> int:
        """Store the module and its cases, and return how many there are."""
        self.memory.put(f"aqe/modules/{module}", source)
        cases = 0
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                    self.beat(f"{module}.{node.name}")
                    case = {"module": module, "function": node.name, "call": example.source, "want": example.want}
                    self.memory.put(f"aqe/cases/{module}/{cases:02d}", case, metadata={"agent": self.name})
                    cases += 1
        return cases


class Executor(Agent):
    """Runs test cases, whoever made them, and stores what came out."""

    def run_open(self) -> int:
        """Run every case that has no result yet, and return how many there were."""
        done = {key.removeprefix("aqe/results/") for key in self.memory.keys("aqe/results/")}
        cases = {entry.key.removeprefix("aqe/cases/"): entry.value for entry in self.memory.items("aqe/cases/")}
        for name in cases.keys() - done:
            self.run(name, cases[name])
        return len(cases.keys() - done)

    def run(self, name: str, case: dict[str, str]) -> None:
        self.beat(name)
        space: dict[str, Any] = {}
        exec(self.memory.get(f"aqe/modules/{case['module']}"), space)
        try:
            got = f"{eval(case['call'], space)!r}\n"
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is its result
            got = f"{type(error).__name__}: {error}\n"
        result = {"status": "passed" if got == case["want"] else "failed", "got": got}
        self.memory.put(f"aqe/results/{name}", result, ttl=RESULT_TTL_SECONDS, metadata={"agent": self.name})


class Producer(Agent):
    """Puts work into a queue.

    Attributes:
        produced: how many items so far.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.produced = 0

    def run(self, enough: threading.Event) -> None:
        """Produce until told that it is enough, then twenty more, and say that this was all."""
        while not enough.wait(0.01):
            self.produce()
        for _ in range(20):
            self.produce()
        self.memory.put("aqe/queue/complete", self.produced)

    def produce(self) -> None:
        self.memory.put(f"aqe/queue/open/{self.produced:04d}", {"number": self.produced})
        self.produced += 1


class Consumer(Agent):
    """Takes work from the queue under a lease, with what others there are. See docs/coordination.md."""

    def run(self) -> int:
        """Work until the producer is done and nothing is open; return how many items were completed."""
        completed = 0
        while True:
            complete = self.memory.exists("aqe/queue/complete")
            work = list(self.memory.search("aqe/queue/open/*", limit=10))
            if complete and not work:
                return completed
            random.shuffle(work)
            completed += sum(self.process(item) for item in work)
            time.sleep(POLL_SECONDS)

    def process(self, item: Entry) -> bool:
        lease = self.claim(item)
        return lease is not None and self.complete(item, lease, {"square": item.value["number"] ** 2})

    def claim(self, item: Entry) -> Entry | None:
        """Take an item that is still open and that nobody holds."""
        lease = Put(_beside(item, "lease"), {"agent": self.name}, ttl=LEASE_SECONDS, if_absent=True)
        try:
            return self.memory.apply([Check(item.key, item.version), lease])[1].entry
        except VersionConflict:
            return None

    def complete(self, item: Entry, lease: Entry, result: dict[str, Any]) -> bool:
        """Store the result and close the item in one step, which only the holder of the lease can take, once."""
        try:
            self.memory.apply(
                [
                    Delete(lease.key, if_version=lease.version),
                    Delete(item.key),
                    Put(_beside(item, "done"), result, metadata={"agent": self.name}, if_absent=True),
                    Increment("aqe/queue/count"),
                ]
            )
        except VersionConflict:
            return False
        return True

    def hold_for_ever(self) -> None:
        """Complete one item, claim another one, say so, and get stuck."""
        completed = False
        while True:
            for item in self.memory.search("aqe/queue/open/*", limit=10):
                if not completed:
                    completed = self.process(item)
                elif self.claim(item) is not None:
                    say({"holds": item.key})
                    threading.Event().wait()


def _beside(item: Entry, folder: str) -> str:
    return item.key.replace("/open/", f"/{folder}/")


class Learner(Agent):
    """Learns by Q-learning (Watkins, 1989) to walk to the right end of a corridor; all it knows is in memory."""

    STATES = 5
    MOVES = {"left": -1, "right": 1}  # noqa: RUF012
    RATE, DISCOUNT, CURIOSITY = 0.8, 0.9, 0.2

    def learn(self, episodes: int) -> None:
        chance = random.Random(self.name)
        for _ in range(episodes):
            state = 0
            while state < self.STATES - 1:
                values = self.values(state)
                if chance.random() < self.CURIOSITY or values["left"] == values["right"]:
                    move = chance.choice(sorted(values))
                else:
                    move = max(values, key=values.__getitem__)
                state = self.step(state, move)
        self.memory.increment("aqe/q/episodes", episodes)

    def step(self, state: int, move: str) -> int:
        """Make a move, learn from it, and return where it leads."""
        following = max(0, state + self.MOVES[move])
        at_the_end = following == self.STATES - 1
        reward = 1.0 if at_the_end else self.DISCOUNT * max(self.values(following).values())

        def improve(values: dict[str, float]) -> dict[str, float]:
            return {**values, move: values[move] + self.RATE * (reward - values[move])}

        # A compare-and-set loop: several learners lose none of each other's lessons.
        self.memory.update(f"aqe/q/state/{state}", improve, default=dict.fromkeys(self.MOVES, 0.0))
        return following

    def walk(self) -> list[int]:
        """The way from the left end by what is known, given up after some steps."""
        path = [0]
        while path[-1] < self.STATES - 1 and len(path) < 2 * self.STATES:
            values = self.values(path[-1])
            path.append(max(0, path[-1] + self.MOVES[max(sorted(values), key=values.__getitem__)]))
        return path

    def values(self, state: int) -> dict[str, float]:
        known: dict[str, float] = self.memory.get(f"aqe/q/state/{state}", dict.fromkeys(self.MOVES, 0.0))
        return known


class CachedReader(Agent):
    """Looks into a cache before it works; of several that miss at once one works and the others wait for it.

    Attributes:
        computed: how often this agent worked.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.computed = 0

    def get(self, key: str, compute: Callable[[], Any], ttl: float) -> Any:
        while True:
            value = self.memory.get(f"aqe/cache/{key}", agentmem.MISSING)
            if value is not agentmem.MISSING:
                return value
            try:
                lease = self.memory.put(f"aqe/computing/{key}", self.name, ttl=5, if_absent=True)
            except VersionConflict:
                time.sleep(POLL_SECONDS)
                continue
            # Between the look and the lease another one may have come and gone.
            if not self.memory.exists(f"aqe/cache/{key}"):
                self.computed += 1
                self.memory.put(f"aqe/cache/{key}", compute(), ttl=ttl)
            self.memory.delete(lease.key, if_version=lease.version)


class Steadfast(Agent):
    """Goes on where its memory does not answer, and remembers how often.

    Attributes:
        errors: what it was told.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.errors: list[AgentMemError] = []

    def run(self, steps: Iterable[int]) -> None:
        for number in steps:
            while not self.take(number):
                time.sleep(POLL_SECONDS)

    def take(self, number: int) -> bool:
        """Write a step down; to write it twice does no harm, so an unknown outcome is as good as a failure."""
        try:
            self.memory.put(f"aqe/steps/{number}", number)
        except (Unavailable, OutcomeUnknown) as error:
            self.errors.append(error)
            return False
        return True


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


class Session(Agent):
    """One agent's part in a session. What is said there concerns nobody else; it ends when nobody speaks any more."""

    TTL_SECONDS = 30

    def __init__(self, memory: Memory, session: str, name: str) -> None:
        super().__init__(memory, name)
        self.room = memory.scoped(f"aqe/sessions/{session}/")

    def say(self, text: str) -> None:
        self.room.apply([Append("turns", {"by": self.name, "text": text}), Touch("turns", self.TTL_SECONDS)])

    def say_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.say(text)

    def heard(self) -> list[str]:
        return [turn["text"] for turn in self.room.get("turns", []) if turn["by"] != self.name]

    def end(self) -> int:
        return self.room.clear()


def say(answer: Any) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(role: str, url: str, name: str, *arguments: str) -> None:
    with agentmem.connect(url, namespace=NAMESPACE) as memory:
        answer: Any = None
        if role == "consumer":
            answer = Consumer(memory, name).run()
        elif role == "stuck-consumer":
            Consumer(memory, name).hold_for_ever()
        elif role == "learner":
            Learner(memory, name).learn(int(arguments[0]))
        elif role == "walker":
            answer = Learner(memory, name).walk()
        else:
            raise SystemExit(f"unknown role {role}")
    say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
