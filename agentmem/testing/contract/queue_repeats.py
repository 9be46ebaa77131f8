"""R39, R18: a claim whose reply was lost can be repeated, and is; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.errors import LeaseLost, OutcomeUnknown, PoolTimeout, Unavailable
from agentmem.operations import Enqueue, Put
from agentmem.queue_port import Exchange, Exchanged
from agentmem.testing.contract.queue_base import QueueContract, one, values
from agentmem.testing.contract.untouchable import untouchable
from agentmem.testing.support import SHORT, eventually

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory

LOST_REPLIES: list[Exception] = [OutcomeUnknown("the reply was lost"), Unavailable("the server is away")]
FINAL: list[Exception] = [PoolTimeout("no connection"), Unavailable("for good", retryable=False)]


def failing(*errors: Exception) -> tuple[Any, list[Exchange]]:
    """A repository whose queues raise these errors, one at each exchange, and then answer with nothing."""
    repository: Any = untouchable()
    calls: list[Exchange] = []
    left = list(errors)

    class Queues:
        def exchange(self, partition: str, step: Exchange) -> Exchanged:
            calls.append(step)
            if left:
                raise left.pop(0)
            return Exchanged([], [], [])

    type(repository).queues = Queues()
    return repository, calls


#: What could be applied twice, or would be refused the second time.
ONCE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "put": lambda queue, memory, job: queue.put("a"),
    "ack": lambda queue, memory, job: queue.ack(job),
    "nack": lambda queue, memory, job: queue.nack(job),
    "extend": lambda queue, memory, job: queue.extend(job),
    "ack_and_claim": lambda queue, memory, job: queue.ack_and_claim([job], 1),
    "apply": lambda queue, memory, job: memory.apply([Put("k", 1), Enqueue("jobs", 1)]),
}


class QueueRepeats(QueueContract):
    """Request ids."""

    def test_r39_a_claim_repeated_gives_the_same_items(self, queue: Queue) -> None:
        queue.put_many(range(6))
        first = queue.claim(3, request_id="r")
        again = queue.claim(5, request_id="r", lease=1)
        assert values(again) == [0, 1, 2]
        for mine, other in zip(first, again, strict=True):
            assert (mine.id, mine.fence, mine.attempts, mine.leased_until) == (
                other.id, other.fence, other.attempts, other.leased_until,
            )  # fmt: skip
        assert values(queue.claim(2, request_id="s")) == [3, 4]
        queue.ack(*again)
        with pytest.raises(LeaseLost):
            queue.ack(*first)

    def test_r39_a_claim_repeated_gives_what_is_left_of_it(self, queue: Queue) -> None:
        queue.put_many(range(6))
        jobs = queue.claim(4, request_id="r")
        jobs[0].ack()
        jobs[1].nack()
        jobs[2].extend(lease=7200)
        again = queue.claim(4, request_id="r")
        assert values(again) == [2, 3]
        assert [job.leased_until for job in again] == [job.leased_until for job in jobs[2:]]
        queue.ack(*again)
        assert values(queue.claim(2, request_id="r")) == [1, 4]

    def test_r39_a_claim_whose_leases_ended_is_a_new_one(self, queue: Queue) -> None:
        queue.put_many(range(2))
        first = queue.claim(1, request_id="r", lease=SHORT)
        eventually(lambda: queue.counts().ready == 2)
        again = queue.claim(2, request_id="r")
        assert values(again) == [0, 1]
        assert [job.attempts for job in again] == [2, 1]
        assert again[0].fence > first[0].fence

    def test_r39_request_ids_are_of_one_queue_and_one_partition(self, memory: Memory, queue: Queue) -> None:
        others = [memory.queue("other"), memory.partition("other").queue("jobs")]
        for each in (queue, *others):
            each.put_many(list("ab"))
            assert values(each.claim(request_id="é:{r}")) == ["a"]
        for each in (queue, *others):
            assert values(each.claim(2, request_id="é:{r}")) == ["a"]

    def test_r39_a_claim_that_gave_nothing_claims_when_repeated(self, queue: Queue) -> None:
        assert queue.claim(request_id="r") == []
        queue.put("a")
        assert values(queue.claim(request_id="r")) == ["a"]

    @pytest.mark.parametrize("error", LOST_REPLIES, ids=repr)
    def test_r18_a_claim_whose_reply_is_lost_is_repeated_once(self, error: Exception) -> None:
        repository, calls = failing(error)
        with agentmem.connect(repository) as memory:
            assert memory.queue("jobs").claim(3) == []
        assert len(calls) == 2
        assert calls[0] == calls[1]
        repository, calls = failing(error, error)
        with agentmem.connect(repository) as memory, pytest.raises(type(error)):
            memory.queue("jobs").claim(3)

    @pytest.mark.parametrize("error", FINAL, ids=repr)
    def test_r18_a_claim_is_not_repeated_in_vain(self, error: Exception) -> None:
        repository, calls = failing(error)
        with agentmem.connect(repository) as memory, pytest.raises(type(error)):
            memory.queue("jobs").claim(3)
        assert len(calls) == 1

    @pytest.mark.parametrize("error", LOST_REPLIES, ids=repr)
    @pytest.mark.parametrize("call", ONCE.values(), ids=ONCE)
    def test_r18_nothing_else_is_repeated(self, queue: Queue, call: Callable[..., Any], error: Exception) -> None:
        queue.put("a")
        job = one(queue)
        repository, calls = failing(error)
        with agentmem.connect(repository) as memory, pytest.raises(type(error)):
            call(memory.queue("jobs"), memory, job)
        assert len(calls) == 1
