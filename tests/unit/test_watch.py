"""Watches: what a look costs, how they wait and end, positions, and a model that follows them from anywhere."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem import Closed, InvalidArgument, InvalidCursor, InvalidKey, Memory, Unavailable
from agentmem.coordination import positions
from agentmem.coordination.pauses import SHARE, Pauses
from agentmem.moments import microseconds
from agentmem.testing.contract.watching import follow, told
from tests.unit.dict_repository import DictRepository


class Timeless(DictRepository):
    """Its clock goes on by a step for each call, and as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def _begin(self, method: str) -> int:
        super()._begin(method)
        self.now += timedelta(microseconds=1)
        return microseconds(self.now)


@pytest.fixture
def repository() -> Timeless:
    return Timeless()


@pytest.fixture
def memory(repository: Timeless) -> Memory:
    return Memory(repository)


def test_a_watch_costs_nothing_before_it_is_asked(memory: Memory, repository: Timeless) -> None:
    memory.watch("w/", position=memory.watch("w/").position())
    assert not repository.calls


def test_a_look_costs_one_scan_without_bodies_and_one_fetch_of_what_changed(
    memory: Memory, repository: Timeless
) -> None:
    memory.put_many({f"w/{number}": number for number in range(30)})
    watch = memory.watch("w/")
    list(watch.look())
    repository.calls.clear()
    assert list(watch.look()) == []
    assert repository.calls == {"scan": 1}
    memory.put_many({"w/1": "new", "w/2": "new"})
    memory.delete("w/3")
    repository.calls.clear()
    assert len(list(watch.look())) == 3
    assert repository.calls == {"scan": 1, "fetch": 1}


def test_many_bodies_are_fetched_as_they_are_needed(memory: Memory, repository: Timeless) -> None:
    memory.put_many({f"w/{number}": number for number in range(1000)})
    changes = memory.watch("w/").look()
    next(changes)
    assert repository.calls["fetch"] == 1
    assert len(list(changes)) == 999
    assert repository.calls["fetch"] == 4


REFUSED: dict[str, tuple[type[Exception], Callable[[Memory], Any]]] = {
    "prefix": (InvalidKey, lambda memory: memory.watch("\0")),
    "poll": (InvalidArgument, lambda memory: memory.watch(poll=(0.0, 1.0))),
    "poll backwards": (InvalidArgument, lambda memory: memory.watch(poll=(1.0, 0.5))),
    "timeout": (InvalidArgument, lambda memory: memory.watch(timeout=0)),
    "heartbeat": (InvalidArgument, lambda memory: memory.watch(heartbeat=-1)),
    "position": (InvalidCursor, lambda memory: memory.watch(position=1)),  # type: ignore[arg-type]
    "text": (InvalidCursor, lambda memory: memory.watch(position="é")),
    "short": (InvalidCursor, lambda memory: memory.watch(position="")),
}


