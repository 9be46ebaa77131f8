"""R38: attempts are counted at the claim, so that a crash loop ends among the dead letters; redrive and purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.errors import LeaseLost
from agentmem.testing.contract.queue_base import QueueContract, drained, lapse, one
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory


class QueueAttempts(QueueContract):
    """Attempts, dead letters, redrive and purge."""

    def test_r38_pitfall_a_crash_loop_reaches_the_dead_letters(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=3).put("poison")
        attempts = [lapse(queue)[0].attempts for _ in range(3)]
        assert attempts == [1, 2, 3]
        assert queue.claim() == queue.peek() == []
        assert tuple(queue.counts()) == (0, 0, 0, 0, 1)
        [dead] = queue.dead()
        assert (dead.value, dead.state, dead.attempts, dead.max_attempts, dead.error) == ("poison", "dead", 3, 3, None)

    def test_r38_a_last_attempt_that_is_acked_is_done(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=1).put("a")
        one(queue).ack()
        assert sum(queue.counts()) == 0

    def test_r38_a_last_attempt_can_be_extended(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=1).put("a")
        job = one(queue)
        job.extend(lease=60)
        assert tuple(queue.counts()) == (0, 0, 0, 1, 0)
        job.ack()

    def test_r38_failures_reach_the_dead_letters_with_their_last_error(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=2).put("a")
        one(queue).nack(error="first")
        job = one(queue)
        assert job.error == "first"
        job.nack(delay=3600, error=LookupError("second"))
        assert queue.claim() == []
        assert [(item.error, item.attempts, item.state) for item in queue.dead()] == [
            ("LookupError: second", 2, "dead")
        ]

    def test_r38_without_a_limit_nothing_dies(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=None).put("a")
        for attempt in range(1, 13):
            job = one(queue)
            assert (job.attempts, job.max_attempts) == (attempt, None)
            job.nack()
        assert queue.counts().ready == 1

    def test_r38_the_limit_is_the_items_not_the_workers(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=1).put("once")
        memory.queue("jobs", max_attempts=9).put("often")
        queue.nack(*queue.claim(2))
        assert [item.value for item in queue.peek()] == ["often"]
        assert [item.value for item in queue.dead()] == ["once"]

    def test_r38_a_buried_item_is_dead_at_once(self, queue: Queue) -> None:
        queue.put_many(list("ab"))
        queue.bury(*queue.claim(2), error="hopeless")
        assert queue.claim(2) == []
        assert [(item.value, item.error, item.attempts) for item in queue.dead()] == [
            ("a", "hopeless", 1), ("b", "hopeless", 1),
        ]  # fmt: skip
        assert queue.counts().dead == 2

    @pytest.mark.parametrize(
        ("error", "kept"),
        [
            (None, None),
            ("", ""),
            ("é😀 'quoted' %s {}", "é😀 'quoted' %s {}"),
            ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
            ("x\ud800y", "x?y"),
            ("é" * 3000, "é" * 2048),
            (ValueError("no"), "ValueError: no"),
            (42, "42"),
        ],
    )
    def test_r38_errors_are_kept_for_people(self, queue: Queue, error: object, kept: str | None) -> None:
        queue.put("a")
        one(queue).nack(error=error)
        assert queue.peek()[0].error == kept
        one(queue).bury(error=error)
        assert queue.dead()[0].error == kept

    def test_r38_dead_letters_come_in_the_order_of_putting(self, queue: Queue) -> None:
        for n in range(6):
            queue.put(n, priority=n)
        queue.bury(*queue.claim(6))
        assert [item.value for item in queue.dead(4)] == [0, 1, 2, 3]

    def test_r38_a_redrive_gives_another_chance(self, memory: Memory, queue: Queue) -> None:
        memory.queue("jobs", max_attempts=1).put("a", priority=5)
        job = one(queue)
        job.nack(error="no")
        assert queue.redrive() == 1
        [item] = queue.peek()
        assert (item.id, item.attempts, item.priority, item.error, item.state) == (job.id, 0, 5, "no", "ready")
        assert item.available_at > job.available_at
        again = one(queue)
        assert again.attempts == 1
        assert again.fence > job.fence
        again.ack()

    def test_r38_a_redrive_takes_the_oldest_first(self, queue: Queue) -> None:
        queue.put_many(range(5))
        queue.bury(*queue.claim(5))
        assert queue.redrive(2) == 2
        assert [item.value for item in queue.dead()] == [2, 3, 4]
        assert [item.value for item in queue.peek()] == [0, 1]
        assert (queue.redrive(9), queue.redrive(9)) == (3, 0)
        assert tuple(queue.counts()) == (5, 0, 0, 0, 0)

    def test_r38_a_dedup_key_that_was_taken_meanwhile_stays_dead(self, queue: Queue) -> None:
        for value in ("taken", "twice", "twice again"):
            queue.put(value, dedup_key=value.split()[0])
            one(queue).bury()
        queue.put("free")
        one(queue).bury()
        queue.put("new", dedup_key="taken")
        assert queue.redrive(2) == 2
        assert [item.value for item in queue.peek()] == ["twice", "free", "new"]
        assert [item.value for item in queue.dead()] == ["taken", "twice again"]
        assert queue.redrive() == 0
        assert queue.put("other", dedup_key="twice").created is False

    def test_r38_a_redriven_item_holds_its_dedup_key_again(self, queue: Queue) -> None:
        first = queue.put("a", dedup_key="k")
        one(queue).bury()
        assert queue.redrive() == 1
        assert queue.put("b", dedup_key="k") == (first.id, False)

    def test_r38_a_large_redrive_goes_through_all(self, queue: Queue) -> None:
        queue.put_many(range(1200))
        while jobs := queue.claim(1000):
            queue.bury(*jobs)
        assert queue.counts().dead == 1200
        assert queue.redrive(1100) == 1100
        assert queue.redrive() == 100
        assert queue.counts().ready == 1200

    def test_r38_a_purge_of_the_dead_leaves_the_living(self, queue: Queue) -> None:
        queue.put_many(range(6))
        queue.bury(*queue.claim(2))
        job = one(queue)
        queue.put("late", delay=60)
        assert queue.purge(dead=True) == 2
        assert tuple(queue.counts()) == (3, 1, 0, 1, 0)
        job.ack()

    def test_r38_a_purge_takes_everything_and_every_lease(self, memory: Memory, queue: Queue) -> None:
        for n in range(8):
            queue.put(n, group="g" if n % 2 else None, dedup_key=str(n), delay=0 if n < 6 else 60)
        jobs = queue.claim(2)
        one(queue).bury()
        assert queue.purge() == 8
        assert tuple(queue.counts()) == (0, 0, 0, 0, 0)
        assert (memory.queues(), queue.dead()) == ([], [])
        with pytest.raises(LeaseLost) as caught:
            queue.ack(*jobs)
        assert set(caught.value.items) == {job.id for job in jobs}
        assert queue.put("new", dedup_key="1", group="g").created
        assert drained(queue) == ["new"]

    def test_r38_a_purge_works_on_any_number(self, queue: Queue) -> None:
        queue.put_many(range(2500))
        assert queue.purge() == 2500
        assert queue.put("a").created

    def test_r38_what_died_by_time_can_be_redriven_and_purged(self, memory: Memory, queue: Queue) -> None:
        mortal = memory.queue("jobs", max_attempts=1)
        mortal.put_many(list("ab"))
        lapse(queue, 2)
        eventually(lambda: queue.counts().dead == 2)
        assert queue.redrive(1) == 1
        assert queue.purge(dead=True) == 1
        assert drained(queue) == ["a"]
