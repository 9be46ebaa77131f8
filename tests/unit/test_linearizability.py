"""The checker of histories itself: what it must accept, what it must not, and when it says that it does not know."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.operations import Check, Delete, Increment, Put
from agentmem.testing.histories import Event
from agentmem.testing.linearizability import assert_linearizable, check, independent
from agentmem.testing.registers import (
    ABSENT,
    Answer,
    Found,
    Get,
    Refused,
    Register,
    Step,
    answered,
    unanswered,
)


def call(invoked: int, returned: int | None, *taken: tuple[Step, Answer]) -> Event:
    """One call; None for its end: its outcome is unknown."""
    steps, answers = zip(*taken, strict=True)
    return Event(0, steps, None if returned is None else answers, invoked, returned)


def put(value: int, version: int, **expectation: object) -> tuple[Step, Answer]:
    return Put("k", value, **expectation), Found(value, version)  # type: ignore[arg-type]


def got(value: int, version: int | None = None) -> tuple[Step, Answer]:
    return Get("k"), Found(value, version)


NOTHING: tuple[Step, Answer] = (Get("k"), None)
DELETED: tuple[Step, Answer] = (Delete("k"), True)


def added(total: int, version: int) -> tuple[Step, Answer]:
    return Increment("k"), Found(total, version)


def refused(step: Step, value: int, version: int) -> tuple[Step, Answer]:
    return step, Refused(Found(value, version))


GOOD: dict[str, list[Event]] = {
    "nothing": [],
    "one after the other": [call(0, 1, put(1, 5)), call(2, 3, got(1, 5)), call(4, 5, DELETED), call(6, 7, NOTHING)],
    "a read beside a write sees the old": [call(0, 1, put(1, 5)), call(2, 9, put(2, 6)), call(3, 4, got(1, 5))],
    "or the new": [call(0, 1, put(1, 5)), call(2, 9, put(2, 6)), call(3, 4, got(2, 6))],
    "overlapping writes in any order": [call(0, 9, put(1, 6)), call(0, 9, put(2, 5)), call(10, 11, got(1, 6))],
    "of two that put if absent one is refused": [
        call(0, 9, put(1, 5, if_absent=True)),
        call(0, 9, refused(Put("k", 2, if_absent=True), 1, 5)),
    ],
    "counting": [call(0, 9, added(1, 5)), call(0, 9, added(2, 6)), call(0, 9, added(3, 7)), call(10, 11, got(3, 7))],
    "an unknown write that was lost": [call(0, 1, put(1, 5)), call(2, None, put(2, 0)), call(3, 4, got(1, 5))],
    "one that took effect at once": [call(0, 1, put(1, 5)), call(2, None, put(2, 0)), call(3, 4, got(2, 8))],
    "one that took effect much later": [
        call(0, None, put(2, 0)),
        call(1, 2, put(1, 5)),
        call(3, 4, got(1, 5)),
        call(5, 6, got(2, 8)),
    ],
    "an unknown increment counted": [call(0, 1, added(1, 5)), call(2, None, added(0, 0)), call(3, 4, added(3, 9))],
    "an unknown increment did not": [call(0, 1, added(1, 5)), call(2, None, added(0, 0)), call(3, 4, added(2, 9))],
    "an unknown delete": [call(0, 1, put(1, 5)), call(2, None, DELETED), call(3, 4, got(1, 5)), call(5, 6, NOTHING)],
    "an expectation of what an unknown write gave": [
        call(0, None, put(1, 0)),
        call(1, 2, put(2, 9, if_version=7)),
        call(3, 4, got(2, 9)),
    ],
    "answers that do not tell the version": [call(0, 1, put(1, 5)), call(2, 3, got(1)), call(4, 5, got(1, 5))],
    "a transaction": [
        call(0, 1, put(1, 5)),
        call(2, 3, (Check("k", 5), True), put(2, 6), (Put("other", 2), Found(2, 3))),
        call(4, 5, got(2, 6), (Get("other"), Found(2, 3))),
    ],
}

BAD: dict[str, list[Event]] = {
    "a stale read": [call(0, 1, put(1, 5)), call(2, 3, put(2, 6)), call(4, 5, got(1, 5))],
    "a read that forgets a write": [call(0, 1, put(1, 5)), call(2, 3, NOTHING)],
    "new, then old again": [
        call(0, 1, put(1, 5)),
        call(2, 9, put(2, 6)),
        call(3, 4, got(2, 6)),
        call(5, 6, got(1, 5)),
    ],
    "a lost update": [call(0, 9, added(1, 5)), call(0, 9, added(1, 6))],
    "a double increment": [call(0, 1, added(1, 5)), call(2, 3, added(3, 7))],
    "a version used twice": [call(0, 9, put(1, 5)), call(0, 9, put(2, 5))],
    "a version used again after a delete": [call(0, 1, put(1, 5)), call(2, 3, DELETED), call(4, 5, put(2, 5))],
    "a version that falls": [call(0, 1, put(1, 5)), call(2, 3, put(2, 4))],
    "a value with another's version": [call(0, 9, put(1, 5)), call(0, 9, put(2, 6)), call(0, 9, got(1, 6))],
    "a value that nobody wrote": [call(0, 1, put(1, 5)), call(2, 3, got(3, 5))],
    "a version that nobody wrote": [call(0, 1, put(1, 5)), call(2, 3, got(1, 6))],
    "two that put if absent": [call(0, 9, put(1, 5, if_absent=True)), call(0, 9, put(2, 6, if_absent=True))],
    "two that replace one version": [
        call(0, 1, put(1, 5)),
        call(2, 9, put(2, 6, if_version=5)),
        call(2, 9, put(3, 7, if_version=5)),
    ],
    "refused without a reason": [call(0, 1, put(1, 5)), call(2, 3, refused(Put("k", 2, if_version=5), 1, 5))],
    "refused over what is not there": [call(0, 1, refused(Put("k", 2, if_absent=True), 1, 5))],
    "a delete of nothing that found something": [call(0, 1, DELETED)],
    "two deletes of one entry": [call(0, 1, put(1, 5)), call(2, 9, DELETED), call(2, 9, DELETED)],
    "an unknown write that took effect twice": [
        call(0, None, put(2, 0)),
        call(1, 2, got(2, 4)),
        call(3, 4, put(1, 5)),
        call(5, 6, got(2, 8)),
    ],
    "an unknown write before it began": [call(0, 1, got(2, 4)), call(2, None, put(2, 0))],
    "an unknown increment that counted twice": [call(0, None, added(0, 0)), call(1, 2, got(2, 9))],
    "an unknown delete that a version survived": [
        call(0, 1, put(1, 5)),
        call(2, None, DELETED),
        call(3, 4, NOTHING),
        call(5, 6, got(1, 5)),
    ],
    "a commit whose check did not hold": [
        call(0, 1, put(1, 5)),
        call(2, 3, put(2, 6)),
        call(4, 5, (Check("k", 5), True), (Put("other", 2), Found(2, 3))),
    ],
    "half of a batch": [
        call(0, 9, put(1, 5), (Put("other", 1), Found(1, 5))),
        call(1, 2, got(1), (Get("other"), None)),
    ],
    "two batches seen in two orders": [
        call(0, 99, put(1, 5)),
        call(0, 99, (Put("other", 1), Found(1, 5))),
        call(1, 2, got(1), (Get("other"), None)),
        call(1, 2, NOTHING, (Get("other"), Found(1))),
    ],
    "write skew": [
        call(0, 1, put(1, 5), (Put("other", 1), Found(1, 5))),
        call(2, 9, (Check("k", 5), True), (Check("other", 5), True), put(0, 6)),
        call(2, 9, (Check("k", 5), True), (Check("other", 5), True), (Put("other", 0), Found(0, 6))),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_accepted(name: str) -> None:
    events = GOOD[name]
    assert check(events).kind == "linearizable"
    assert check(list(reversed(events))).kind == "linearizable"
    assert_linearizable(events)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_rejected(name: str) -> None:
    assert check(BAD[name]).kind == "violated"
    with pytest.raises(AssertionError, match=r"^violated: \d+ calls, the longest order has \d+\n"):
        assert_linearizable(BAD[name])


def test_the_text_of_a_verdict_shows_what_could_not_be_placed() -> None:
    lines = str(check(BAD["a stale read"])).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "-"]
    assert "client 0: Get(key='k') -> Found(value=1, version=5)" in lines[3]


def test_a_search_that_takes_too_long_says_that_it_does_not_know() -> None:
    """Writes of unknown outcome and version may come in any order and number."""
    events = [call(0, None, put(n, 0)) for n in range(30)] + [call(1, 2, got(-1))]
    verdict = check(events, most_states=1_000)
    assert verdict.kind == "undecided"
    assert verdict.states <= 1_000 + len(events)
    with pytest.raises(AssertionError, match=r"^undecided"):
        assert_linearizable(events, most_states=1_000)


def test_a_violation_elsewhere_is_found_although_a_part_is_undecided() -> None:
    events = [call(0, None, (Put("far", n), None)) for n in range(30)] + [call(1, 2, (Get("far"), Found(-1)))]
    assert check([*events, *BAD["a lost update"]], most_states=1_000).kind == "violated"


def test_keys_that_never_meet_are_looked_at_apart() -> None:
    far = call(0, 1, (Put("a", 1), Found(1, 1)))
    near = call(0, 1, (Put("b", 1), Found(1, 1)))
    both = call(2, 3, (Get("a"), Found(1)), (Get("b"), Found(1)))
    assert independent([far, near]) == [[far], [near]]
    assert independent([far, near, both]) == [[far, near, both]]


# Histories made by a register, so that they are known to be good


@st.composite
def made(draw: st.DrawFn, most: int = 12, *, spread: int = 25, losing: bool = True) -> list[Event]:
    """Calls that a register answers one after the other, each somewhere in a span of its own around that moment."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    registers = {"k": Register(), "l": Register()}
    events = []
    for moment in range(0, draw(st.integers(1, most)) * 10, 10):
        steps = [_step(dice, key, registers[key], moment) for key in dice.sample(["k", "l"], dice.choice([1, 1, 1, 2]))]
        taken = [(step, _answer(registers[step.key], step, moment + 1)) for step in steps]
        lost = losing and dice.random() < 0.2
        applied = not lost or dice.random() < 0.5
        if any(isinstance(answer, Refused) for _, answer in taken):
            taken, lost = [next(pair for pair in taken if isinstance(pair[1], Refused))], False
        elif applied:
            for step, answer in taken:
                after = answered(registers[step.key], step, answer)
                assert after is not None
                registers[step.key] = after
        end = None if lost else moment + dice.randrange(spread)
        events.append(call(moment - dice.randrange(spread), end, *taken))
    return events


