"""What the tests of the contract share: waiting for a condition, threads that start together, exact comparison."""

from __future__ import annotations

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


def exactly(value: Any) -> str:
    """A text that is equal only for values that are the same in type, order of keys and sign of zero."""
    return repr(value)


def snapshot(memory: Memory) -> dict[str, Any]:
    """Everything that can be seen of a partition: its entries by key, bodies, versions and times included."""
    return {entry.key: entry for entry in memory.items()}
