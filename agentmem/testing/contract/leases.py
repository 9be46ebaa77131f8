"""R40: a lease has one holder at a time."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from agentmem.errors import (
    InvalidArgument,
    InvalidTTL,
    LeaseHeld,
    LeaseLost,
    NamespaceError,
    OutcomeUnknown,
)
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.processes import finish, in_a_fork, needs_fork, start
from agentmem.testing.support import LONG, SHORT, eventually, run_threads
from agentmem.testing.watched import watched

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class Leases(Contract):
    """A lease is an entry with a TTL, which is put if absent, renewed and deleted under its version."""

    def test_r40_one_holder_at_a_time(self, memory: Memory) -> None:
        first, second = memory.lease("name", LONG, owner="first"), memory.lease("name", LONG, owner="second")
        assert first.acquire()
        assert (first.is_held, second.acquire(), second.is_held) == (True, False, False)
        with pytest.raises(LeaseHeld) as caught, second:
            pytest.fail("it was entered")
        assert (caught.value.name, caught.value.owner) == ("name", "first")
        first.release()
        with second:
            assert not first.acquire()
        assert not memory.exists("name")

    def test_r40_its_entry_tells_who_holds_it(self, memory: Memory) -> None:
        with memory.lease("a/name", LONG, owner="me", metadata={"why": "x"}) as lease:
            entry = memory.entry("a/name")
            assert entry is not None
            assert (entry.value["owner"], entry.metadata, entry.expires_at) == ("me", {"why": "x"}, lease.expires_at)
            lease.renew()
            assert memory.entry("a/name").metadata == {"why": "x"}  # type: ignore[union-attr]
        assert (lease.expires_at, lease.is_held) == (None, False)
        assert memory.lease("b", 1).owner.endswith(f":{os.getpid()}")

    def test_r40_a_lease_is_not_reentrant(self, memory: Memory) -> None:
        lease = memory.lease("name", LONG)
        with lease:
            with pytest.raises(LeaseHeld):
                lease.acquire(wait=LONG)
            assert not memory.lease("name", LONG).acquire()
            assert lease.is_held

    def test_r40_what_is_no_lease_keeps_its_place(self, memory: Memory) -> None:
        memory.put("name", {"not": "a lease"})
        with pytest.raises(LeaseHeld), memory.lease("name", 1):
            pytest.fail("it was entered")
        assert memory.get("name") == {"not": "a lease"}

    def test_r40_bad_arguments_are_refused(self, memory: Memory) -> None:
        with pytest.raises(InvalidTTL):
            memory.lease("name", None)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            memory.lease("name", 1, wait=-1)
        with pytest.raises(InvalidArgument):
            memory.lease("name", 1, owner="")
        with pytest.raises(InvalidArgument):
            memory.put("key", 1, fence="name")  # type: ignore[arg-type]
        assert list(memory.keys()) == []

    def test_r40_a_namespace_holds_for_leases(self, harness: Harness) -> None:
        with harness.connect(namespace="aqe/") as memory:
            assert memory.lease("aqe/name", 5).acquire()
            with pytest.raises(NamespaceError):
                memory.lease("name", 5)

    def test_r40_threads_exclude_each_other(self, memory: Memory) -> None:
        def work(_: int) -> None:
            for _ in range(3):
                with memory.lease("lock", LONG, wait=60):
                    memory.put("counter", memory.get("counter", 0) + 1)

        run_threads(8, work)
        assert memory.get("counter") == 24

    @pytest.mark.slow
    def test_r40_processes_exclude_each_other(self, memory: Memory, url: str) -> None:
        script = (
            "for _ in range(4):\n"
            "    with memory.lease('lock', 60, wait=60) as lease:\n"
            "        memory.put('counter', memory.get('counter', 0) + 1, fence=lease)\n"
        )
        assert finish([start(url, script) for _ in range(3)]) == [0] * 3
        assert memory.get("counter") == 12

    def test_r40_expiry_hands_it_over(self, memory: Memory) -> None:
        first, second = memory.lease("name", 0.2), memory.lease("name", LONG)
        assert first.acquire()
        token = first.token
        assert second.acquire(wait=30)
        assert not first.is_held
        for stale in (first, token):
            with pytest.raises(LeaseLost):
                memory.put("key", "stale", fence=stale)
        memory.put("key", "fresh", fence=second)
        assert memory.get("key") == "fresh"

    def test_r40_who_waits_does_not_wait_for_ever(self, memory: Memory) -> None:
        with memory.lease("name", LONG):
            began = time.monotonic()
            assert not memory.lease("name", LONG).acquire(wait=0.2)
            assert time.monotonic() - began >= 0.2

    def test_r40_who_waits_sees_a_release(self, memory: Memory) -> None:
        lease = memory.lease("name", LONG)
        assert lease.acquire()

        def work(index: int) -> bool:
            if index == 0:
                time.sleep(0.05)
                lease.release()
                return True
            return memory.lease("name", LONG).acquire(wait=60)

        assert run_threads(2, work) == [True, True]

    def test_r40_who_waits_makes_few_calls(self, memory: Memory) -> None:
        other, watch = watched(memory)
        with memory.lease("name", LONG):
            assert not other.lease("name", LONG).acquire(wait=0.5)
        assert watch.calls["apply"] == 1
        assert watch.calls["fetch_one"] <= 50

    def test_r40_renewals_keep_it(self, memory: Memory) -> None:
        with memory.lease("name", 3, renew=True) as lease:
            first, expires_at = lease.token, memory.entry("name").expires_at  # type: ignore[union-attr]
            eventually(lambda: lease.token.version > first.version)
            assert lease.is_held
            assert not lease.lost.is_set()
            assert memory.entry("name").expires_at > expires_at  # type: ignore[union-attr,operator]
            assert lease.token.acquisition == first.acquisition
            assert not memory.lease("name", 3).acquire()
            memory.put("key", 1, fence=first)
        assert not [thread for thread in threading.enumerate() if thread.name == "agentmem-lease-name"]
        assert not memory.exists("name")

    def test_r40_a_renewal_that_finds_it_lost_says_so(self, memory: Memory) -> None:
        lease = memory.lease("name", 3, renew=True)
        assert lease.acquire()
        memory.delete("name")
        assert lease.lost.wait(30)
        assert not lease.is_held
        with memory.lease("name", LONG) as second:
            with pytest.raises(LeaseLost):
                lease.renew()
            lease.release()
            assert second.is_held
            second.renew()
        assert lease.acquire()
        assert not lease.lost.is_set()
        lease.release()

    def test_r40_the_end_of_a_handle_ends_renewals(self, harness: Harness) -> None:
        memory = harness.connect()
        lease = memory.lease("name", LONG, renew=True)
        assert lease.acquire()
        memory.close()
        assert lease.lost.is_set()
        assert not [thread for thread in threading.enumerate() if thread.name == "agentmem-lease-name"]

    def test_r40_to_release_a_lost_lease_is_harmless(self, memory: Memory) -> None:
        first = memory.lease("name", SHORT)
        assert first.acquire()
        with memory.lease("name", LONG, wait=30) as second:
            first.release()
            first.release()
            assert memory.exists("name")
            second.renew()
        second.release()
        memory.lease("name", LONG).release()

    def test_r40_an_error_in_the_block_releases_it(self, memory: Memory) -> None:
        with pytest.raises(LookupError), memory.lease("name", LONG):
            raise LookupError
        assert memory.lease("name", LONG).acquire()

    def test_r40_a_lost_reply_is_found_out_about(self, memory: Memory) -> None:
        other, watch = watched(memory)
        lease = other.lease("name", LONG)
        watch.lose = 1
        assert lease.acquire()
        assert lease.is_held
        other.put("key", 1, fence=lease)
        watch.lose = 1
        with pytest.raises(OutcomeUnknown):
            lease.renew()
        lease.renew()
        other.put("key", 2, fence=lease)
        watch.lose = 1
        lease.release()
        assert not memory.exists("name")

    def test_r40_a_lost_reply_of_a_loser_makes_no_winner(self, memory: Memory) -> None:
        other, watch = watched(memory)
        with memory.lease("name", LONG) as holder:
            watch.lose = 1
            assert not other.lease("name", LONG).acquire()
            holder.renew()
        watch.lose = 2
        lease = other.lease("name", LONG)
        with pytest.raises(OutcomeUnknown):
            lease.acquire()
        assert not lease.is_held

    @pytest.mark.slow
    def test_r40_renewals_bear_a_server_that_is_away(self, memory: Memory) -> None:
        other, watch = watched(memory)
        with other.lease("name", 2, renew=True) as lease:
            watch.refuse = 3
            eventually(lambda: watch.refuse == 0)
            version = lease.token.version
            eventually(lambda: lease.token.version > version or lease.lost.is_set())
            assert not lease.lost.is_set()
            watch.refuse = 10_000
            assert lease.lost.wait(30)
            assert not lease.is_held
            watch.refuse = 0

    @needs_fork
    def test_r40_a_fork_holds_nothing(self, memory: Memory, url: str) -> None:
        with memory.lease("name", LONG, renew=True) as lease:

            def child() -> None:
                assert not lease.is_held
                with pytest.raises(LeaseLost):
                    memory.put("key", "child", fence=lease)
                lease.release()
                assert not lease.acquire()
                assert memory.exists("name")
                memory.close()

            assert in_a_fork(child) == 0
            assert lease.is_held
            memory.put("key", "parent", fence=lease)
        assert memory.get("key") == "parent"

    @pytest.mark.slow
    def test_r40_the_lease_of_a_killed_holder_ends(self, memory: Memory, url: str) -> None:
        script = (
            "lease = memory.lease('name', 1.5, renew=True)\n"
            "assert lease.acquire()\n"
            "memory.put('ready', 1, fence=lease)\n"
            "signal.pause()\n"
        )
        holder = start(url, script)
        eventually(lambda: memory.exists("ready"), timeout=60)
        holder.kill()
        assert finish([holder]) == [-signal.SIGKILL]
        assert memory.lease("name", 1).acquire(wait=30)
