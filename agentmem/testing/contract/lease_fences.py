"""R40: what is fenced by a lease is written by its holder alone."""

from __future__ import annotations

import base64
import pickle
import signal
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import (
    InvalidArgument,
    LeaseLost,
    OutcomeUnknown,
    PermissionDenied,
    VersionConflict,
)
from agentmem.operations import Ack, Check, Enqueue, Increment, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import LONG, eventually, run_threads, snapshot
from agentmem.testing.watched import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

    Write = Callable[[Memory], Any]

#: Every way to write, on entries that are there.
WRITES: dict[str, Write] = {
    "put": lambda m: m.put("text", 2),
    "put new": lambda m: m.put("new", 2),
    "put if_version": lambda m: m.put("text", 2, if_version=m.entry("text").version),  # type: ignore[union-attr]
    "put if_absent": lambda m: m.put("new", 2, if_absent=True),
    "put_many": lambda m: m.put_many({"text": 2, "new": 2}),
    "put_many in pieces": lambda m: m.put_many({"text": 2, "new": 2}, chunk=1),
    "load": lambda m: m.load({"text": 2, "new": 2}, chunk=1),
    "increment": lambda m: m.increment("number"),
    "append": lambda m: m.append("list", 2),
    "merge": lambda m: m.merge("object", {"b": 2}),
    "update": lambda m: m.update("number", lambda n: n + 1),
    "touch": lambda m: m.touch("text", LONG),
    "delete": lambda m: m.delete("text"),
    "pop": lambda m: m.pop("text"),
    "delete_many": lambda m: m.delete_many(["text", "number"]),
    "apply": lambda m: m.apply([Check("new", None), Put("new", 2), Increment("number")]),
    "run": lambda m: m.run(lambda tx: tx.put("text", tx.get("number"))),
    "scoped": lambda m: m.scoped("sc").put("oped", 2),
    "typed": lambda m: m.typed(int).put("number", 5),
    "session": lambda m: m.session("s").append("message"),
}

#: What could not be one step with a check.
UNFENCED: dict[str, Write] = {
    "clear": lambda m: m.clear(),
    "delete_matching": lambda m: m.delete_matching("*"),
    "purge_expired": lambda m: m.purge_expired(),
    "policy": lambda m: m.partition("default", default_ttl=5),
    "drop_partition": lambda m: m.drop_partition("default"),
    "qtable": lambda m: m._gateway.repository.qtables,
}

ENTRIES = {"text": "x", "number": 1, "list": [1], "object": {"a": 1}}