def _step(dice: random.Random, key: str, register: Register, moment: int) -> Step:
    version = register.version if register.version and dice.random() < 0.7 else moment + 5
    kinds: list[Step] = [
        Get(key),
        Get(key),
        Put(key, moment),
        Put(key, moment, if_absent=True),
        Put(key, moment, if_version=version),
        Increment(key, 3, initial=moment),
        Delete(key),
        Delete(key, if_version=version),
        Check(key, version),
    ]
    return dice.choice(kinds)


def _answer(register: Register, step: Step, version: int) -> Answer:
    here = None if register.value is ABSENT else Found(register.value, register.version)
    after = unanswered(register, step)
    if after is None:
        return Refused(here)
    if isinstance(step, Put | Increment):
        return Found(after.value, version)
    if isinstance(step, Delete):
        return here is not None
    return here if isinstance(step, Get) else True


def orders(events: list[Event]) -> bool:
    """Whether there is an order, by trying all of them with every choice of what was lost."""
    unsure = [event for event in events if event.answers is None]
    sure = [event for event in events if event.answers is not None]
    return any(
        _fits(order)
        for size in range(len(unsure) + 1)
        for chosen in itertools.combinations(unsure, size)
        for order in itertools.permutations([*sure, *chosen])
    )


def _fits(order: tuple[Event, ...]) -> bool:
    for early, late in itertools.combinations(order, 2):
        if late.returned is not None and late.returned < early.invoked:
            return False
    registers = {"k": Register(), "l": Register()}
    for event in order:
        for number, step in enumerate(event.steps):
            before = registers[step.key]
            after = unanswered(before, step) if event.answers is None else answered(before, step, event.answers[number])
            if after is None:
                return False
            registers[step.key] = after
    return True


