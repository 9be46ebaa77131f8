"""What the tests of the contract share: waiting for a condition, threads that start together, interrupts, equality."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

T = TypeVar("T")

#: Times to live that end within a test: long enough to be observed alive only where a test does not depend on it.
SHORT = 0.05
LONG = 3600


def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Poll until `condition()` is true.

    Args:
        condition: called every few milliseconds.
        timeout: seconds; far above what is expected, so that a busy machine does not make a test fail.

    Raises:
        AssertionError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not true after {timeout} s: {condition}")
        time.sleep(0.005)


def expire(memory: Memory, key: str, value: Any = "dead") -> int:
    """Put an entry, wait until it has expired, and return the version that it had."""
    version = memory.put(key, value, ttl=SHORT).version
    eventually(lambda: not memory.exists(key))
    return version


def run_threads(count: int, function: Callable[[int], T], timeout: float = 60.0) -> list[T]:
    """Run `function(0)` to `function(count - 1)` in threads that start at a barrier, and return their results in order.

    Raises:
        AssertionError: a thread did not end within `timeout` seconds.
        BaseException: the first error of a thread, in the order of their numbers.
    """
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}

    def work(index: int) -> None:
        try:
            barrier.wait(timeout)
            results[index] = function(index)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors[index] = error

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    _join(threads, timeout)
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(count)]


def _join(threads: list[threading.Thread], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        raise AssertionError(f"{len(stuck)} of {len(threads)} threads still run after {timeout} s: a deadlock?")


def interrupt(call: Callable[[], object], step: int) -> bool:
    """Make the call, and raise KeyboardInterrupt where the interpreter looks for the step-th time for a signal.

    It looks when a function begins and when a built-in one has returned.

    Returns:
        Whether the call came so far.
    """
    looked = 0

    def look(_frame: object, event: str, _argument: object) -> None:
        nonlocal looked
        if event in {"call", "c_return"}:
            looked += 1
            if looked == step:
                raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return looked >= step


def interrupt_everywhere(memory: Memory, call: Callable[[], object], *, every: int = 1) -> int:
    """Interrupt a call at every step of it, and each time use the memory in another thread.

    Args:
        memory: best with one connection, so that one that is not given back is missed.
        call: what to interrupt.
        every: look at each so many'th step alone, of a call that has very many.

    Returns:
        How many steps there were.

    Raises:
        AssertionError: after an interrupt the memory could not be used.
    """
    step = 0
    results: list[Any] = []

    def elsewhere() -> None:
        memory.put("after", step)
        results.append(memory.get("after"))

    reached = True
    while reached:
        step += every
        reached = interrupt(call, step)
        thread = threading.Thread(target=elsewhere, daemon=True)
        thread.start()
        thread.join(10)
        assert results[-1:] == [step], f"stuck after an interrupt at step {step}"
    return step


def exactly(value: Any) -> str:
    """A text that is equal only for values that are the same in type, order of keys and sign of zero."""
    return repr(value)


def snapshot(memory: Memory) -> dict[str, Any]:
    """Everything that can be seen of a partition: its entries by key, bodies, versions and times included."""
    return {entry.key: entry for entry in memory.items()}
