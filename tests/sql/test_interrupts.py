"""Ctrl-C in the middle of a call (R33): whatever it cut short, the next call finds the store as if nothing had been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.operations import Check, Enqueue, Increment, Put
from agentmem.testing.support import interrupt, interrupt_everywhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

CALLS: dict[str, Callable[[Memory], object]] = {
    "put": lambda memory: memory.put("key", 1),
    "apply": lambda memory: memory.apply([Put("key", 1), Put("other", 2)]),
    "get": lambda memory: memory.get("key"),
    "search": lambda memory: memory.search("k*"),
}
#: What psycopg makes by pipelines, in about a thousand steps each.
LONG_CALLS: dict[str, Callable[[Memory], object]] = {
    "batch": lambda memory: memory.apply([Check("missing", None), Put("key", 1), Increment("n")]),
    "enqueue": lambda memory: memory.apply([Enqueue("jobs", 1), Increment("n")]),
    "learn": lambda memory: memory.qtable("q").update_many([("s", "a", 1.0), ("s", "b", 1.0)]),
}


# Python ignores, and reports, what is raised while an object is finalised: some steps are there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_at_any_step_leaves_nothing_taken(url: str, name: str) -> None:
    with agentmem.connect(url, pool_size=1) as memory:
        for warm in CALLS.values():
            warm(memory)
        assert interrupt_everywhere(memory, lambda: CALLS[name](memory)) > 20
        assert memory.check() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", LONG_CALLS)
def test_an_interrupt_of_a_batch_leaves_nothing_taken_and_nothing_half_done(url: str, name: str) -> None:
    with agentmem.connect(url, pool_size=1) as memory:
        LONG_CALLS[name](memory)
        assert interrupt_everywhere(memory, lambda: LONG_CALLS[name](memory), every=5) > 100
        assert memory.check() == []
        assert memory.queue("jobs").counts().ready == (memory.get("n") if name == "enqueue" else 0)


def test_the_interrupts_of_this_test_come_where_they_should() -> None:
    seen: list[Any] = []

    def call() -> None:
        seen.append(len(seen))
        seen.append("second")

    assert interrupt(call, 1)
    assert seen == []
    assert interrupt(call, 2)
    assert seen == []
    assert interrupt(call, 3)
    assert seen == [0]
    assert not interrupt(call, 9)
    assert seen == [0, 1, "second"]
