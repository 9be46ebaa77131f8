"""How much Python runs for a get and a put: counted, not timed, so that a regression shows on any machine.

The interpreter's own instructions are counted (sys.settrace, "opcode" events) in all of our modules and what they call
that is written in Python. The figures differ between versions of Python and of drivers by some per cent.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from benchmarks.workload import key, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from agentmem.memory import Memory

BAND = 0.15
PYTHON = (3, 11)

VALUE = value(7)
VALUES = {key(index): value(index) for index in range(100)}

#: Instructions of one call, as measured when the limit was set, by backend and call. Lower them when calls get cheaper.
LIMITS: dict[str, dict[str, int]] = {
    "sqlite": {"get": 375, "put": 1_011, "put_many 100": 35_617, "search 50": 5_408},
    "postgresql": {"get": 1_155, "put": 1_555, "put_many 100": 44_039, "search 50": 7_722},
    "redis": {"get": 862, "put": 1_300, "put_many 100": 36_847, "search 50": 15_466},
}
CALLS: dict[str, Callable[[Memory], object]] = {
    "get": lambda memory: memory.get(key(7)),
    "put": lambda memory: memory.put(key(7), VALUE),
    "put_many 100": lambda memory: memory.put_many(VALUES),
    "search 50": lambda memory: [entry.value for entry in memory.search("run/*", limit=50)],
}


@pytest.fixture(params=LIMITS)
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[tuple[str, Memory]]:
    """A backend's name, and a store of it that is warm: statements are compiled, scripts loaded, connections open."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/work.db"
    else:
        url = request.getfixturevalue("postgres_schema_url" if request.param == "postgresql" else "redis_url")
    with agentmem.connect(url) as memory:
        for _ in range(10):
            for call in CALLS.values():
                call(memory)
        yield request.param, memory


def instructions(call: Callable[[], object]) -> int:
    """How many instructions of Python a call executes in this thread."""
    counted = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason=f"the figures are those of Python {PYTHON}")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_costs_what_it_did(store: tuple[str, Memory], name: str) -> None:
    backend, memory = store
    counted = min(instructions(lambda: CALLS[name](memory)) for _ in range(5))
    limit = LIMITS[backend][name]
    assert limit * (1 - BAND) <= counted <= limit * (1 + BAND), f"{backend} {name}: {counted} instructions, not {limit}"


def test_the_count_sees_more_work() -> None:
    assert instructions(lambda: sum(range(10))) < 20 < instructions(lambda: [number for number in range(100)])  # noqa: C416
