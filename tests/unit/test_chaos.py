"""What is asserted after a fault, and that it notices what it must."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.handle import repository_of
from agentmem.testing.chaos import LISTS, Crew, Resources, assert_survived, endure
from agentmem.testing.witnesses import COUNTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    with agentmem.connect("sqlite://") as memory:
        yield memory


def troubled(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Callable[[Crew], None]:
    """Of a hundred writes one is refused, one is applied and not answered, and one is neither."""
    repository = repository_of(memory)
    apply, calls = repository.apply, iter(range(10**9))

    def shaky(*arguments: Any) -> Any:
        number = next(calls) % 97
        if number == 10:
            raise Unavailable("a test")
        if number == 40:
            apply(*arguments)
        if number in (40, 70):
            raise OutcomeUnknown("a test")
        return apply(*arguments)

    def strike(crew: Crew) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(repository, "apply", shaky)
            crew.proceed(600)

    return strike


def test_a_crew_that_was_told_the_truth_is_believed(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = endure(memory, troubled(memory, monkeypatch), size=3)
    assert crew.errors == {Unavailable, OutcomeUnknown}
    assert crew.failures > 0
    assert crew.refused > 0
    assert_survived(memory, crew)


LIES: dict[str, Callable[[Memory, Crew], object]] = {
    "an entry is missing": lambda m, crew: m.delete(next(iter(crew.workers[0].confirmed))),
    "an entry is there that was refused": lambda m, crew: m.put("0/999999/put", 1),
    "half of a batch is missing": lambda m, crew: m.delete_matching("0/*/many-1"),
    "an increment is missing": lambda m, crew: m.increment(COUNTER, -1),
    "an increment counted twice": lambda m, crew: m.increment(COUNTER, 1),
    "an item is missing": lambda m, crew: m.update(f"{LISTS}0", lambda items: items[1:]),
    "an item is there twice": lambda m, crew: m.append(f"{LISTS}0", m.get(f"{LISTS}0")[0]),
    "an item is there that nobody appended": lambda m, crew: m.append(f"{LISTS}0", "0/999999"),
    "items are out of order": lambda m, crew: m.update(f"{LISTS}0", lambda items: items[::-1]),
}


@pytest.mark.parametrize("name", LIES)
def test_what_is_not_as_it_was_told_is_noticed(memory: Memory, name: str) -> None:
    crew = endure(memory, lambda crew: None, size=2)
    assert_survived(memory, crew)
    LIES[name](memory, crew)
    with pytest.raises(AssertionError):
        assert_survived(memory, crew)


def test_a_read_that_forgets_what_was_confirmed_is_noticed(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def strike(crew: Crew) -> None:
        monkeypatch.setattr(repository_of(memory), "fetch_one", lambda *_: None)
        crew.proceed(1_000)

    with pytest.raises(AssertionError, match="was confirmed and is None"):
        endure(memory, strike, size=2)


def test_a_crew_that_does_not_get_on_again_is_noticed(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise Unavailable("a test")

    def strike(crew: Crew) -> None:
        monkeypatch.setattr(repository_of(memory), "apply", refuse)
        crew.proceed(1_000, timeout=0.3)

    with pytest.raises(AssertionError, match="still not true"):
        endure(memory, strike, size=2)


def test_an_error_of_another_kind_is_raised(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise agentmem.BackendError("a test")

    def strike(crew: Crew) -> None:
        monkeypatch.setattr(repository_of(memory), "apply", fail)
        time.sleep(0.05)

    with pytest.raises(agentmem.BackendError):
        endure(memory, strike, size=2)


def test_what_the_process_holds_is_counted(memory: Memory) -> None:
    before = Resources.now()
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(10,))
    thread.start()
    with open(__file__):  # noqa: PTH123 - a descriptor
        assert Resources.now() == (before.threads + 1, before.descriptors + 1)
    go.set()
    thread.join()
    assert Resources.now() == before
