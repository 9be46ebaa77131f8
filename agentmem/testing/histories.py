"""What clients of a memory did and were answered, and when: material for agentmem.testing.linearizability.

Times are `perf_counter_ns`, one clock for all processes of a machine. Where it is coarse, calls seem to overlap that
did not: then less is noticed, and nothing is reported that is not so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentmem.errors import OutcomeUnknown, Unavailable, VersionConflict
from agentmem.operations import Check, Delete, Increment, Put
from agentmem.testing.registers import Answer, Found, Get, Refused, Step

if TYPE_CHECKING:
    from agentmem.entries import Entry
    from agentmem.memory import Memory
    from agentmem.operations import Result
    from agentmem.transaction import Transaction

Write = Put | Increment | Delete


@dataclass(frozen=True, slots=True)
class Event:
    """One call, which takes its steps at one moment.

    Attributes:
        client: who made it.
        steps: in order.
        answers: one for each step; None for all of them where the outcome is unknown.
        invoked: when it began, in nanoseconds.
        returned: when it ended; None where the outcome is unknown, since it may take effect later.
    """

    client: int
    steps: tuple[Step, ...]
    answers: tuple[Answer, ...] | None
    invoked: int
    returned: int | None

    @property
    def keys(self) -> list[str]:
        """The keys of its steps."""
        return [step.key for step in self.steps]

    def described(self, start: int) -> str:
        """A line for people.

        Args:
            start: a time to count microseconds from.
        """
        end = "…" if self.returned is None else f"{(self.returned - start) / 1000:,.0f}"
        span = f"{(self.invoked - start) / 1000:,.0f} to {end} µs"
        answers = self.answers or ("unknown",) * len(self.steps)
        steps = ", ".join(f"{step} -> {answer}" for step, answer in zip(self.steps, answers, strict=True))
        return f"{span:<24} client {self.client}: {steps}"


class Client:
    """Makes calls on a memory and writes them down. For one thread.

    A call that raises Unavailable was not made, as far as the store is concerned, and leaves no event. Other errors but
    VersionConflict and OutcomeUnknown pass through.

    Args:
        number: tells it from others.
        memory: where.
        events: where to write down, shared with others.

    Attributes:
        versions: of the keys that it read, as it read them last.
    """

    def __init__(self, number: int, memory: Memory, events: list[Event]) -> None:
        self.number = number
        self.versions: dict[str, int] = {}
        self._memory = memory
        self._events = events

    def read(self, key: str) -> None:
        """`memory.entry`."""
        invoked = time.perf_counter_ns()
        try:
            entry = self._memory.entry(key)
        except Unavailable:
            return
        self._note(invoked, (Get(key),), (_found(entry),))
        if entry is not None:
            self.versions[key] = entry.version

    def read_many(self, keys: Sequence[str]) -> None:
        """`memory.get_many`: one view of all of them."""
        invoked = time.perf_counter_ns()
        try:
            values = self._memory.get_many(keys)
        except Unavailable:
            return
        answers = [Found(values[key]) if key in values else None for key in keys]
        self._note(invoked, tuple(map(Get, keys)), tuple(answers))

    def apply(self, *writes: Write) -> None:
        """`memory.apply`: one atomic batch, on keys of which none comes twice."""
        self._attempt(list(writes), lambda: _answers(self._memory.apply(writes)))

    def transact(self, keys: Sequence[str], decide: Callable[[Mapping[str, Found | None]], Sequence[Write]]) -> None:
        """`memory.transaction`: read some keys, and write what `decide` makes of what was found.

        Every read is an event of its own; the commit is one that checks all of them and writes.
        """
        steps: list[Step] = []

        def commit() -> list[Answer]:
            with self._memory.transaction() as transaction:
                found = {key: self._look(transaction, key) for key in keys}
                steps.extend(Check(key, None if each is None else each.version) for key, each in found.items())
                for write in decide(found):
                    _put_into(transaction, write)
                    steps.append(write)
            return [*[True] * len(found), *_answers(transaction.results)]

        self._attempt(steps, commit)

    def _look(self, transaction: Transaction, key: str) -> Found | None:
        invoked = time.perf_counter_ns()
        found = _found(transaction.entry(key))
        self._note(invoked, (Get(key),), (found,))
        return found

    def _attempt(self, steps: list[Step], call: Callable[[], list[Answer]]) -> None:
        invoked = time.perf_counter_ns()
        try:
            answers = call()
        except VersionConflict as conflict:
            check = Check(conflict.key, conflict.expected)
            self._note(invoked, (check,), (Refused(_found(conflict.current)),))
        except OutcomeUnknown:
            self._events.append(Event(self.number, tuple(steps), None, invoked, None))
        except Unavailable:
            return
        else:
            self._note(invoked, tuple(steps), tuple(answers))

    def _note(self, invoked: int, steps: tuple[Step, ...], answers: tuple[Answer, ...]) -> None:
        self._events.append(Event(self.number, steps, answers, invoked, time.perf_counter_ns()))


def _found(entry: Entry | None) -> Found | None:
    return None if entry is None else Found(entry.value, entry.version)


def _answers(results: list[Result]) -> list[Answer]:
    return [result.value if result.entry is None else _found(result.entry) for result in results]


def _put_into(transaction: Transaction, write: Write) -> None:
    match write:
        case Put():
            transaction.put(write.key, write.value, if_version=write.if_version, if_absent=write.if_absent)
        case Increment():
            transaction.increment(write.key, write.by, initial=write.initial)
        case Delete():
            transaction.delete(write.key, if_version=write.if_version)
