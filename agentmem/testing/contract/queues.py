"""R36: an item is one holder's at a time; what is decided about it carries a fence, and is refused without a lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from agentmem.codecs import TypeCodec
from agentmem.errors import LeaseLost
from agentmem.handle import repository_of
from agentmem.testing.contract.queue_base import QueueContract, drained, lapse, one, values
from agentmem.testing.support import SHORT, eventually, exactly, run_threads

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.jobs import Job
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

#: What can be decided about a job.
VERBS: dict[str, Callable[[Job], None]] = {
    "ack": lambda job: job.ack(),
    "nack": lambda job: job.nack(delay=60, error="no"),
    "extend": lambda job: job.extend(lease=60),
    "bury": lambda job: job.bury(error="no"),
}

VALUES: list[Any] = [
    None,
    True,
    0,
    -0.0,
    1e22,
    2**70,
    1757000000123456,
    "",
    "é\u0000😀",
    [],
    {},
    [[], {"b": 1, "a": {}}],
    "x" * 20_000,
]


class Queues(QueueContract):
    """One item, one holder, one end."""

    def test_r36_a_queue_that_is_not_there_is_empty(self, memory: Memory, queue: Queue) -> None:
        assert [queue.claim(5), queue.peek(), queue.dead(), memory.queues()] == [[]] * 4
        assert tuple(queue.counts()) == (0, 0, 0, 0, 0)
        assert (queue.redrive(), queue.purge(), queue.purge(dead=True)) == (0, 0, 0)
        queue.ack()
        assert queue.put_many([]) == []

    def test_r36_what_is_put_is_what_is_claimed(self, queue: Queue) -> None:
        queue.put_many(VALUES)
        jobs = queue.claim(100)
        assert [exactly(job.value) for job in jobs] == [exactly(value) for value in VALUES]
        queue.ack(*jobs)
        assert tuple(queue.counts()) == (0, 0, 0, 0, 0)

    def test_r36_values_pass_the_codec(self, harness: Harness, queue: Queue) -> None:
        with harness.connect(codec=TypeCodec()) as memory:
            mine = memory.queue("typed")
            mine.put({"id": UUID(int=7)})
            assert one(mine).value == {"id": UUID(int=7)}

    def test_r36_a_job_tells_what_is_known_of_it(self, memory: Memory, queue: Queue) -> None:
        before = repository_of(memory).server_time()
        queued = queue.put({"n": 1}, priority=3, group="g", dedup_key="d")
        [job] = queue.claim(lease=60)
        after = repository_of(memory).server_time()
        assert queued.created
        assert (job.queue, job.id, job.state, job.priority, job.group, job.dedup_key) == (
            "jobs", queued.id, "leased", 3, "g", "d",
        )  # fmt: skip
        assert (job.attempts, job.max_attempts, job.error, job.is_lost, job.is_settled) == (1, 5, None, False, False)
        tolerance = timedelta(milliseconds=2)
        assert before - tolerance <= job.enqueued_at <= job.available_at <= after + tolerance
        assert before - tolerance <= job.leased_until - timedelta(seconds=60) <= after + tolerance
        assert {time.tzinfo for time in (job.enqueued_at, job.available_at, job.leased_until)} == {UTC}

    def test_r36_ids_rise_and_are_never_used_again(self, queue: Queue) -> None:
        first = [queue.put(n).id for n in range(3)] + [queued.id for queued in queue.put_many(range(3))]
        assert first == sorted(set(first))
        assert first[0] > 0
        queue.ack(*queue.claim(6))
        queue.put(1)
        assert queue.purge() == 1
        again = queue.put(2).id
        assert again > first[-1] + 1

    def test_r36_a_claimed_item_is_nobody_elses(self, queue: Queue) -> None:
        queue.put_many(list("abc"))
        assert values(queue.claim(2)) == ["a", "b"]
        assert values(queue.claim(2)) == ["c"]
        assert queue.claim(2) == queue.peek() == []
        assert queue.counts().leased == 3

    def test_r36_a_claim_never_gives_more_than_its_limit(self, queue: Queue) -> None:
        queue.put_many(range(30))
        sizes = run_threads(6, lambda index: len(queue.claim(index + 1)))
        assert sizes == [1, 2, 3, 4, 5, 6]
        assert tuple(queue.counts()) == (9, 0, 0, 21, 0)

    def test_r36_a_nack_gives_it_back(self, queue: Queue) -> None:
        queue.put("a")
        first = one(queue)
        first.nack(error="try again")
        assert [(item.value, item.state, item.error) for item in queue.peek()] == [("a", "ready", "try again")]
        second = one(queue)
        assert (second.id, second.attempts, second.error) == (first.id, 2, "try again")
        assert second.fence > first.fence

    def test_r36_a_lease_that_ends_gives_it_back_by_itself(self, queue: Queue) -> None:
        queue.put("a")
        [first] = lapse(queue)
        assert [(item.state, item.attempts) for item in queue.peek()] == [("ready", 1)]
        second = one(queue)
        assert (second.id, second.attempts, second.is_lost) == (first.id, 2, False)
        assert second.fence > first.fence

    def test_r36_extend_moves_the_end_of_the_lease(self, queue: Queue) -> None:
        queue.put_many(list("ab"))
        jobs = queue.claim(2, lease=1)
        before = [job.leased_until for job in jobs]
        queue.extend(*jobs, lease=3600)
        assert all(job.leased_until > end + timedelta(seconds=3000) for job, end in zip(jobs, before, strict=True))
        time.sleep(1.05)
        assert queue.claim(2) == []
        queue.ack(*jobs)

    def test_r36_extend_may_shorten_a_lease(self, queue: Queue) -> None:
        queue.put("a")
        job = one(queue)
        job.extend(lease=SHORT)
        eventually(lambda: queue.counts().ready == 1)
        with pytest.raises(LeaseLost):
            job.extend()
        assert job.is_lost

    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    def test_r36_pitfall_a_zombie_changes_nothing(self, queue: Queue, verb: Callable[[Job], None]) -> None:
        queue.put("a")
        [zombie] = lapse(queue)
        holder = one(queue)
        with pytest.raises(LeaseLost) as caught:
            verb(zombie)
        assert (caught.value.name, caught.value.items) == ("jobs", (zombie.id,))
        assert zombie.is_lost
        assert tuple(queue.counts()) == (0, 0, 0, 1, 0)
        holder.extend()
        holder.ack()
        assert queue.purge() == 0

    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    def test_r36_a_lease_that_ended_is_lost_even_if_nobody_came(
        self, queue: Queue, verb: Callable[[Job], None]
    ) -> None:
        queue.put("a")
        [late] = lapse(queue)
        before = queue.peek()[0]
        with pytest.raises(LeaseLost):
            verb(late)
        [after] = queue.peek()
        assert (after.id, after.attempts, after.error) == (before.id, before.attempts, before.error)
        assert after.available_at == before.available_at

    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    @pytest.mark.parametrize("first", ["ack", "nack", "bury"])
    def test_r36_what_was_settled_is_settled(self, queue: Queue, first: str, verb: Callable[[Job], None]) -> None:
        queue.put("a")
        job = one(queue)
        VERBS[first](job)
        before = queue.counts()
        assert (job.is_settled, job.is_lost) == (True, False)
        with pytest.raises(LeaseLost):
            verb(job)
        assert queue.counts() == before

    def test_r36_several_are_settled_all_or_none(self, queue: Queue) -> None:
        queue.put_many(list("abcd"))
        lost = lapse(queue, 2)
        held = queue.claim(2, request_id="again")
        kept = queue.claim(2)
        with pytest.raises(LeaseLost) as caught:
            queue.ack(*kept, *lost)
        assert caught.value.items == tuple(job.id for job in lost)
        assert [job.is_lost for job in (*kept, *lost)] == [False, False, True, True]
        assert queue.counts().leased == 4
        queue.ack(*kept)
        queue.nack(*held)
        assert drained(queue) == ["a", "b"]

    def test_r36_the_fence_is_never_reset(self, queue: Queue) -> None:
        queue.put("a")
        fences = [0]
        for turn in range(4):
            job = one(queue)
            fences.append(job.fence)
            if turn % 2:
                job.bury()
                assert queue.redrive() == 1
            else:
                job.nack()
        assert fences == sorted(set(fences))

    def test_r36_peek_leases_nothing(self, queue: Queue) -> None:
        queue.put_many(range(5))
        assert [item.value for item in queue.peek(3)] == [0, 1, 2]
        assert [item.value for item in queue.peek(3)] == [0, 1, 2]
        assert {(item.state, item.attempts) for item in queue.peek()} == {("ready", 0)}
        assert tuple(queue.counts()) == (5, 0, 0, 0, 0)

    def test_r36_each_value_is_the_callers_own(self, queue: Queue) -> None:
        value = {"list": [1]}
        queue.put(value)
        value["list"].append(2)
        job = one(queue)
        job.value["list"].append(3)
        job.nack()
        assert one(queue).value == {"list": [1]}
