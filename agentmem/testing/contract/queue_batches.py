"""R39: what queues do is part of batches and transactions: all of it happens, or nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentmem import queue_port
from agentmem.commands import CheckCommand, PutCommand
from agentmem.errors import (
    InvalidOperation,
    InvalidValue,
    LeaseLost,
    VersionConflict,
)
from agentmem.handle import repository_of
from agentmem.jobs import Queued
from agentmem.operations import Ack, Check, Enqueue, Increment, Nack, Operation, Put
from agentmem.queue_port import Claim, Exchange, NewItem, Settle
from agentmem.testing.contract.queue_base import QueueContract, drained, lapse, one, values
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory


class QueueBatches(QueueContract):
    """Steps of several parts."""

    # Several in one step.

    def test_r39_put_many_is_one_step(self, queue: Queue) -> None:
        puts = queue.put_many(range(3000))
        assert [queued.id for queued in puts] == sorted({queued.id for queued in puts})
        assert queue.counts().ready == 3000
        with pytest.raises(InvalidValue):
            queue.put_many([1, {2}, 3])
        assert queue.counts().ready == 3000
        assert values(queue.claim(1000)) == list(range(1000))

    @pytest.mark.slow
    def test_r39_a_step_of_20_000_items(self, queue: Queue) -> None:
        puts = queue.put_many(range(20_000), dedup_key=None)
        assert len({queued.id for queued in puts}) == 20_000
        jobs = [job for _ in range(20) for job in queue.claim(1000)]
        assert values(jobs) == list(range(20_000))
        queue.extend(*jobs)
        queue.ack(*jobs)
        assert sum(queue.counts()) == 0

    def test_r39_ack_and_claim_is_one_step(self, queue: Queue) -> None:
        queue.put_many(range(5))
        jobs = queue.claim(2)
        more = queue.ack_and_claim(jobs, 2, request_id="r")
        assert values(more) == [2, 3]
        assert all(job.is_settled for job in jobs)
        with pytest.raises(LeaseLost):
            queue.ack_and_claim([more[0], jobs[0]], 2)
        assert tuple(queue.counts()) == (1, 0, 0, 2, 0)
        assert values(queue.claim(2, request_id="r")) == [2, 3]
        assert values(queue.ack_and_claim([], 9)) == [4]

    def test_r39_the_order_within_a_step(self, memory: Memory, queue: Queue) -> None:
        queue.put("first", group="g", dedup_key="k")
        job = one(queue)
        store = repository_of(memory).queues
        step = Exchange(
            [Settle("jobs", job.id, job.fence, "ack")],
            [queue_port.Put("jobs", NewItem('"second"', group="g", dedup_key="k")), queue_port.Put("x", NewItem("1"))],
            Claim("jobs", 5, 60_000, "r"),
            [PutCommand("key", "1"), CheckCommand("absent", None)],
        )
        done = store.exchange("default", step)
        assert [put.created for put in done.puts] == [True, True]
        assert [(item.id, item.body) for item in done.items] == [(done.puts[0].id, '"second"')]
        assert (len(done.outcomes), list(done.ends)) == (2, [])
        assert (memory.get("key"), memory.queues()) == (1, ["jobs", "x"])

    @pytest.mark.parametrize("flaw", ["lease", "check"])
    def test_r39_a_step_that_fails_leaves_nothing(self, memory: Memory, queue: Queue, flaw: str) -> None:
        queue.put_many(list("ab"), group="g")
        job = one(queue)
        fence = job.fence + (flaw == "lease")
        step = Exchange(
            [Settle("jobs", job.id, fence, "nack", 0, "no")],
            [queue_port.Put("jobs", NewItem("1")), queue_port.Put("new", NewItem("1"))],
            Claim("jobs", 5, 60_000, "r"),
            [CheckCommand("key", 7 if flaw == "check" else None), PutCommand("key", "1")],
        )
        with pytest.raises(LeaseLost if flaw == "lease" else VersionConflict):
            repository_of(memory).queues.exchange("default", step)
        assert (memory.get("key"), memory.queues()) == (None, ["jobs"])
        assert tuple(queue.counts()) == (0, 0, 1, 1, 0)
        job.ack()
        assert drained(queue) == ["b"]

    # Batches and transactions.

    def test_r39_a_batch_holds_queues_and_entries(self, memory: Memory, queue: Queue) -> None:
        queue.put_many(list("ab"))
        done, failed = queue.claim(2)
        results = memory.apply(
            [
                Enqueue("next", {"n": 1}, priority=4, group="g", dedup_key="k", max_attempts=2),
                Put("result", 1),
                Ack(done),
                Enqueue("next", 2, dedup_key="k"),
                Increment("count"),
                Nack(failed, delay=60, error="later"),
            ]
        )
        assert [result.key for result in results] == ["next", "result", "jobs", "next", "count", "jobs"]
        first = results[0].value
        assert isinstance(first, Queued)
        assert (results[3].value, results[2].value, results[5].value) == (Queued(first.id, created=False), None, None)
        assert (results[1].entry, results[4].value) == (memory.entry("result"), 1)
        assert (done.is_settled, failed.is_settled) == (True, True)
        assert tuple(queue.counts()) == (0, 1, 0, 0, 0)
        job = one(memory.queue("next"))
        assert (job.value, job.priority, job.group, job.max_attempts) == ({"n": 1}, 4, "g", 2)

    @pytest.mark.parametrize(
        ("failing", "error"),
        [
            (Check("absent", 7), VersionConflict),
            (Put("text", 1, if_absent=True), VersionConflict),
            (Increment("text"), InvalidOperation),
        ],
        ids=repr,
    )
    def test_r39_a_batch_that_fails_leaves_the_queue_alone(
        self, memory: Memory, queue: Queue, failing: Operation, error: type[Exception]
    ) -> None:
        memory.put("text", "x")
        queue.put_many(list("ab"))
        job = one(queue)
        with pytest.raises(error):
            memory.apply([Put("new", 1), Ack(job), Enqueue("jobs", 1), Enqueue("other", 1), failing])
        assert (memory.exists("new"), memory.queues(), job.is_settled) == (False, ["jobs"], False)
        assert tuple(queue.counts()) == (1, 0, 0, 1, 0)
        job.ack()

    def test_r39_a_lost_lease_leaves_the_entries_alone(self, memory: Memory, queue: Queue) -> None:
        queue.put("a")
        [lost] = lapse(queue)
        with pytest.raises(LeaseLost) as caught:
            memory.apply([Put("result", 1), Enqueue("next", 1), Ack(lost)])
        assert caught.value.items == (lost.id,)
        assert lost.is_lost
        with pytest.raises(LeaseLost), memory.transaction() as tx:  # noqa: PT012 - the end of the block raises
            tx.put("result", 1)
            tx.ack(lost)
        assert (memory.exists("result"), memory.queues()) == (False, ["jobs"])

    def test_r39_a_transaction_holds_queues(self, memory: Memory, queue: Queue) -> None:
        queue.put_many(list("abc"))
        done, failed = queue.claim(2)
        with memory.transaction() as tx:
            tx.put("seen", tx.get("seen", 0) + 1)
            tx.ack(done)
            tx.enqueue("next", "x", priority=1)
            tx.nack(failed, error="no")
            assert tuple(queue.counts()) == (1, 0, 0, 2, 0)
        assert [result.key for result in tx.results] == ["seen", "jobs", "next", "jobs"]
        assert tx.results[2].value.created
        assert (memory.get("seen"), drained(memory.queue("next"))) == (1, ["x"])
        assert [item.error for item in queue.peek()] == ["no", None]

    def test_r39_a_transaction_that_conflicts_or_raises_does_nothing(self, memory: Memory, queue: Queue) -> None:
        queue.put("a")
        job = one(queue)
        with pytest.raises(VersionConflict), memory.transaction() as tx:  # noqa: PT012 - the end of the block raises
            tx.put("key", tx.get("key", 0) + 1)
            tx.enqueue("jobs", "b")
            tx.ack(job)
            memory.put("key", 7)
        with pytest.raises(LookupError), memory.transaction() as tx:  # noqa: PT012 - the block is what raises
            tx.ack(job)
            raise LookupError
        assert (tuple(queue.counts()), job.is_settled) == ((0, 0, 0, 1, 0), False)
        job.ack()

    def test_r39_run_enqueues_once_however_often_it_tries(self, memory: Memory, queue: Queue) -> None:
        def add(tx: Any) -> None:
            count = tx.get("count", 0)
            tx.put("count", count + 1)
            tx.enqueue("jobs", count)

        run_threads(4, lambda _: [memory.run(add, attempts=100) for _ in range(5)])
        assert sorted(drained(queue)) == list(range(20))  # type: ignore[type-var]

    def test_r39_who_claims_finds_what_was_stored_with_it(self, memory: Memory, queue: Queue) -> None:
        done = threading.Event()

        def work(index: int) -> int:
            if index == 0:
                for n in range(40):
                    memory.apply([Enqueue("jobs", n), Put(f"input/{n}", n)])
                done.set()
                return 0
            found = 0
            while not done.is_set() or queue.counts().ready:
                for job in queue.claim(3):
                    assert memory.get(f"input/{job.value}") == job.value
                    memory.apply([Ack(job), Increment(f"output/{job.value}")])
                    found += 1
            return found

        assert sum(run_threads(4, work)) == 40
        assert {memory.get(f"output/{n}") for n in range(40)} == {1}
