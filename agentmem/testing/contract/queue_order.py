"""R37: which item comes first, and which has to wait: priorities, delays, groups, dedup keys."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.handle import repository_of
from agentmem.operations import Ack, Enqueue
from agentmem.testing.contract.queue_base import QueueContract, drained, lapse, one, values
from agentmem.testing.support import LONG, SHORT, eventually, run_threads

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class QueueOrder(QueueContract):
    """The order of claims."""

    def test_r37_the_oldest_comes_first(self, queue: Queue) -> None:
        for n in range(12):
            queue.put(n)
        assert [item.value for item in queue.peek(100)] == list(range(12))
        assert values(queue.claim(5)) == [0, 1, 2, 3, 4]
        assert values(queue.claim(7)) == [5, 6, 7, 8, 9, 10, 11]

    def test_r37_the_highest_priority_comes_first(self, queue: Queue) -> None:
        for value, priority in (("c", 0), ("e", -1), ("a", 1000), ("f", -1000), ("b", 7), ("d", 0)):
            queue.put(value, priority=priority)
        assert [item.value for item in queue.peek()] == list("abcdef")
        assert values(queue.claim(2)) == ["a", "b"]
        queue.put("late", priority=1)
        assert drained(queue) == ["late", *"cdef"]

    def test_r37_what_comes_back_takes_its_old_place(self, queue: Queue) -> None:
        queue.put_many(list("abc"))
        one(queue).nack()
        assert drained(queue) == ["a", "b", "c"]

    # Delays.

    def test_r37_a_delayed_item_is_claimed_when_its_time_has_come(self, queue: Queue) -> None:
        queue.put("late", delay=1, priority=9)
        queue.put("never", delay=LONG)
        queue.put("now")
        assert values(queue.claim(3)) == ["now"]
        assert tuple(queue.counts()) == (0, 2, 0, 1, 0)
        assert queue.peek() == []
        eventually(lambda: queue.counts().ready == 1)
        assert [item.state for item in queue.peek()] == ["ready"]
        assert drained(queue) == ["late"]

    def test_r37_a_nack_with_a_delay_waits(self, queue: Queue) -> None:
        queue.put("a")
        job = one(queue)
        job.nack(delay=LONG)
        assert queue.claim() == []
        assert tuple(queue.counts()) == (0, 1, 0, 0, 0)

    def test_r37_a_nack_with_a_short_delay_comes_back(self, queue: Queue) -> None:
        queue.put("a")
        job = one(queue)
        job.nack(delay=SHORT)
        eventually(lambda: queue.counts().ready == 1)
        again = one(queue)
        assert (again.id, again.attempts) == (job.id, 2)
        assert again.available_at > job.available_at

    # Waiting.

    def test_r37_a_waiting_claim_gets_what_is_put(self, queue: Queue) -> None:
        def work(index: int) -> list[object]:
            if index:
                return values(queue.claim(wait=30))
            time.sleep(0.1)
            queue.put("a")
            return []

        assert run_threads(2, work) == [[], ["a"]]

    def test_r37_a_waiting_claim_ends_in_time(self, queue: Queue) -> None:
        queue.put("later", delay=LONG)
        start = time.monotonic()
        assert queue.claim(wait=0.3) == []
        assert 0.3 <= time.monotonic() - start < 10

    def test_r37_a_waiting_claim_does_not_wait_for_what_is_there(self, queue: Queue) -> None:
        queue.put("a")
        start = time.monotonic()
        assert values(queue.claim(5, wait=30)) == ["a"]
        assert time.monotonic() - start < 15

    def test_r37_a_waiting_claim_sees_what_becomes_ready_by_time(self, queue: Queue) -> None:
        queue.put("delayed", delay=0.3)
        assert values(queue.claim(wait=30, lease=0.3)) == ["delayed"]
        assert values(queue.claim(wait=30)) == ["delayed"]

    def test_r37_a_waiting_claim_does_not_poll(
        self, memory: Memory, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind = type(repository_of(memory).queues)
        exchange, calls = kind.exchange, []

        def counted(self: Any, partition: str, step: Any) -> Any:
            calls.append(step)
            return exchange(self, partition, step)

        monkeypatch.setattr(kind, "exchange", counted)
        assert queue.claim(wait=1.0) == []
        assert len(calls) <= 6

    def test_r37_a_waiting_claim_holds_no_connection(self, harness: Harness, queue: Queue) -> None:
        with harness.connect(pool_size=1, pool_timeout=5) as memory:
            mine = memory.queue("waiting")

            def work(index: int) -> list[object]:
                if index:
                    return values(mine.claim(wait=30))
                for n in range(20):
                    memory.put("key", n)
                mine.put_many(list("abc"))
                return []

            assert sorted(str(value) for found in run_threads(4, work) for value in found) == ["a", "b", "c"]

    # Groups.

    def test_r37_a_group_is_worked_on_one_after_the_other(self, queue: Queue) -> None:
        for n in range(3):
            queue.put(f"a{n}", group="a", priority=n)
            queue.put(f"b{n}", group="b")
        queue.put("alone")
        assert tuple(queue.counts()) == (3, 0, 4, 0, 0)
        first = queue.claim(10)
        assert values(first) == ["a0", "b0", "alone"]
        assert queue.claim(10) == []
        first[1].ack()
        assert values(queue.claim(10)) == ["b1"]
        first[0].ack()
        assert values(queue.claim(10)) == ["a1"]

    def test_r37_the_next_of_a_group_is_claimed_with_the_ack_of_the_one_before(self, queue: Queue) -> None:
        for n in range(4):
            queue.put(n, group="g")
        job = one(queue)
        for n in range(1, 4):
            [job] = queue.ack_and_claim([job], 10)
            assert job.value == n
        assert queue.ack_and_claim([job], 10) == []

    def test_r37_a_nack_keeps_the_group_waiting(self, queue: Queue) -> None:
        queue.put("first", group="g")
        queue.put("second", group="g")
        one(queue).nack()
        job = one(queue)
        assert job.value == "first"
        job.nack(delay=LONG)
        assert queue.claim(10) == []
        assert tuple(queue.counts()) == (0, 1, 1, 0, 0)

    def test_r37_a_lease_that_ends_keeps_the_order_of_its_group(self, queue: Queue) -> None:
        queue.put("first", group="g")
        queue.put("second", group="g")
        lapse(queue)
        assert tuple(queue.counts()) == (1, 0, 1, 0, 0)
        assert drained(queue) == ["first", "second"]

    def test_r37_a_delayed_item_keeps_its_group_waiting(self, queue: Queue) -> None:
        queue.put("first", group="g", delay=1)
        queue.put("second", group="g", delay=LONG)
        queue.put("third", group="g")
        assert tuple(queue.counts()) == (0, 1, 2, 0, 0)
        eventually(lambda: queue.counts().ready == 1)
        one(queue).ack()
        assert tuple(queue.counts()) == (0, 1, 1, 0, 0)

    def test_r37_a_dead_item_lets_its_group_go_on(self, memory: Memory, queue: Queue) -> None:
        mortal = memory.queue("jobs", max_attempts=1)
        mortal.put("buried", group="g")
        mortal.put("crashed", group="g")
        queue.put("last", group="g")
        one(queue).bury()
        [crashed] = lapse(queue)
        assert crashed.value == "crashed"
        assert tuple(queue.counts()) == (1, 0, 0, 0, 2)
        assert drained(queue) == ["last"]

    def test_r37_a_redriven_item_takes_its_place_in_its_group(self, queue: Queue) -> None:
        for value in ("first", "second", "third"):
            queue.put(value, group="g")
        one(queue).bury()
        second = one(queue)
        assert queue.redrive() == 1
        assert tuple(queue.counts()) == (0, 0, 2, 1, 0)
        second.nack()
        assert [item.value for item in queue.peek()] == ["first"]
        assert drained(queue) == ["first", "second", "third"]

    def test_r37_a_redriven_item_waits_for_the_one_that_is_leased(self, queue: Queue) -> None:
        for value in ("first", "second", "third"):
            queue.put(value, group="g")
        one(queue).bury()
        lapse(queue)
        assert queue.redrive() == 1
        assert [item.value for item in queue.peek()] == ["first"]
        first = one(queue)
        assert (first.value, queue.claim(10)) == ("first", [])
        first.ack()
        assert drained(queue) == ["second", "third"]

    def test_r37_threads_never_hold_two_of_a_group(self, queue: Queue) -> None:
        groups = ("a", "b", "c")
        for n in range(60):
            queue.put(n, group=groups[n % 3])
        held = dict.fromkeys(groups, 0)
        seen: dict[str, list[int]] = {group: [] for group in groups}
        lock = threading.Lock()

        def work(_: int) -> None:
            while sum(queue.counts()):
                for job in queue.claim(2):
                    group = str(job.group)
                    with lock:
                        held[group] += 1
                        assert held[group] == 1
                        seen[group].append(job.value)
                    time.sleep(0.001)
                    with lock:
                        held[group] -= 1
                    job.ack()

        run_threads(5, work)
        assert seen == {group: list(range(index, 60, 3)) for index, group in enumerate(groups)}

    # Dedup keys.

    def test_r37_a_dedup_key_is_in_the_queue_once(self, queue: Queue) -> None:
        first = queue.put("a", dedup_key="k")
        again = queue.put("b", dedup_key="k", priority=9, delay=LONG)
        assert (first.created, again) == (True, (first.id, False))
        assert [(item.value, item.priority) for item in queue.peek()] == [("a", 0)]
        assert queue.put("c", dedup_key="other").created
        assert sum(queue.counts()) == 2

    @pytest.mark.parametrize("state", ["ready", "delayed", "blocked", "leased"])
    def test_r37_a_dedup_key_holds_while_its_item_lives(self, queue: Queue, state: str) -> None:
        queue.put("head", group="g", priority=-1)
        first = queue.put(
            "a", dedup_key="k", delay=LONG if state == "delayed" else 0, group="g" if state == "blocked" else None
        )
        if state == "leased":
            assert one(queue).id == first.id
        assert getattr(queue.counts(), state) == 1 + (state == "ready")
        assert queue.put("b", dedup_key="k") == (first.id, False)

    @pytest.mark.parametrize("end", ["ack", "bury", "crash", "purge"])
    def test_r37_a_dedup_key_is_free_when_its_item_is_gone_or_dead(
        self, memory: Memory, queue: Queue, end: str
    ) -> None:
        mortal = memory.queue("jobs", max_attempts=1)
        first = mortal.put("a", dedup_key="k")
        if end == "crash":
            lapse(queue)
        elif end == "purge":
            queue.purge()
        else:
            getattr(one(queue), end)()
        second = queue.put("b", dedup_key="k")
        assert second.created
        assert second.id > first.id
        assert drained(queue) == ["b"]

    def test_r37_a_dedup_key_twice_in_one_step(self, memory: Memory, queue: Queue) -> None:
        puts = queue.put_many(list("abc"), dedup_key="k")
        assert [queued.created for queued in puts] == [True, False, False]
        assert {queued.id for queued in puts} == {puts[0].id}
        job = one(queue)
        results = memory.apply([Enqueue("jobs", "next", dedup_key="k"), Ack(job)])
        assert results[0].value.created
        assert drained(queue) == ["next"]

    def test_r37_dedup_keys_and_groups_are_of_one_queue(self, memory: Memory, queue: Queue) -> None:
        for name in ("jobs", "other", "jobs/sub"):
            assert memory.queue(name).put(name, dedup_key="k", group="g").created
        for name in ("jobs", "other", "jobs/sub"):
            assert drained(memory.queue(name)) == [name]

    def test_r37_threads_that_put_one_dedup_key_put_one_item(self, queue: Queue) -> None:
        answers = run_threads(8, lambda index: [queue.put(index, dedup_key=f"k{n}") for n in range(5)])
        for n in range(5):
            assert len({answer[n].id for answer in answers}) == 1
            assert sum(answer[n].created for answer in answers) == 1
        assert queue.counts().ready == 5
