"""R41: a session's messages are in one order, whole, and seen until it ends; its state is compared and set."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.codecs import TypeCodec
from agentmem.errors import (
    CorruptEntry,
    InvalidArgument,
    InvalidKey,
    InvalidOperation,
    InvalidTTL,
    InvalidValue,
    OutcomeUnknown,
    VersionConflict,
)
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import LONG, eventually, run_threads
from agentmem.testing.watched import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.coordination.session import Session
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def said(session: Session, **options: Any) -> dict[int, Any]:
    """The messages by number."""
    return {message.number: message.value for message in session.messages(**{"limit": None, **options})}


class Sessions(Contract):
    """A head, an entry for each message, and a state; each write is one atomic batch."""

    # Messages.

    def test_r41_messages_have_the_servers_order(self, memory: Memory) -> None:
        session = memory.session("s")
        assert (session.exists(), session.messages(), session.count(), session.info()) == (False, [], 0, None)
        assert session.append({"role": "user"}, [1, None]) == 2
        assert session.append("é\x00") == 3
        assert said(session) == {1: {"role": "user"}, 2: [1, None], 3: "é\x00"}
        moments = [message.created_at for message in session.messages()]
        assert moments == sorted(moments)
        assert moments[0].tzinfo is UTC
        info = session.info()
        assert info is not None
        assert (info.id, info.count, info.first, info.last, info.expires_at) == ("s", 3, 1, 3, None)
        assert info.size_bytes == len('{"role":"user"}[1,null]"é\\u0000"'.encode())

    def test_r41_pages_come_from_the_newest(self, memory: Memory) -> None:
        session = memory.session("s")
        session.append(*range(1, 26))
        assert list(said(session, limit=10)) == list(range(16, 26))
        assert list(said(session, limit=10, before=16)) == list(range(6, 16))
        assert list(said(session, limit=10, before=6)) == list(range(1, 6))
        assert said(session, limit=10, before=1) == {}
        assert list(said(session, before=99)) == list(range(1, 26))
        assert len(memory.session("s").messages()) == 25

    def test_r41_a_page_costs_what_it_holds(self, memory: Memory) -> None:
        session = memory.session("s", ttl=LONG)
        for piece in range(4):
            session.append(*({"n": piece, "text": "x" * 100} for _ in range(2500)))
        other, watch = watched(memory)
        assert len(other.session("s").messages(limit=50)) == 50
        assert len(other.session("s").messages(limit=50, before=5001)) == 50
        calls = sum(count for name, count in watch.calls.items() if name not in {"server_time", "max_value_bytes"})
        assert calls <= 4
        assert watch.records <= 102
        watch.calls.clear()
        assert (other.session("s").append("one more"), other.session("s").count()) == (10_001, 10_001)
        assert (watch.calls["apply"], watch.calls["fetch_one"], watch.calls["scan"]) == (1, 2, 0)

    def test_r41_threads_append_without_gaps_and_doubles(self, memory: Memory) -> None:
        def work(index: int) -> list[int]:
            session = memory.session("s")
            return [session.append(*([index, turn, part] for part in range(3))) for turn in range(5)]

        lasts = sorted(last for each in run_threads(8, work) for last in each)
        assert lasts == list(range(3, 121, 3))
        values = list(said(memory.session("s")).values())
        assert [values[place][:2] for place in range(0, 120, 3)] == [values[place][:2] for place in range(2, 120, 3)]
        assert [value[2] for value in values] == [0, 1, 2] * 40
        for index in range(8):
            assert [value[1] for value in values if value[0] == index] == sorted([*range(5)] * 3)
        assert memory.check() == []

    @pytest.mark.slow
    def test_r41_processes_append_without_gaps_and_doubles(self, memory: Memory, url: str) -> None:
        script = "session = memory.session('s')\nfor turn in range(30):\n    session.append([sys.argv[2], turn])\n"
        assert finish([start(url, script, name) for name in "abc"]) == [0] * 3
        messages = said(memory.session("s"))
        assert list(messages) == list(range(1, 91))
        for name in "abc":
            assert [value[1] for value in messages.values() if value[0] == name] == list(range(30))

    @pytest.mark.slow
    def test_r41_a_killed_writer_leaves_whole_appends(self, memory: Memory, url: str) -> None:
        script = "session = memory.session('s')\nwhile True:\n    session.append(*range(20))\n"
        writer = start(url, script)
        session = memory.session("s")
        eventually(lambda: session.count() >= 60, timeout=60)
        writer.kill()
        assert finish([writer]) == [-signal.SIGKILL]
        values = list(said(session).values())
        assert values == list(range(20)) * (session.count() // 20)
        assert session.append("next") == len(values) + 1

    def test_r41_a_request_is_appended_once(self, memory: Memory) -> None:
        session = memory.session("s")
        assert [session.append("a", "b", request_id="r") for _ in range(3)] == [2] * 3
        session.append("c")
        assert session.append("a", "b", request_id="r") == 2
        assert session.append("a", request_id="another") == 4
        assert list(said(session).values()) == ["a", "b", "c", "a"]

    def test_r41_an_append_whose_reply_was_lost_can_be_made_again(self, memory: Memory) -> None:
        other, watch = watched(memory)
        session = other.session("s")
        for turn in range(3):
            watch.lose = 1
            with pytest.raises(OutcomeUnknown):
                session.append(turn, request_id=f"r{turn}")
            assert session.append(turn, request_id=f"r{turn}") == turn + 1
        assert list(said(session).values()) == [0, 1, 2]

    def test_r41_bad_arguments_are_refused(self, memory: Memory) -> None:
        session = memory.session("s")
        calls: list[Callable[[], Any]] = [
            session.append,
            session.trim,
            lambda: session.messages(limit=0),
            lambda: session.messages(before=0),
            lambda: session.append("a", request_id=""),
            lambda: session.fork("t", upto=0),
            lambda: memory.session("s", keep=0),
        ]
        for call in calls:
            with pytest.raises(InvalidArgument):
                call()
        with pytest.raises(InvalidValue, match="message"):
            session.append("fine", float("nan"))
        for ttl in (0, -1, 26 * 365 * 24 * 3600):
            with pytest.raises(InvalidTTL):
                memory.session("s", ttl=ttl)
        for session_id in ("", "a\0", "x" * 1000):
            with pytest.raises(InvalidKey):
                memory.session(session_id)
        assert list(memory.keys()) == []

    def test_r41_what_a_codec_translates_is_a_message(self, harness: Harness) -> None:
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        with harness.connect(codec=TypeCodec()) as memory:
            session = memory.session("s")
            session.append(moment, {"at": moment})
            session.put_state({"at": moment})
            assert said(session.fork("t")) == {1: moment, 2: {"at": moment}}
            assert session.state() == {"at": moment}

    def test_r41_a_message_that_is_broken_raises_for_itself(self, memory: Memory, harness: Harness) -> None:
        session = memory.session("s")
        session.append(1, 2, 3)
        harness.corrupt("default", next(key for key in memory.keys("session/s/") if key.endswith("1")))
        assert said(session, limit=2) == {2: 2, 3: 3}
        with pytest.raises(CorruptEntry):
            session.messages()

    # Trimming.

    def test_r41_trimming_keeps_the_newest(self, memory: Memory) -> None:
        session = memory.session("s")
        session.append(*range(1, 21))
        assert session.trim(keep=8) == 12
        assert list(said(session)) == list(range(13, 21))
        assert (session.trim(keep=8), session.count(), session.append("x")) == (0, 8, 21)
        assert len(list(memory.keys("session/s/"))) == 9 + 1

    def test_r41_trimming_by_bytes_is_exact(self, memory: Memory) -> None:
        session = memory.session("s")
        session.append(*("x" * size for size in range(100)))
        for limit in (4000, 1000, 500, 102, 100, 1):
            session.trim(max_bytes=limit)
            texts = [len(value) + 2 for value in said(session).values()]
            following = 101 - len(texts)
            assert texts
            assert sum(texts) <= limit or len(texts) == 1
            assert sum(texts) + following > limit
            assert session.info().size_bytes == sum(texts)  # type: ignore[union-attr]

    def test_r41_a_session_that_trims_itself(self, memory: Memory) -> None:
        session = memory.session("s", keep=5, max_bytes=40)
        for turn in range(1, 30):
            session.append(f"{turn}" * (turn % 4 + 1))
            kept = said(session)
            assert list(kept) == list(range(turn - len(kept) + 1, turn + 1))
            assert len(kept) <= 5
            assert session.info().size_bytes == sum(len(value) + 2 for value in kept.values()) <= 40  # type: ignore[union-attr]
        assert session.append(*"abcdefghij") == 39
        assert said(session) == dict(zip(range(35, 40), "fghij", strict=True))
        assert len(list(memory.keys("session/s/"))) == 6
        session.append("x" * 100)
        assert list(said(session)) == [40]

    def test_r41_threads_append_and_trim(self, memory: Memory) -> None:
        def work(index: int) -> None:
            session = memory.session("s", keep=10 if index % 2 else None)
            for turn in range(10):
                session.append([index, turn])

        run_threads(6, work)
        memory.session("s").trim(keep=10)
        assert list(said(memory.session("s"))) == list(range(51, 61))
        assert len(list(memory.keys("session/s/"))) == 11

    # State.

    def test_r41_state_is_compared_and_set(self, memory: Memory) -> None:
        session = memory.session("s")
        assert (session.state(), session.state("default"), session.state_entry()) == (None, "default", None)
        with pytest.raises(InvalidOperation):
            session.update_state(lambda state: state)
        first = session.put_state({"n": 1}, if_absent=True)
        assert (session.state(), session.state_entry()) == ({"n": 1}, first)
        second = session.put_state({"n": 2}, if_version=first.version)
        for expectation in ({"if_version": first.version}, {"if_absent": True}):
            with pytest.raises(VersionConflict) as caught:
                session.put_state({"n": 3}, **expectation)
            assert caught.value.current == second
        session.append("message")
        assert session.update_state(lambda state: {"n": state["n"] + 1}).value == {"n": 3}
        assert session.put_state(None).value is None
        assert session.state_entry() is not None

    def test_r41_threads_update_state_exactly(self, memory: Memory) -> None:
        def work(index: int) -> None:
            session = memory.session("s")
            for _ in range(5):
                session.update_state(lambda n: n + 1, default=0, attempts=1000)
                session.append(index)

        run_threads(6, work)
        assert (memory.session("s").state(), memory.session("s").count()) == (30, 30)