@given(made())
def test_what_a_register_answered_is_accepted_however_calls_overlap(events: list[Event]) -> None:
    verdict = check(events)
    assert verdict.kind == "linearizable", str(verdict)


@given(made(most=5, spread=40), st.randoms(use_true_random=False))
def test_the_search_agrees_with_trying_all_orders(events: list[Event], dice: random.Random) -> None:
    """Also on histories that were spoilt, of which some are still good."""
    assert (check(events).kind == "linearizable") is orders(events) is True
    spoilt = [_spoilt(event, dice) if dice.random() < 0.3 else event for event in events]
    assert (check(spoilt).kind == "linearizable") is orders(spoilt)


def _spoilt(event: Event, dice: random.Random) -> Event:
    """With another answer, or moved to another time."""
    if event.answers is None or dice.random() < 0.3:
        later = dice.randrange(-30, 30)
        returned = None if event.returned is None else event.returned + later
        return replace(event, invoked=event.invoked + later, returned=returned)
    return replace(event, answers=tuple(_other(answer, dice) for answer in event.answers))


def _other(answer: Answer, dice: random.Random) -> Answer:
    if isinstance(answer, Refused):
        return Refused(None)
    if isinstance(answer, Found):
        return dice.choice([Found(answer.value, dice.randrange(60)), Found(dice.randrange(60), answer.version)])
    return answer if answer is None else not answer


@given(made(), st.integers(1, 130))
def test_a_version_that_is_given_twice_is_always_rejected(events: list[Event], version: int) -> None:
    twice = [call(-50, 500, (Put("k", value), Found(value, version))) for value in (-1, -2)]
    assert check([*events, *twice]).kind == "violated"


@given(made(), st.integers(0, 120))
def test_a_value_that_nobody_wrote_is_always_rejected(events: list[Event], moment: int) -> None:
    assert check([*events, call(moment - 9, moment + 9, got(-1))]).kind == "violated"


@given(made(spread=1, losing=False), st.randoms(use_true_random=False))
def test_without_overlaps_every_other_answer_of_a_read_is_rejected(events: list[Event], dice: random.Random) -> None:
    """A stale read, a lost one, one of another key's value."""
    told = [answer.value for event in events for answer in event.answers or () if isinstance(answer, Found)]
    for number, event in enumerate(events):
        if [type(step) for step in event.steps] == [Get] and event.answers is not None:
            (was,) = event.answers
            wrong = dice.choice([None, *map(Found, told)])
            is_same = wrong.value == was.value if wrong and isinstance(was, Found) else wrong == was
            spoilt = [*events[:number], replace(event, answers=(wrong,)), *events[number + 1 :]]
            assert (check(spoilt).kind == "linearizable") is is_same
