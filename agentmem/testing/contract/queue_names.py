"""R36, R1, R4, R5, R35: queues of different names, partitions and scopes have nothing to do with one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import errors
from agentmem.operations import Ack, Enqueue, Nack, Put
from agentmem.queue_port import Counts
from agentmem.testing.contract import refused
from agentmem.testing.contract.queue_base import QueueContract, drained, one, values
from agentmem.testing.contract.untouchable import untouchable

if TYPE_CHECKING:
    from agentmem.coordination.queue import Queue
    from agentmem.jobs import Job
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

NAMES = (
    "a",
    "a/b",
    "a/",
    "a:b",
    "{a}",
    "{a}:q",
    "a*",
    "a?",
    "a_",
    "a%",
    "%s",
    "a\\",
    "a'; --",
    'a"',
    "A",
    "é",
    "e\u0301",
    "😀",
    "\uffff",
    " ",
    "a\n",
    "x" * 1024,
)

CALLS: dict[str, Callable[[Queue], Any]] = {
    "put": lambda q: q.put(1),
    "put_many": lambda q: q.put_many([1]),
    "put_many of none": lambda q: q.put_many([]),
    "claim": lambda q: q.claim(),
    "ack of none": lambda q: q.ack(),
    "ack_and_claim": lambda q: q.ack_and_claim([], 1),
    "peek": lambda q: q.peek(),
    "dead": lambda q: q.dead(),
    "counts": lambda q: q.counts(),
    "redrive": lambda q: q.redrive(),
    "purge": lambda q: q.purge(),
    "work": lambda q: q.work(print, until_empty=True),
}


def in_a_transaction(memory: Memory, queue: Queue, job: Job) -> None:
    """Settle, write and put at once."""
    with memory.transaction() as tx:
        tx.ack(job)
        tx.put("aqe/a", 1)
        tx.enqueue(queue.name, 1)


PutInto = Callable[["Memory", "Queue", "Job"], Any]

#: Every way to put something into a queue, some of them with what is done to a job of another one.
PUTS: dict[str, PutInto] = {
    "put": lambda m, q, job: q.put(1),
    "delayed": lambda m, q, job: q.put(1, delay=0.001, priority=3),
    "grouped": lambda m, q, job: q.put(1, group="g", dedup_key="k"),
    "many": lambda m, q, job: q.put_many([1, 2]),
    "many grouped": lambda m, q, job: q.put_many([1, 2], group="g"),
    "apply": lambda m, q, job: m.apply([Put("aqe/a", 1), Enqueue(q.name, 1)]),
    "apply to two": lambda m, q, job: m.apply([Enqueue("aqe/more", 1), Enqueue(q.name, 1, priority=1)]),
    "ack and enqueue": lambda m, q, job: m.apply([Ack(job), Enqueue(q.name, 1)]),
    "ack, put and enqueue": lambda m, q, job: m.apply([Ack(job), Put("aqe/a", 1), Enqueue(q.name, 1)]),
    "transaction": in_a_transaction,
}

Rows = dict[str, tuple[dict[str, Any], Callable[["Memory", Any], Any]]]

DELAYS = {name: value for name, value in refused.TTLS.items() if name not in ("0", "0.0", "timedelta(0)")}
PRIORITIES = {"1,001": 1001, "-1,001": -1001, "a float": 1.0, "True": True, "text": "1", "None": None}
LIMITS = refused.WHOLES | {"1,001": 1001, "None": None}
TEXTS = {name: value for name, value in refused.KEYS.items() if name != "None"}

#: By what is bad: (bad ones, a call with one of them).
ROWS: dict[type[Exception], Rows] = {
    errors.InvalidKey: {
        "name": (refused.KEYS, lambda m, bad: m.queue(bad)),
        "Enqueue name": (refused.KEYS, lambda m, bad: m.apply([Put("a", 1), Enqueue(bad, 1)])),
        "prefix": (refused.PREFIXES, lambda m, bad: m.queues(bad)),
        "dedup_key": (TEXTS, lambda m, bad: m.queue("q").put(1, dedup_key=bad)),
        "group": (TEXTS, lambda m, bad: m.queue("q").put(1, group=bad)),
        "request_id": (TEXTS, lambda m, bad: m.queue("q").claim(request_id=bad)),
        "ack_and_claim request_id": (TEXTS, lambda m, bad: m.queue("q").ack_and_claim([], request_id=bad)),
    },
    errors.InvalidValue: {
        "put": (refused.VALUES, lambda m, bad: m.queue("q").put(bad)),
        "put_many": (refused.VALUES, lambda m, bad: m.queue("q").put_many([1, bad])),
        "Enqueue": (refused.VALUES, lambda m, bad: m.apply([Put("a", 1), Enqueue("q", bad)])),
        "tx": (refused.VALUES, lambda m, bad: m.run(lambda tx: tx.enqueue("q", bad))),
    },
    errors.ValueTooLarge: {"put": ({"1 MiB": "x" * 2**20}, lambda m, bad: m.queue("q").put(bad))},
    errors.InvalidArgument: {
        "lease": (refused.TTLS | {"None": None}, lambda m, bad: m.queue("q", lease=bad)),
        "claim lease": (refused.TTLS, lambda m, bad: m.queue("q").claim(lease=bad)),
        "work lease": (refused.TTLS, lambda m, bad: m.queue("q").work(print, lease=bad)),
        "max_attempts": (refused.WHOLES, lambda m, bad: m.queue("q", max_attempts=bad)),
        "Enqueue max_attempts": (refused.WHOLES, lambda m, bad: m.apply([Enqueue("q", 1, max_attempts=bad)])),
        "delay": (DELAYS, lambda m, bad: m.queue("q").put(1, delay=bad)),
        "priority": (PRIORITIES, lambda m, bad: m.queue("q").put(1, priority=bad)),
        "limit": (LIMITS, lambda m, bad: m.queue("q").claim(bad)),
        "peek limit": (LIMITS, lambda m, bad: m.queue("q").peek(bad)),
        "dead limit": (LIMITS, lambda m, bad: m.queue("q").dead(bad)),
        "ack_and_claim limit": (LIMITS, lambda m, bad: m.queue("q").ack_and_claim([], bad)),
        "redrive limit": (refused.WHOLES, lambda m, bad: m.queue("q").redrive(bad)),
        "wait": ({"-1": -1, "NaN": refused.NAN, "text": "1"}, lambda m, bad: m.queue("q").claim(wait=bad)),
        "threads": (LIMITS, lambda m, bad: m.queue("q").work(print, threads=bad)),
        "grace": ({"-1": -1, "True": True, "None": None}, lambda m, bad: m.queue("q").work(print, grace=bad)),
        "backoff": ({"-1": -1, "text": "1"}, lambda m, bad: m.queue("q").work(print, backoff=bad)),
        "until_empty": ({"1": 1, "None": None}, lambda m, bad: m.queue("q").work(print, until_empty=bad)),
        "dead": ({"1": 1, "None": None}, lambda m, bad: m.queue("q").purge(dead=bad)),
        "values": ({"text": "abc", "None": None}, lambda m, bad: m.queue("q").put_many(bad)),
        "job": ({"None": None, "an id": 1}, lambda m, bad: m.queue("q").ack(bad)),
        "Ack job": ({"None": None, "an id": 1}, lambda m, bad: m.apply([Put("a", 1), Ack(bad)])),
        "tx job": ({"None": None, "an id": 1}, lambda m, bad: m.run(lambda tx: tx.ack(bad))),
    },
}


class QueueNames(QueueContract):
    """Where queues are, and what is refused."""

    def test_r36_odd_names_are_queues_of_their_own(self, memory: Memory, queue: Queue) -> None:
        for name in NAMES:
            memory.queue(name).put(name, group=name, dedup_key=name)
        assert memory.queues() == sorted(NAMES)
        for name in NAMES:
            assert memory.queue(name).counts().ready == 1
            assert drained(memory.queue(name)) == [name]
        assert memory.queues() == []

    def test_r36_queues_are_listed_under_a_literal_prefix(self, memory: Memory, queue: Queue) -> None:
        for name in NAMES:
            memory.queue(name).put(1)
        for prefix in ("a", "a/", "a*", "a_", "{", "é", "%", "nothing", "\uffff"):
            assert memory.queues(prefix) == sorted(name for name in NAMES if name.startswith(prefix))

    def test_r36_a_queue_of_dead_items_is_listed(self, memory: Memory, queue: Queue) -> None:
        queue.put(1)
        one(queue).bury()
        assert memory.queues() == ["jobs"]

    def test_r36_partitions_are_apart(self, memory: Memory, queue: Queue) -> None:
        parts = [memory, *(memory.partition(name) for name in ("{default}", "é:", "default:jobs"))]
        for index, part in enumerate(parts):
            part.queue("jobs").put(index, dedup_key="k", group="g")
        assert [part.queues() for part in parts] == [["jobs"]] * 4
        jobs = [one(part.queue("jobs")) for part in parts]
        assert values(jobs) == [0, 1, 2, 3]
        for part, job in zip(parts, jobs[1:] + jobs[:1], strict=True):
            with pytest.raises(errors.InvalidArgument, match="outside of this handle"):
                part.queue("jobs").ack(job)
        assert "é:" in {partition.name for partition in memory.partitions()}

    def test_r36_drop_partition_removes_its_queues(self, memory: Memory, queue: Queue) -> None:
        queue.put("kept")
        other = memory.partition("other")
        other.queue("jobs").put_many(list("ab"), group="g", dedup_key=None)
        job = one(other.queue("jobs"))
        assert memory.drop_partition("other") == 0
        assert (other.queues(), memory.queues()) == ([], ["jobs"])
        with pytest.raises(errors.LeaseLost):
            job.ack()
        assert other.queue("jobs").put("new", group="g").created
        new = one(other.queue("jobs"))
        with pytest.raises(errors.LeaseLost):
            job.ack()
        assert (new.id, new.fence) != (job.id, job.fence)
        new.ack()

    def test_r36_entries_and_queues_do_not_see_each_other(self, memory: Memory, queue: Queue) -> None:
        memory.put("jobs", "an entry")
        queue.put("an item")
        assert (list(memory.keys()), memory.count(), memory.stats().entries) == (["jobs"], 1, 1)
        assert memory.get("jobs") == "an entry"
        assert memory.clear() == 1
        assert memory.delete_matching("*") == 0
        assert drained(queue) == ["an item"]

    def test_r36_a_scope_has_queues_of_its_own(self, memory: Memory, queue: Queue) -> None:
        scoped = memory.scoped("team/")
        scoped.queue("jobs").put("inside")
        queue.put("outside")
        assert (scoped.queues(), memory.queues()) == (["jobs"], ["jobs", "team/jobs"])
        assert (memory.scoped("team/j").queues(), memory.scoped("team/jobs").queues()) == (["obs"], [])
        job = one(scoped.queue("jobs"))
        assert (job.queue, job.value) == ("jobs", "inside")
        memory.apply([Nack(job)])
        again = one(memory.queue("team/jobs"))
        with pytest.raises(errors.LeaseLost) as caught:
            scoped.apply([Ack(job)])
        assert caught.value.name == "jobs"
        assert scoped.apply([Ack(again)])[0].key == "jobs"

    def test_r36_a_job_from_outside_of_a_scope_is_refused(self, memory: Memory, queue: Queue) -> None:
        queue.put("outside")
        job = one(queue)
        for handle in (memory.scoped("team/"), memory.scoped("jobs"), memory.partition("other")):
            for call in (
                lambda handle=handle: handle.apply([Ack(job)]),
                lambda handle=handle: handle.run(lambda tx: tx.ack(job)),
                lambda handle=handle: handle.queue("jobs").ack(job),
            ):
                with pytest.raises(errors.InvalidArgument, match="outside"):
                    call()  # type: ignore[no-untyped-call]
        with pytest.raises(errors.InvalidArgument, match="of the queue 'jobs'"):
            memory.queue("other").ack(job)
        with pytest.raises(errors.InvalidArgument, match="twice"):
            queue.ack(job, job)
        job.ack()

    def test_r04_a_namespace_begins_the_names_of_queues(self, harness: Harness, queue: Queue) -> None:
        with harness.connect(namespace="aqe/") as memory:
            memory.queue("aqe/jobs").put(1)
            calls: list[Callable[[], Any]] = [
                lambda: memory.queue("jobs"),
                lambda: memory.apply([Put("aqe/a", 1), Enqueue("jobs", 1)]),
                lambda: memory.run(lambda tx: tx.enqueue("jobs", 1)),
            ]
            for call in calls:
                with pytest.raises(errors.NamespaceError):
                    call()
            assert (memory.queues(), memory.exists("aqe/a")) == (["aqe/jobs"], False)

    @pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
    def test_r04_a_policy_begins_the_names_of_queues(self, memory: Memory, queue: Queue, put: PutInto) -> None:
        policed = memory.partition("policed", namespace="aqe/")
        policed.queue("aqe/jobs").put("held")
        job = one(policed.queue("aqe/jobs"))
        for name in ("jobs", "AQE/jobs", "aqe"):
            with pytest.raises(errors.NamespaceError) as caught:
                put(policed, policed.queue(name), job)
            assert (caught.value.key, caught.value.namespace) == (name, "aqe/")
        assert (policed.queues(), list(policed.keys())) == (["aqe/jobs"], [])
        assert policed.queue("aqe/jobs").counts() == Counts(leased=1)
        put(policed, policed.queue("aqe/more"), job)
        assert policed.queue("aqe/more").counts().open >= 1

    def test_r04_what_a_policy_forbids_is_found_out_before_a_lost_lease(self, memory: Memory, queue: Queue) -> None:
        queue.put_many([1, 2])
        job, other = queue.claim(2)
        job.ack()
        memory.partition("default", namespace="aqe/")
        for lost in ([Ack(job)], [Ack(job), Put("aqe/a", 1, if_version=1)], [Put("aqe/a", 1, if_version=1)]):
            with pytest.raises(errors.NamespaceError):
                memory.apply([*lost, Enqueue("elsewhere", 1)])
        other.ack()  # nothing was done to it
        assert memory.queues() == []

    def test_r04_what_was_there_before_a_policy_can_be_worked_off(self, memory: Memory, queue: Queue) -> None:
        queue.put_many(range(3))
        job = one(queue)
        memory.partition("default", namespace="aqe/")
        job.nack()
        one(queue).bury()
        assert (queue.redrive(), drained(queue)) == (1, [0, 1, 2])
        scoped = memory.scoped("aqe/")
        scoped.queue("jobs").put("inside")
        with pytest.raises(errors.NamespaceError) as caught:
            memory.scoped("other/").queue("jobs").put("outside")
        assert (caught.value.key, memory.queues()) == ("jobs", ["aqe/jobs"])

    def test_r35_every_call_on_a_queue_of_a_closed_handle_is_refused(self, harness: Harness, queue: Queue) -> None:
        memory = harness.connect()
        mine = memory.queue("jobs")
        mine.put_many(list("ab"))
        job = one(mine)
        memory.close()
        calls = CALLS | {"job.ack": lambda _: job.ack(), "queues": lambda _: memory.queues()}
        calls |= {"queue": lambda _: memory.queue("jobs"), "apply": lambda _: memory.apply([Ack(job)])}
        answers = {}
        for name, call in calls.items():
            try:
                answers[name] = call(mine)
            except errors.Closed:
                continue
        assert answers == {}

    @pytest.mark.parametrize("error", ROWS, ids=lambda error: error.__name__)
    def test_r36_bad_arguments_are_refused_before_any_io(self, error: type[Exception]) -> None:
        with agentmem.connect(untouchable()) as memory:
            wrong = {}
            for name, (bad_ones, call) in ROWS[error].items():
                for label, bad in bad_ones.items():
                    try:
                        wrong[f"{name}: {label}"] = call(memory, bad)
                    except Exception as raised:  # noqa: BLE001 - the very question
                        if type(raised) is not error:
                            wrong[f"{name}: {label}"] = raised
            assert wrong == {}