@pytest.mark.parametrize(("error", "call"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused(memory: Memory, error: type[Exception], call: Callable[[Memory], Any]) -> None:
    with pytest.raises(error):
        call(memory)


def test_a_damaged_position_is_refused(memory: Memory) -> None:
    memory.put_many({"w/a": 1, "w/b": 2})
    watch = memory.watch("w/")
    list(watch.look())
    position = watch.position()
    assert json.loads(json.dumps(position)) == position
    for index in range(0, len(position) - 3, 5):
        damaged = position[:index] + ("A" if position[index] != "A" else "B") + position[index + 1 :]
        with pytest.raises(InvalidCursor):
            memory.watch("w/", position=damaged)
    with pytest.raises(InvalidCursor):
        memory.watch("w", position=position)


def test_a_position_takes_no_more_than_it_is_said_to(memory: Memory) -> None:
    memory.put_many({f"w/results/{number:06}.py": number for number in range(2000)}, ttl=3600)
    watch = memory.watch("w/")
    list(watch.look())
    assert len(watch.position()) < 25 * 2000
    decoded = positions.decode(watch._gateway.scope, "w/", watch.position())
    assert decoded == watch._known


def test_an_idle_watch_asks_seldom(memory: Memory, repository: Timeless) -> None:
    assert list(memory.watch("w/", timeout=0.5)) == []
    assert 1 <= repository.calls["scan"] < 12


def test_pauses_grow_between_their_bounds_and_with_the_cost() -> None:
    pauses = Pauses(0.1, 1.0)
    assert pauses.after(0, found=True) == 0.1
    idle = [pauses.after(0, found=False) for _ in range(200)]
    assert all(0.1 <= pause <= 1.0 for pause in idle)
    assert idle[0] == 0.1
    assert max(idle) > 0.5
    assert pauses.after(3, found=False) == 3 * SHARE
    assert pauses.after(0, found=True) == 0.1


def test_a_slow_look_makes_the_pauses_long(memory: Memory, repository: Timeless) -> None:
    scan = repository.scan

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.02)
        return scan(*arguments, **options)

    repository.scan = slow  # type: ignore[method-assign]
    assert list(memory.watch("w/", poll=(0.001, 0.002), timeout=0.5)) == []
    assert repository.calls["scan"] <= 4


def test_a_watch_that_timed_out_goes_on_when_asked(memory: Memory) -> None:
    watch = memory.watch("w/", timeout=0.01)
    assert told(watch) == []
    memory.put("w/a", 1)
    assert told(watch) == [("put", "w/a", 1)]


def test_a_heartbeat_comes_when_nothing_else_does(memory: Memory) -> None:
    memory.put("w/a", 1)
    watch = memory.watch("w/", heartbeat=0.02)
    kinds = [change.kind for change in itertools.islice(watch, 3)]
    assert kinds == ["put", "heartbeat", "heartbeat"]
    memory.put("w/a", 2)
    assert ("put", "w/a", 2) in told(itertools.islice(watch, 2))


def test_stop_ends_it_in_the_middle_and_loses_nothing(memory: Memory) -> None:
    memory.put_many({f"w/{number}": number for number in range(5)})
    stop = threading.Event()
    watch = memory.watch("w/", stop=stop)
    first = next(watch)
    stop.set()
    assert list(watch) == []
    rest = memory.watch("w/", position=watch.position()).look()
    assert sorted([first.key, *(change.key for change in rest)]) == [f"w/{number}" for number in range(5)]


def test_close_ends_one_that_waits(memory: Memory) -> None:
    with memory.watch("w/", poll=(5.0, 5.0)) as watch:
        closing = threading.Timer(0.05, watch.close)
        closing.start()
        began = time.monotonic()
        assert list(watch) == []
        assert time.monotonic() - began < 4
        closing.join()
    assert list(watch) == []


def test_r35_a_watch_ends_with_its_memory(memory: Memory) -> None:
    watch = memory.watch("w/", poll=(0.001, 0.002))
    closing = threading.Timer(0.03, memory.close)
    closing.start()
    with pytest.raises(Closed):
        list(watch)
    closing.join()
    with pytest.raises(Closed):
        next(watch)


def test_a_server_that_is_away_is_waited_for(memory: Memory, repository: Timeless) -> None:
    memory.put_many({"w/a": 1, "w/b": 2})
    watch = memory.watch("w/", timeout=1.5)
    assert len(told(watch)) == 2
    memory.delete("w/a")
    repository.fail(2)
    assert told(watch) == [("delete", "w/a", None)]
    repository.fail(1)
    with pytest.raises(Unavailable):
        list(watch.look())


def test_a_fault_in_the_middle_of_a_look_takes_nothing_away(memory: Memory, repository: Timeless) -> None:
    memory.put_many({f"w/{number:04}": number for number in range(600)})
    changes = iter(watch := memory.watch("w/", timeout=0.05))
    state = follow({}, itertools.islice(changes, 256))
    repository.fail(1)
    assert follow(state, changes) == {f"w/{number:04}": number for number in range(600)}
    assert told(watch.look()) == []


def test_what_nothing_mends_is_raised(memory: Memory, repository: Timeless) -> None:
    repository.fail(1, Unavailable("the password is wrong", retryable=False))
    with pytest.raises(Unavailable):
        list(memory.watch("w/"))


def test_a_key_that_goes_between_the_look_and_its_body(memory: Memory, repository: Timeless) -> None:
    memory.put_many({"w/known": 1})
    watch = memory.watch("w/")
    list(watch.look())
    memory.put_many({"w/known": 2, "w/new": 2})
    fetch = repository.fetch

    def too_late(*arguments: Any, **options: Any) -> Any:
        memory.delete_many(["w/known", "w/new"])
        return fetch(*arguments, **options)

    repository.fetch = too_late  # type: ignore[method-assign]
    # The new one was never told of, so its end is not either.
    assert told(watch.look()) == [("delete", "w/known", None)]
    assert told(watch.look()) == []


def test_a_key_that_comes_back_between_the_look_and_its_body(memory: Memory, repository: Timeless) -> None:
    memory.put_many({"w/same": 1, "w/back": 1})
    watch = memory.watch("w/")
    list(watch.look())
    scan = repository.scan

    def lagging(*arguments: Any, **options: Any) -> Any:
        found = scan(*arguments, **options)
        memory.put("w/back", 2)
        return found._replace(records=[])

    repository.scan = lagging  # type: ignore[method-assign]
    assert told(watch.look()) == [("put", "w/back", 2)]


def test_an_iteration_that_was_left_half_way_does_not_bring_up_the_past(memory: Memory) -> None:
    memory.put_many({"w/a": 1, "w/b": 1})
    watch = memory.watch("w/", timeout=0.01)
    state = follow({}, watch)
    memory.delete_many(["w/a", "w/b"])
    gone = next(watch)
    memory.put("w/b", 2)
    follow(state, [gone])
    assert follow(state, watch.look()) == {"w/b": 2}
    assert follow(state, watch) == {"w/b": 2}


def test_an_expiry_that_was_put_off_before_a_deletion(memory: Memory, repository: Timeless) -> None:
    memory.put_many({"w/deleted": 1, "w/expired": 1}, ttl=10)
    watch = memory.watch("w/")
    list(watch.look())
    memory.delete("w/deleted")
    assert told(watch.look()) == [("delete", "w/deleted", None)]
    repository.now += timedelta(seconds=11)
    assert told(watch.look()) == [("expire", "w/expired", None)]


KEYS = st.sampled_from(["w/a", "w/b", "w/c", "w", "x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 9)),
        st.tuples(st.just("put for a while"), KEYS, st.integers(1, 5)),
        st.tuples(st.just("delete"), KEYS, st.just(0)),
        st.tuples(st.just("touch"), KEYS, st.integers(1, 5)),
        st.tuples(st.just("time"), st.just(""), st.integers(1, 5)),
        st.tuples(st.just("next"), st.just(""), st.integers(1, 3)),
    ),
    max_size=40,
)


def do(memory: Memory, repository: Timeless, step: str, key: str, number: int) -> None:
    match step:
        case "put":
            memory.put(key, number)
        case "put for a while":
            memory.put(key, number, ttl=number)
        case "delete":
            memory.delete(key)
        case "touch":
            memory.touch(key, number)
        case "time":
            repository.now += timedelta(seconds=number)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_every_position_leads_to_what_is_stored(steps: list[tuple[str, str, int]]) -> None:
    repository = Timeless()
    memory = Memory(repository)
    watch, state = memory.watch("w/"), dict[str, Any]()
    stops = [(watch.position(), dict(state))]
    for step, key, number in steps:
        if step == "next":
            for change in itertools.islice(watch.look(), number):
                follow(state, [change])
                stops.append((watch.position(), dict(state)))
        else:
            do(memory, repository, step, key, number)
    now = {entry.key: entry.value for entry in memory.items("w/")}
    for position, known in stops:
        changes = list(memory.watch("w/", position=position).look())
        assert len({change.key for change in changes}) == len(changes)
        assert follow(known, changes) == now
