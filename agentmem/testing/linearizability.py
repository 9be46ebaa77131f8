"""Whether what threads were answered can be explained by one order of all their calls.

Linearizability (Herlihy and Wing, 1990): every call seems to take effect at one moment between its start and its end.
The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was
tried ("Testing for linearizability", 2017): calls that no other must precede are tried one after the other, and a set
of calls that led to a state once is not looked at twice. Keys that never meet in one call are looked at apart, which
loses nothing: the property is local. A call on several keys is one step on all of them, so that a history of batches
and transactions that passes is strictly serialisable as well (R15, R16).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agentmem.testing.histories import Event
from agentmem.testing.registers import Register, answered, unanswered

MOST_STATES: Final = 200_000
"""A second or two of search."""

Registers = tuple[Register, ...]
Node = tuple[int, Registers]
"""The calls that have taken effect, as bits, and what the registers hold then."""


@dataclass(frozen=True)
class Verdict:
    """What the search found.

    Attributes:
        kind: `undecided`: the search was given up; it is not known whether there is an order.
        events: those that the verdict is about, in the order of their beginnings: all of them, or the part of them
            for which there is no order, or none was found in time.
        order: the longest order that was found, as positions in `events`.
        states: how many were looked at.
    """

    kind: Literal["linearizable", "violated", "undecided"]
    events: Sequence[Event]
    order: Sequence[int]
    states: int

    def __str__(self) -> str:
        place = {position: turn for turn, position in enumerate(self.order, start=1)}
        start = min((event.invoked for event in self.events), default=0)
        lines = [f"{self.kind}: {len(self.events)} calls, the longest order has {len(self.order)}"]
        lines += [f"{place.get(n, '-'):>4}  {event.described(start)}" for n, event in enumerate(self.events)]
        return "\n".join(lines)


def check(events: Iterable[Event], *, most_states: int = MOST_STATES) -> Verdict:
    """Look for an order.

    A call whose outcome is unknown may have taken effect at any time after its start, or never.

    Args:
        events: of any number of clients, in any order, on keys that were absent before.
        most_states: how many states to look at in each independent part before giving up.
    """
    whole = sorted(events, key=lambda event: event.invoked)
    found = [_Search(part, most_states).run() for part in independent(whole)]
    for kind in ("violated", "undecided"):
        for verdict in found:
            if verdict.kind == kind:
                return verdict
    return Verdict("linearizable", whole, range(len(whole)), sum(verdict.states for verdict in found))


def assert_linearizable(events: Iterable[Event], *, most_states: int = MOST_STATES) -> None:
    """Fail unless `check` finds an order.

    Raises:
        AssertionError: there is none, or none was found in time; the text shows the calls in question.
    """
    verdict = check(events, most_states=most_states)
    assert verdict.kind == "linearizable", str(verdict)


def independent(events: Iterable[Event]) -> list[list[Event]]:
    """Split into parts that have no key in common, each in the given order."""
    parts: list[tuple[set[str], list[Event]]] = []
    for event in events:
        keys = set(event.keys)
        touched = [part for part in parts if part[0] & keys]
        parts = [part for part in parts if not part[0] & keys]
        together = [each for _, members in touched for each in members]
        parts.append((keys.union(*(names for names, _ in touched)), [*together, event]))
    return [sorted(members, key=lambda event: event.invoked) for _, members in parts]


class _Search:
    """The search for an order of calls on some keys."""

    def __init__(self, events: Sequence[Event], most_states: int) -> None:
        self._events = events
        self._most_states = most_states
        self._keys = {key: number for number, key in enumerate(sorted({k for e in events for k in e.keys}))}
        self._certain = sum(1 << number for number, event in enumerate(events) if event.answers is not None)
        self._came_from: dict[Node, tuple[Node, int] | None] = {}

    def run(self) -> Verdict:
        start: Node = (0, (Register(),) * len(self._keys))
        self._came_from[start] = None
        stack, best = [start], start
        while stack:
            node = stack.pop()
            if node[0].bit_count() > best[0].bit_count():
                best = node
            if node[0] & self._certain == self._certain:
                return self._verdict("linearizable", node)
            if len(self._came_from) > self._most_states:
                return self._verdict("undecided", best)
            # The last is looked at first.
            stack += reversed([self._remembered(node, number, after) for number, after in self._unseen(node)])
        return self._verdict("violated", best)

    def _remembered(self, node: Node, number: int, after: Node) -> Node:
        self._came_from[after] = (node, number)
        return after

    def _unseen(self, node: Node) -> list[tuple[int, Node]]:
        """The steps from here that lead where nobody was."""
        done, state = node
        found: list[tuple[int, Node]] = []
        for number in self._next(done):
            registers = self._after(state, self._events[number])
            if registers is None:
                continue
            after = (done | 1 << number, registers)
            is_certain = self._events[number].answers is not None
            if registers == state and is_certain:
                # What changes nothing can as well come at once: whatever order there is, there is one that begins so.
                return [] if after in self._came_from else [(number, after)]
            if registers != state and after not in self._came_from:
                found.append((number, after))
        return found

    def _next(self, done: int) -> Iterator[int]:
        """The calls that may come next: none that is left ended before they began. Those of unknown outcome last."""
        open_calls = []
        first_end = None
        for number in range((~done & (done + 1)).bit_length() - 1, len(self._events)):
            event = self._events[number]
            if done >> number & 1:
                continue
            if first_end is not None and event.invoked > first_end:
                break
            open_calls.append(number)
            if event.returned is not None:
                first_end = event.returned if first_end is None else min(first_end, event.returned)
        yield from sorted(open_calls, key=lambda number: self._events[number].answers is None)

    def _after(self, state: Registers, event: Event) -> Registers | None:
        registers = list(state)
        for number, step in enumerate(event.steps):
            place = self._keys[step.key]
            before = registers[place]
            answers = event.answers
            after = unanswered(before, step) if answers is None else answered(before, step, answers[number])
            if after is None:
                return None
            registers[place] = after
        return tuple(registers)

    def _verdict(self, kind: Literal["linearizable", "violated", "undecided"], node: Node) -> Verdict:
        order: list[int] = []
        came = self._came_from[node]
        while came is not None:
            order.append(came[1])
            came = self._came_from[came[0]]
        return Verdict(kind, self._events, order[::-1], len(self._came_from))
