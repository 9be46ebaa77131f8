"""R41: a session lives while it is used, with all that is in it, and leaves nothing; forks; lists."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import (
    InvalidOperation,
    LeaseLost,
    NamespaceError,
    VersionConflict,
)
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.sessions import said
from agentmem.testing.support import LONG, eventually, run_threads
from agentmem.testing.watched import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.coordination.session import Session
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def lifetime(session: Session) -> float:
    """The seconds from a session's last write to its end."""
    info = session.info()
    assert info is not None
    assert info.expires_at is not None
    return (info.expires_at - info.updated_at).total_seconds()


class SessionLife(Contract):
    """The head's expiry decides what is seen; all the rest outlives it a little."""

    # Time.

    def test_r41_a_session_ends_when_it_is_not_used(self, memory: Memory) -> None:
        session = memory.session("s", ttl=0.2)
        session.append("a")
        session.put_state(1)
        eventually(lambda: not session.exists())
        assert (session.messages(), session.state(), session.count(), list(memory.sessions())) == ([], None, 0, [])
        second = memory.session("s", ttl=LONG)
        assert second.append("new") == 1
        assert (said(second), second.state()) == ({1: "new"}, None)
        # What the first one left ends by itself.
        eventually(lambda: len(list(memory.keys("session/"))) == 2)

    @pytest.mark.slow
    def test_r41_use_renews_a_session_and_all_that_is_in_it(self, memory: Memory) -> None:
        def in_use(attempt: int) -> bool:
            """Whether the session was used without a pause for longer than anything in it lived at first."""
            session = memory.session(f"{attempt}", ttl=0.4)
            session.append("a")
            session.put_state({"n": 1})
            uses: list[Callable[[], Any]] = [
                session.messages,
                session.state,
                lambda: session.append("b"),
                lambda: session.trim(keep=9),
            ]
            began = last = time.monotonic()
            while last - began < 2:
                for use in uses:
                    use()
                    time.sleep(0.01)
                    if time.monotonic() - last > 0.3:
                        return False  # so busy a machine shows nothing
                    last = time.monotonic()
            assert said(session).keys() == set(range(session.info().last - 8, session.info().last + 1))  # type: ignore[union-attr]
            assert session.state() == {"n": 1}
            return True

        assert any(in_use(attempt) for attempt in range(10))

    def test_r41_reading_writes_now_and_then(self, memory: Memory) -> None:
        other, watch = watched(memory)
        session = other.session("s", ttl=LONG)
        session.append("a")
        session.put_state(1)
        watch.calls.clear()
        for _ in range(10):
            session.messages()
            session.state()
            other.session("s").messages()
        assert watch.calls["apply"] == 0
        assert watch.calls["server_time"] <= 1
        short = other.session("t", ttl=3)
        short.append("a")
        watch.calls.clear()
        expires_at = short.info().expires_at  # type: ignore[union-attr]
        eventually(lambda: short.messages() and short.info().expires_at > expires_at)  # type: ignore[union-attr,operator]
        assert watch.calls["apply"] >= 1

    def test_r41_a_ttl_stays_until_another_is_given(self, memory: Memory) -> None:
        memory.session("s", ttl=60).append("a")
        memory.session("s").append("b")
        assert lifetime(memory.session("s")) == pytest.approx(60, abs=0.01)
        memory.session("s", ttl=600).append("c")
        memory.session("s").put_state(1)
        assert lifetime(memory.session("s")) == pytest.approx(600, abs=0.01)
        ends = [entry.expires_at for entry in memory.items("session/")]
        assert all(end is not None and end >= memory.session("s").info().expires_at for end in ends)  # type: ignore[union-attr,operator]

    def test_r41_a_session_without_end_can_get_one(self, memory: Memory) -> None:
        memory.session("s").append(*range(5))
        assert {entry.expires_at for entry in memory.items("session/")} == {None}
        assert len(memory.session("s", ttl=0.5).messages()) == 5
        eventually(lambda: not list(memory.keys("session/")))

    def test_r41_a_partitions_default_ttl_does_not_touch_sessions(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=0.1)
        jobs.put("key", 1)
        jobs.session("s").append("a")
        jobs.session("s").put_state(1)
        eventually(lambda: not jobs.exists("key"))
        assert (said(jobs.session("s")), jobs.session("s").state()) == ({1: "a"}, 1)

    # The whole.

    def test_r41_an_ended_session_leaves_nothing(self, memory: Memory) -> None:
        session = memory.session("s")
        session.append(*range(50))
        session.put_state(1)
        memory.session("other").append("stays")
        session.trim(keep=40)
        assert session.end()
        assert not session.end()
        assert (session.exists(), session.messages(), session.state()) == (False, [], None)
        assert not list(memory.keys("session/s/"))
        assert memory.session("other").count() == 1
        assert (session.append("again"), said(session)) == (1, {1: "again"})

    def test_r41_a_fork_is_complete_and_apart(self, memory: Memory) -> None:
        session = memory.session("s", ttl=LONG)
        session.append(*range(1, 11))
        session.put_state({"n": 1})
        session.trim(keep=8)
        fork = session.fork("f", upto=6)
        assert fork.messages() == session.messages(limit=4, before=7)
        assert (fork.state(), fork.count()) == ({"n": 1}, 4)
        assert lifetime(fork) == pytest.approx(LONG, abs=0.01)
        assert (fork.append("f"), session.append("s")) == (7, 11)
        fork.put_state({"n": 2})
        assert (said(fork)[7], session.state(), session.count()) == ("f", {"n": 1}, 9)
        assert session.fork("whole").messages() == session.messages()
        assert fork.fork("again").messages() == fork.messages()
        session.end()
        assert fork.count() == 5

    def test_r41_a_fork_takes_no_place_and_comes_from_none(self, memory: Memory) -> None:
        memory.session("a").append("a")
        memory.session("b").append("b")
        with pytest.raises(VersionConflict):
            memory.session("a").fork("b")
        with pytest.raises(InvalidOperation):
            memory.session("none").fork("c")
        assert said(memory.session("b")) == {1: "b"}
        assert not memory.session("c").exists()

    def test_r41_a_fork_is_of_one_moment(self, memory: Memory) -> None:
        session = memory.session("s")
        session.append(0)
        session.put_state(1)

        def work(index: int) -> None:
            for turn in range(12):
                if index:
                    memory.session("s").append("x", "y")
                    memory.session("s").update_state(lambda state: state + 1, attempts=1000)
                else:
                    fork = memory.session("s").fork(f"fork {turn}")
                    assert list(said(fork)) == list(range(1, fork.count() + 1))
                    assert fork.count() % 2 == 1
                    assert fork.state() <= (fork.count() + 1) // 2

        run_threads(3, work)
        assert session.count() == 49

    def test_r41_sessions_are_listed(self, memory: Memory) -> None:
        ids = ["a", "a/b", "a/head", "head", "user/1", "user/10", "user/2", "50%", "50%2F", "é"]
        for number, session_id in enumerate(ids, 1):
            memory.session(session_id, ttl=LONG).append(*range(number))
        memory.put("session/foreign", 1)
        memory.put("session/foreign/head", 1)
        memory.session("gone").append("a")
        memory.session("gone").end()
        found = {info.id: info.count for info in memory.sessions()}
        assert found == {session_id: number for number, session_id in enumerate(ids, 1)}
        assert sorted(info.id for info in memory.sessions("user/1")) == ["user/1", "user/10"]
        assert [info.id for info in memory.sessions("50%2F")] == ["50%2F"]
        assert list(memory.sessions("none")) == []
        assert [said(memory.session(session_id)) for session_id in ("a", "a/b")] == [{1: 0}, {1: 0, 2: 1}]

    def test_r41_listing_costs_what_is_listed(self, memory: Memory) -> None:
        for number in range(8):
            memory.session(f"s{number}").append(*range(300))
        other, watch = watched(memory)
        assert [info.count for info in other.sessions()] == [300] * 8
        assert watch.records <= 600

    def test_r41_scoped_handles_have_sessions_of_their_own(self, memory: Memory) -> None:
        scoped = memory.scoped("agent/")
        scoped.session("s").append("scoped")
        memory.session("s").append("outside")
        assert (said(scoped.session("s")), said(memory.session("s"))) == ({1: "scoped"}, {1: "outside"})
        assert [info.id for info in scoped.sessions()] == ["s"]
        assert all(key.startswith("agent/session/s/") for key in memory.keys("agent/"))

    def test_r41_a_namespace_holds_for_sessions(self, harness: Harness) -> None:
        with harness.connect(namespace="aqe/") as memory:
            with pytest.raises(NamespaceError):
                memory.session("s")
            memory.scoped("aqe/").session("s").append("a")
            memory.scoped("aqe/").session("s").put_state(1)

    def test_r41_a_fenced_session_is_its_holders(self, memory: Memory) -> None:
        with memory.lease("name", LONG) as lease:
            session = memory.fenced(lease).session("s", ttl=LONG)
            session.append("a")
        for call in (lambda: session.append("b"), lambda: session.put_state(1), session.end):
            with pytest.raises(LeaseLost):
                call()
        assert said(session) == {1: "a"}
