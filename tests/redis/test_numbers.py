"""R14 in Lua, which knows doubles alone: what a script reckons is what Python would have reckoned."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem import CounterOverflow, Increment, InvalidOperation
from agentmem.redis.layout import HEADER, Layout
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from agentmem.memory import Memory
    from agentmem.testing.redis_server import RedisServer

EXACT = 2**53
LOWEST, HIGHEST = -(2**63), 2**63 - 1

integers = st.one_of(
    st.integers(-1_000, 1_000),
    st.integers(LOWEST, HIGHEST),
    st.integers(EXACT - 3, EXACT + 3),
    st.integers(-EXACT - 3, -EXACT + 3),
    st.sampled_from((LOWEST, LOWEST + 1, HIGHEST - 1, HIGHEST, 10**15, 10**16, 10**17)),
)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(integers, floats)

on_one_store = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@pytest.fixture(scope="module")
def shared(redis_server: RedisServer) -> Iterator[Memory]:
    """One store for all examples."""
    url = redis_server.new_store()
    with agentmem.connect(url) as memory:
        yield memory
    redis_server.drop_store(url)


def expected(before: int | float, by: int | float) -> int | float | None:
    """The sum, or None where it leaves the range."""
    try:
        total = before + by
    except OverflowError:
        return None
    if isinstance(total, int):
        return total if LOWEST <= total <= HIGHEST else None
    return total if math.isfinite(total) else None


def exact(number: Any) -> tuple[type, str]:
    """Type and every bit, the sign of zero included."""
    return type(number), number.hex() if isinstance(number, float) else str(number)


@on_one_store
@given(before=numbers, by=numbers)
@example(EXACT - 1, 1)
@example(EXACT, 1)
@example(EXACT, -1)
@example(-EXACT, -1)
@example(HIGHEST - 1, 1)
@example(HIGHEST, 1)
@example(LOWEST, -1)
@example(HIGHEST, 0.5)
@example(EXACT + 1, 1.0)
@example(0.1, 0.2)
@example(-0.0, -0.0)
@example(0, -0.0)
@example(1e308, 1e308)
@example(5e-324, 5e-324)
@example(1e22, 1)
@example(123456789.0, 1e-9)
@example(2.5, -2.5)
def test_r14_a_sum_is_pythons(shared: Memory, before: int | float, by: int | float) -> None:
    """Made by the script alone, by the planner in a batch, or refused: the same to the last bit."""
    total = expected(before, by)
    for increment in (
        lambda: shared.increment("counter", by),
        lambda: shared.apply([Increment("counter", by), Increment("other")])[0].value,
    ):
        shared.put("counter", before)
        if total is None:
            with pytest.raises(CounterOverflow):
                increment()
            assert exact(shared.get("counter")) == exact(before)
        else:
            assert exact(increment()) == exact(total)
            assert exact(shared.get("counter")) == exact(total)


@on_one_store
@given(before=floats, by=floats)
@example(0.1, 0.2)
@example(1e15, 0.3)
@example(1e16, 1.0)
@example(1e21, 1e21)
@example(1e-7, 0.0)
@example(0.0, 2.0**-24)
def test_r14_a_float_is_written_by_few_digits(
    shared: Memory, redis_server: RedisServer, before: float, by: float
) -> None:
    """As many as Python's repr, or one more: at a power of two the nearest of 16 digits may not be one that will do.

    A body is read by people, too, and counts in bytes.
    """
    total = before + by
    if not math.isfinite(total) or 0 < abs(total) < 1e-300:  # so close to zero there are fewer digits than a sum needs
        return
    shared.put("float", before)
    shared.increment("float", by)
    text = body(shared, redis_server, "float")
    assert float(text) == total
    assert len(digits(text)) <= len(digits(repr(total))) + 1
    assert "." in text or "e" in text


def body(memory: Memory, server: RedisServer, key: str) -> str:
    layout: Layout = memory._gateway.repository.layout  # type: ignore[attr-defined]
    with server.client() as client:
        stored: Any = client.get(layout.place("default").entry + key.encode())
    return str(stored[HEADER.size :].decode())


def digits(text: str) -> str:
    mantissa = text.partition("e")[0].lstrip("-").replace(".", "")
    return mantissa.strip("0")


@on_one_store
@given(initial=numbers, by=numbers)
@example(HIGHEST, 1)
@example(0, HIGHEST)
@example(0.0, 1)
def test_r14_a_counter_begins_at_its_initial_value(shared: Memory, initial: int | float, by: int | float) -> None:
    shared.delete("fresh")
    total = expected(initial, by)
    if total is None:
        with pytest.raises(CounterOverflow):
            shared.increment("fresh", by, initial=initial)
        assert not shared.exists("fresh")
    else:
        assert exact(shared.increment("fresh", by, initial=initial)) == exact(total)


@pytest.mark.parametrize("start", [EXACT - 40, HIGHEST - 80, -EXACT - 40])
def test_r14_threads_count_exactly_where_doubles_do_not(memory: Memory, start: int) -> None:
    memory.put("counter", start)
    run_threads(8, lambda _: [memory.increment("counter") for _ in range(10)])
    assert memory.get("counter") == start + 80
    assert memory.check() == []


@pytest.mark.parametrize(
    "text",
    [
        '"1"',
        "true",
        "null",
        "[1]",
        "{}",
        '""',
        "1 ",
        " 1",
        "0x10",
        "1e",
        "+1",
        ".5",
        "1.",
        "--1",
        "NaN",
        "Infinity",
        "01",
        "-01.5",
        "1.e5",
        "-",
    ],
)
def test_r14_what_lua_takes_for_a_number_and_json_does_not(
    memory: Memory, raw: redis.Redis, layout: Layout, text: str
) -> None:
    """`tonumber` reads hexadecimals and spaces; what stands there after foreign hands stays as it is."""
    memory.put("odd", 0)
    name = layout.place("default").entry + b"odd"
    stored: Any = raw.get(name)
    raw.set(name, stored[: HEADER.size] + text.encode())
    try:
        number = json.loads(text)
    except ValueError:
        number = None
    if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
        assert memory.increment("odd") == number + 1
        return
    with pytest.raises((InvalidOperation, agentmem.CorruptEntry)):
        memory.increment("odd")
    assert raw.get(name) == stored[: HEADER.size] + text.encode()