class LeaseFences(Contract):
    """The check of the lease is part of the very batch that writes."""

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_r40_a_fenced_write_is_done_while_the_lease_stands(self, memory: Memory, write: Write) -> None:
        memory.put_many(ENTRIES)
        with memory.lease("name", LONG) as lease:
            before = snapshot(memory)
            write(memory.fenced(lease))
            assert snapshot(memory) != before
            assert memory.entry("name") == before["name"]

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_r40_a_fenced_write_changes_nothing_when_the_lease_is_lost(self, memory: Memory, write: Write) -> None:
        memory.put_many(ENTRIES)
        lease = memory.lease("name", LONG)
        assert lease.acquire()
        fenced = memory.fenced(lease)
        lease.release()
        for holder in (None, memory.lease("name", LONG)):
            if holder is not None:
                assert holder.acquire()
            before = snapshot(memory)
            with pytest.raises(LeaseLost) as caught:
                write(fenced)
            assert caught.value.name == "name"
            assert snapshot(memory) == before

    @pytest.mark.parametrize("write", UNFENCED.values(), ids=UNFENCED)
    def test_r40_what_cannot_be_fenced_is_refused(self, memory: Memory, write: Write) -> None:
        memory.put_many(ENTRIES)
        with memory.lease("name", LONG) as lease:
            before = snapshot(memory)
            with pytest.raises(PermissionDenied):
                write(memory.fenced(lease))
            assert snapshot(memory) == before

    def test_r40_a_fenced_handle_reads_as_any_other(self, memory: Memory) -> None:
        memory.put_many(ENTRIES)
        with memory.lease("name", LONG) as lease:
            fenced = memory.fenced(lease)
        assert fenced.get("number") == 1
        assert fenced.count() == len(list(fenced.keys())) == len(fenced.get_many(ENTRIES)) == len(fenced.search()) == 4
        assert fenced.stats().entries == 4
        assert fenced.check() == []
        assert fenced.session("none").messages() == []
        fenced.ping()

    def test_r40_a_step_of_a_queue_is_fenced(self, memory: Memory, harness: Harness) -> None:
        if not harness.queues:
            pytest.skip("this backend has no queues")
        with memory.lease("name", LONG) as lease:
            fenced = memory.fenced(lease)
            queue = fenced.queue("jobs")
            queue.put_many([1, 2, 3])
            (job,) = queue.claim()
            lease.renew()
            with pytest.raises(PermissionDenied):
                queue.purge()
            fenced.apply([Ack(job), Put("done", 1), Enqueue("jobs", 4)])
            (job,) = queue.claim()
        before = (queue.counts(), [item.id for item in queue.peek(10)], snapshot(memory))
        steps: list[Callable[[], Any]] = [
            lambda: queue.put(5),
            queue.claim,
            job.ack,
            lambda: fenced.apply([Ack(job), Put("done", 2)]),
        ]
        for step in steps:
            with pytest.raises(LeaseLost):
                step()
        assert (queue.counts(), [item.id for item in queue.peek(10)], snapshot(memory)) == before

    def test_r40_expectations_of_a_fenced_write_hold_too(self, memory: Memory) -> None:
        memory.put("key", 1)
        with memory.lease("name", LONG) as lease:
            with pytest.raises(VersionConflict) as caught:
                memory.put("key", 2, if_absent=True, fence=lease)
            assert caught.value.key == "key"
            with pytest.raises(VersionConflict):
                memory.fenced(lease).apply([Put("new", 1), Check("name", lease.token.version + 1)])
        assert list(memory.keys()) == ["key"]

    def test_r40_a_transaction_under_a_fence_is_run_again_after_a_conflict(self, memory: Memory) -> None:
        memory.put("n", 1)
        turns: list[int] = []

        def change(tx: Any) -> None:
            turns.append(tx.get("n"))
            if len(turns) == 1:
                memory.put("n", 10)
            tx.put("n", tx.get("n") + 1)

        with memory.lease("name", LONG) as lease:
            memory.fenced(lease).run(change)
        assert (turns, memory.get("n")) == ([1, 10], 11)

    def test_r40_a_token_survives_renewals_and_no_other_holder(self, memory: Memory) -> None:
        with memory.lease("name", LONG) as lease:
            token = lease.token
            fenced = memory.fenced(token)
            for turn in range(3):
                lease.renew()
                memory.put("key", turn, fence=token)
                fenced.increment("count")
        with memory.lease("name", LONG), pytest.raises(LeaseLost):
            fenced.increment("count")
        assert (memory.get("key"), memory.get("count")) == (2, 3)

    def test_r40_renewals_and_fenced_writes_at_the_same_time(self, memory: Memory) -> None:
        with memory.lease("name", LONG) as lease:
            token = lease.token

            def work(index: int) -> None:
                for _ in range(15):
                    if index == 0:
                        lease.renew()
                    else:
                        memory.fenced(token).increment("count")

            run_threads(3, work)
        assert memory.get("count") == 30

    def test_r40_a_token_holds_for_scoped_handles(self, memory: Memory) -> None:
        with memory.lease("name", LONG) as lease:
            memory.scoped("a/").fenced(lease).put("key", 1)
            memory.fenced(lease).scoped("a/").put("other", 2)
            stale = memory.scoped("a/").fenced(lease)
        assert {entry.key: entry.value for entry in memory.items()} == {"a/key": 1, "a/other": 2}
        with pytest.raises(LeaseLost):
            stale.put("key", 3)
        scoped = memory.scoped("a/")
        with scoped.lease("name", LONG) as inner:
            memory.put("outer", 1, fence=inner)
            assert memory.exists("a/name")
        with pytest.raises(LeaseLost) as caught:
            inner.renew()
        assert caught.value.name == "name"

    def test_r40_a_token_of_another_partition_is_refused(self, memory: Memory) -> None:
        with memory.lease("name", LONG) as lease:
            with pytest.raises(InvalidArgument):
                memory.partition("other").put("key", 1, fence=lease)
            with pytest.raises(InvalidArgument):
                memory.fenced(lease).partition("other").put("key", 1)
        assert memory.partition("other").count() == 0

    def test_r40_fences_add_up(self, memory: Memory) -> None:
        with memory.lease("a", LONG) as first, memory.lease("b", LONG) as second:
            both = memory.fenced(first).fenced(second)
            both.put("key", 1)
            first.renew()
            second.renew()
            both.put("key", 2)
            second.release()
            with pytest.raises(LeaseLost) as caught:
                both.put("key", 3)
            assert caught.value.name == "b"
        assert memory.get("key") == 2

    def test_r40_a_fenced_batch_whose_reply_was_lost_is_applied_once(self, memory: Memory) -> None:
        other, watch = watched(memory)
        with memory.lease("name", LONG) as lease:
            watch.lose = 1
            with pytest.raises(OutcomeUnknown):
                other.fenced(lease).increment("count")
        assert memory.get("count") == 1

    @pytest.mark.slow
    def test_r40_a_token_travels_to_another_process(self, memory: Memory, url: str) -> None:
        script = (
            "import base64, pickle\n"
            "token = pickle.loads(base64.b64decode(sys.argv[2]))\n"
            "try:\n"
            "    memory.fenced(token).increment('count')\n"
            "except agentmem.LeaseLost:\n"
            "    sys.exit(3)\n"
        )
        with memory.lease("name", LONG) as lease:
            token = base64.b64encode(pickle.dumps(lease.token)).decode()
            lease.renew()
            assert finish([start(url, script, token)]) == [0]
        assert finish([start(url, script, token)]) == [3]
        assert memory.get("count") == 1

    @pytest.mark.slow
    def test_r40_a_holder_that_was_stopped_is_refused(self, memory: Memory, url: str) -> None:
        script = (
            "import time\n"
            "lease = memory.lease('name', 1.5, renew=True)\n"
            "assert lease.acquire()\n"
            "memory.put('key', 'theirs', fence=lease)\n"
            "while not memory.exists('go'):\n"
            "    time.sleep(0.01)\n"
            "try:\n"
            "    memory.put('key', 'too late', fence=lease)\n"
            "except agentmem.LeaseLost:\n"
            "    assert lease.lost.wait(30) and not lease.is_held\n"
            "    sys.exit(3)\n"
        )
        holder = start(url, script)
        eventually(lambda: memory.exists("key"), timeout=60)
        holder.send_signal(signal.SIGSTOP)
        try:
            with memory.lease("name", LONG, wait=30) as lease:
                ours = memory.put("key", "ours", fence=lease)
                memory.put("go", 1)
                holder.send_signal(signal.SIGCONT)
                assert finish([holder]) == [3]
                assert memory.entry("key") == ours
                lease.renew()
        finally:
            holder.kill()
            holder.wait(30)
