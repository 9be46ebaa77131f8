"""R41: how long the parts of a session live, and what happens when a session is damaged, on a dict."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import CorruptEntry, InvalidOperation, Memory, Unavailable, VersionConflict
from agentmem.coordination import session_store
from agentmem.coordination.names import level, unlevel
from agentmem.coordination.session import Session
from agentmem.coordination.session_layout import Head, decoded
from agentmem.entries import Entry, Record
from agentmem.moments import microseconds
from tests.unit.dict_repository import DictRepository

HOUR = 3600


class Timed(DictRepository):
    """Its clock stands until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def _begin(self, method: str) -> int:
        super()._begin(method)
        return microseconds(self.now)

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Timed:
    repository = Timed()
    monkeypatch.setattr(session_store, "server_now", lambda gateway: repository.now)
    return repository


@pytest.fixture
def memory(repository: Timed) -> Memory:
    return Memory(repository)


def parts(memory: Memory) -> tuple[Entry | None, list[Entry]]:
    """The head, and all the rest that belongs to it."""
    head = memory.entry("session/s/head")
    return head, [] if head is None else list(memory.items(f"session/s/{head.value['incarnation']}/"))


def use(memory: Memory, dice: random.Random) -> None:
    session = memory.session("s", ttl=dice.choice([None, 10, 100, 1000]))
    uses: list[Any] = [
        lambda: session.append("a", "b"),
        lambda: session.put_state(1),
        lambda: session.trim(keep=dice.randint(1, 9)),
        session.messages,
        session.state,
        session.end if dice.random() < 0.05 else session.exists,
    ]
    dice.choice(uses)()


@pytest.mark.parametrize("seed", range(40))
def test_r41_all_of_a_session_lives_as_long_as_its_head(memory: Memory, repository: Timed, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(150):
        use(memory, dice)
        head, rest = parts(memory)
        if head is not None:
            info = memory.session("s").info()
            assert info is not None
            assert len([entry for entry in rest if not entry.key.endswith("state")]) == info.count
            assert all(_end(entry) >= _end(head) for entry in rest)
        repository.pass_seconds(dice.choice([0, 0.5, 3, 9, 30, 99, 500]))
    memory.session("s", ttl=10).append("the last")
    repository.pass_seconds(1000 * session_store.LONGER)
    assert list(memory.keys()) == []


def _end(entry: Entry) -> datetime:
    return datetime.max.replace(tzinfo=UTC) if entry.expires_at is None else entry.expires_at


def test_r41_what_lies_below_the_head_is_renewed_seldom(memory: Memory, repository: Timed) -> None:
    session = memory.session("s", ttl=HOUR)
    session.append(*range(100))
    renewed = 0
    for _ in range(300):
        before = {entry.key: entry.version for entry in parts(memory)[1]}
        repository.pass_seconds(HOUR / 10)
        session.messages(limit=1)
        renewed += before != {entry.key: entry.version for entry in parts(memory)[1]}
    assert renewed <= 300 / 10 / (session_store.LONGER - 2) + 1


def test_r41_a_reader_renews_when_a_tenth_has_passed(memory: Memory, repository: Timed) -> None:
    session = memory.session("s", ttl=100)
    session.append("a")
    repository.calls.clear()
    repository.pass_seconds(9)
    session.messages()
    assert repository.calls["apply"] == 0
    repository.pass_seconds(2)
    session.messages()
    session.state()
    assert repository.calls["apply"] == 1
    repository.pass_seconds(99)
    assert session.exists()
    repository.pass_seconds(2)
    assert not session.exists()


def test_r41_a_renewal_that_meets_another_writer_leaves_it_to_that(memory: Memory, repository: Timed) -> None:
    session, other = memory.session("s", ttl=100), memory.session("s")
    session.append("a")
    repository.pass_seconds(50)
    fetch_one = repository.fetch_one

    def look(partition: str, key: str) -> Record | None:
        repository.fetch_one = fetch_one  # type: ignore[method-assign]
        found = fetch_one(partition, key)
        other.append("b")
        return found

    repository.fetch_one = look  # type: ignore[method-assign]
    assert [message.value for message in session.messages()] == ["a"]
    assert session.count() == 2


def test_r41_a_writer_that_is_never_first_gives_up(
    memory: Memory, repository: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "ATTEMPTS", 3)
    session = memory.session("s")
    session.append("a")
    apply = repository.apply
    attempts = []

    def meddle(partition: str, commands: Any) -> Any:
        attempts.append(1)
        memory_of = Memory(repository)
        repository.apply = apply  # type: ignore[method-assign]
        memory_of.session("s").append("theirs")
        try:
            return apply(partition, commands)
        finally:
            repository.apply = meddle  # type: ignore[method-assign]

    repository.apply = meddle  # type: ignore[method-assign]
    with pytest.raises(VersionConflict):
        session.append("ours")
    repository.apply = apply  # type: ignore[method-assign]
    assert len(attempts) == 3
    assert [message.value for message in session.messages()] == ["a"] + ["theirs"] * 3


@pytest.mark.parametrize("body", ["{", "[]", "1", '{"incarnation": 5}', '{"incarnation": "a", "last": "x"}'])
def test_r41_a_broken_head_is_told(memory: Memory, repository: Timed, body: str) -> None:
    session = memory.session("s")
    session.append("a")
    memory.session("fine").append("a")
    repository.spoil("session/s/head", body)
    calls: list[Any] = [session.messages, session.state, session.info, session.end, lambda: session.append("b")]
    for call in calls:
        with pytest.raises(CorruptEntry):
            call()
    assert [info.id for info in memory.sessions()] == ["fine"]


def test_r41_a_message_that_is_gone_leaves_the_others(memory: Memory) -> None:
    session = memory.session("s")
    session.append("a", "bb", "c")
    gone = next(key for key in memory.keys("session/s/") if key.endswith("2"))
    memory.delete(gone)
    assert [message.number for message in session.messages()] == [1, 3]
    with pytest.raises(CorruptEntry, match="missing"):
        session.fork("f")
    assert not memory.session("f").exists()
    assert session.trim(keep=1) == 2
    assert session.fork("f").count() == 1


def test_r41_a_fork_gives_up_when_others_write_all_the_time(
    memory: Memory, repository: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentmem.coordination.session_copy.retry.rounds", range)
    session = memory.session("s")
    session.append("a")
    fetch = repository.fetch

    def look(partition: str, keys: Any, *, bodies: bool = True) -> Any:
        repository.fetch = fetch  # type: ignore[method-assign]
        memory.session("s").append("more")
        repository.fetch = look  # type: ignore[method-assign]
        return fetch(partition, keys, bodies=bodies)

    repository.fetch = look  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        session.fork("f")
    # What is asked for up to a message does not change any more.
    assert session.fork("f", upto=2).count() == 2


def test_r41_a_session_that_is_begun_anew_while_it_is_forked(memory: Memory, repository: Timed) -> None:
    session = memory.session("s")
    session.append("a", "b")
    fetch, turns = repository.fetch, []

    def look(partition: str, keys: Any, *, bodies: bool = True) -> Any:
        turns.append(1)
        if len(turns) == 2:
            memory.session("s").end()
            memory.session("s").append("new")
        return fetch(partition, keys, bodies=bodies)

    repository.fetch = look  # type: ignore[method-assign]
    assert [message.value for message in session.fork("f").messages()] == ["new"]


def test_r41_a_state_that_others_update_all_the_time(memory: Memory) -> None:
    session = memory.session("s")

    def change(state: int) -> int:
        session.put_state(state + 10)
        return state + 1

    session.put_state(0)
    with pytest.raises(VersionConflict):
        session.update_state(change, attempts=3)
    assert session.state() == 30
    session.end()
    with pytest.raises(InvalidOperation):
        session.update_state(change)


def test_r41_the_newest_requests_are_remembered(memory: Memory) -> None:
    session = memory.session("s")
    for number in range(40):
        session.append(number, request_id=f"r{number}")
    assert session.append("again", request_id="r8") == 9
    assert session.append("too old", request_id="r7") == 41


def test_a_head_of_a_later_version_can_be_read() -> None:
    head = Head("a", 1, 2)
    assert decoded(_record(head.encoded()), "key") == head
    assert decoded(_record('{"incarnation":"a","last":2,"later":1}'), "key") == head


def _record(body: str) -> Record:
    return Record("key", body, 1, 0, 0, None, None)


def test_a_session_shows_its_id(memory: Memory) -> None:
    assert repr(memory.session("a/b")) == "<Session 'a/b'>"
    assert isinstance(memory.session("a/b"), Session)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_a_level_gives_its_name_back(name: str) -> None:
    assert unlevel(level(name)) == name
    assert "/" not in level(name)
