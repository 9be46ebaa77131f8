"""A queue's books: brought up to date in pieces, changed together with entries, and verified."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import LeaseLost, OutcomeUnknown
from agentmem.commands import CheckCommand, IncrementCommand
from agentmem.queue_port import Settle
from agentmem.redis import scripts
from agentmem.testing.support import run_threads
from tests.redis.queue_helpers import Work, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from agentmem.memory import Memory
    from agentmem.redis.layout import Layout


@pytest.fixture
def work(memory: Memory) -> Work:
    return Work(memory)


# In pieces


@pytest.mark.parametrize("how", ["delays", "leases", "last leases", "a group"])
def test_r36_however_much_has_come_due_an_answer_shows_all_of_it(work: Work, memory: Memory, how: str) -> None:
    """A script does a thousand, and is called again before it answers."""
    texts = [str(n) for n in range(2_500)]
    options: dict[str, Any] = {
        "delays": {"delay_ms": 300},
        "leases": {},
        "last leases": {"max_attempts": 1},
        "a group": {"group": "g", "delay_ms": 300},
    }
    work.put(*texts, **options[how])
    if "leases" in how:
        assert sum(len(work.claim(1_000, lease_ms=300)) for _ in range(3)) == 2_500
    time.sleep(0.35)
    expected = {
        "delays": (2_500, 0, 0, 0, 0),
        "leases": (2_500, 0, 0, 0, 0),
        "last leases": (0, 0, 0, 0, 2_500),
        "a group": (1, 0, 2_499, 0, 0),
    }
    assert tuple(work.counts()) == expected[how]
    assert memory.check() == []


def test_r36_a_step_sees_all_that_has_come_due(work: Work) -> None:
    work.put(*[str(n) for n in range(2_500)], delay_ms=200)
    work.put("last", delay_ms=201, priority=1)
    time.sleep(0.3)
    assert [text_of(item) for item in work.claim(2)] == ["last", "0"]
    work.put(*[str(n) for n in range(2_500)], dedup_key="k")
    assert tuple(work.counts()) == (2_500, 0, 0, 2, 0)


def test_no_script_does_more_than_a_thousand(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.put(*[str(n) for n in range(2_500)], group="g")
    work.put(*[str(n) for n in range(1_500)], max_attempts=1)
    work.settle("bury", *work.claim(1_000))
    calls: list[str] = []
    write = work.repository._writes.write

    def counted(place: Any, script: Any, *arguments: Any) -> Any:
        calls.append(script.name)
        return write(place, script, *arguments)

    monkeypatch.setattr(work.store._writes, "write", counted)
    assert work.store.redrive("default", "jobs", 3_000) == 1_000
    assert calls == ["queue_redrive"] * 2
    assert work.store.purge("default", "jobs", dead=False) == 4_000
    assert calls == ["queue_redrive"] * 2 + ["queue_purge"] * 5


def test_redrive_passes_by_whatever_may_not_live(work: Work) -> None:
    """Those whose dedup key is taken stay dead, however many there are."""
    for _ in range(12):
        work.put(*[str(n) for n in range(100)])
        work.settle("bury", *work.claim(100))
    for n in range(3):
        work.put(f"same {n}", dedup_key="k", priority=1)
        work.settle("bury", *work.claim())
    taken = work.put("another", dedup_key="k")[0]
    assert work.store.redrive("default", "jobs", 2) == 2
    assert work.texts() == ["another", "0", "1"] or taken.id > work.store.peek("default", "jobs", 1)[0].id
    assert work.store.redrive("default", "jobs", 5_000) == 1_198
    assert sorted(work.texts(dead=True)) == ["same 0", "same 1", "same 2"]
    work.store.purge("default", "jobs", dead=False)


# Steps with commands


def test_a_step_is_made_anew_when_others_change_what_its_commands_read(memory: Memory, work: Work) -> None:
    """Threads ack and count in one step, on one counter: neither is lost, neither done twice."""
    work.put(*[str(n) for n in range(80)])

    def run(index: int) -> int:
        done = 0
        while items := work.claim(1, request_id=str(index)):
            work.settle("ack", *items, commands=(IncrementCommand("done"), CheckCommand("absent", None)))
            done += 1
        return done

    assert sum(run_threads(4, run)) == 80
    assert memory.get("done") == 80
    assert memory.check() == []


def test_a_lost_lease_comes_before_a_conflict(memory: Memory, work: Work) -> None:
    work.put("1")
    item = work.claim()[0]
    memory.put("key", 1)
    conflicting = (CheckCommand("key", 1),)
    with pytest.raises(agentmem.VersionConflict):
        work.settle("ack", item, commands=conflicting)
    with pytest.raises(LeaseLost):
        work.step(settles=[Settle("jobs", item.id, item.fence + 1, "ack")], puts=work.puts("2"), commands=conflicting)
    assert tuple(work.counts()) == (0, 0, 0, 1, 0)


def test_what_changed_nothing_does_not_wait_for_replicas(redis_url: str) -> None:
    with agentmem.connect(redis_url) as memory:
        Work(memory).put("1", dedup_key="k")
    with agentmem.connect(redis_url, wait_replicas=100, wait_timeout=0.01) as memory:
        work = Work(memory)
        assert work.put("2", dedup_key="k")[0].created is False
        assert Work(memory, "empty").claim() == []
        assert work.store.redrive("default", "jobs", 1) == work.store.purge("default", "jobs", dead=True) == 0
        with pytest.raises(OutcomeUnknown, match="written"):
            work.claim(1, request_id="r")
        assert len(work.claim(1, request_id="r")) == 1


# What check finds

DAMAGE: dict[str, tuple[Callable[[redis.Redis, Work, bytes], object], str]] = {
    "an item is gone": (lambda r, w, n: r.hdel(w.book("qi"), n), "and there is no such item"),
    "a body is gone": (lambda r, w, n: r.hdel(w.book("qi"), n + b"b"), "the body of"),
    "a header is foreign": (lambda r, w, n: r.hset(w.book("qi"), n, "x" * 99), "and there is no such item"),
    "an item is in no place": (lambda r, w, n: r.zrem(w.book("qr"), n), "fields of items are noted"),
    "an item is in two places": (lambda r, w, n: r.zadd(w.book("qx"), {n: 0}), "is ready, and dead as well"),
    "ready and leased": (lambda r, w, n: r.zadd(w.book("ql"), {n: 5e15}), "is leased at 5000000000000000"),
    "a priority is wrong": (lambda r, w, n: r.zadd(w.book("qr"), {n: 7}), "is ready at 7, its header says -1"),
    "a dedup key leads nowhere": (lambda r, w, n: r.hdel(w.book("qk"), "=k"), "which leads to nobody"),
    "a dedup key too many": (lambda r, w, n: r.hset(w.book("qk"), "=x", n), "2 dedup keys are noted"),
    "a group's turn is lost": (lambda r, w, n: r.hdel(w.book("qh"), "=g"), "the turn of its group 'g' is with nobody"),
    "a turn too many": (lambda r, w, n: r.hset(w.book("qh"), "=x", n), "2 turns of groups are noted"),
    "a claim too many": (lambda r, w, n: r.zadd(w.book("qc"), {b"0000" + n: 0}), "claims are noted"),
    "a claim is lost": (lambda r, w, n: r.delete(w.book("qc")), "the list of claims says otherwise"),
    "a book is strange": (lambda r, w, n: r.hset(w.book("qi") + b"x", "a", 1), "no such queue is noted"),
    "a queue is not noted": (lambda r, w, n: r.delete(w.book("qi")[: -len("i:jobs")]), "no such queue is noted"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_check_finds_what_was_damaged_by_hand(memory: Memory, raw: redis.Redis, work: Work, name: str) -> None:
    first = work.put("first", dedup_key="k", group="g", priority=1)[0]
    work.put("second", group="g")
    work.put("leased", priority=9)
    work.claim()
    assert memory.check() == []
    damage, detail = DAMAGE[name]
    damage(raw, work, f"{first.id:016}".encode())
    problems = memory.check()
    assert any(detail in each.detail for each in problems), problems
    assert {each.partition for each in problems} == {"default"}


def test_a_claim_passes_by_items_that_somebody_took_away(work: Work, raw: redis.Redis) -> None:
    ids = [put.id for put in work.put("1", "2", "3")]
    raw.hdel(work.book("qi"), f"{ids[1]:016}")
    assert [text_of(item) for item in work.claim(3)] == ["1", "3"]
    assert tuple(work.counts()) == (0, 0, 0, 2, 0)


def test_scripts_share_their_parts() -> None:
    """A function is written once: a script that needs it has the file in front."""
    texts = {name: each.text for name, each in vars(scripts).items() if isinstance(each, scripts.Script)}
    assert [name for name, text in texts.items() if b"function carry_out" in text] == ["COMMIT", "QUEUE_EXCHANGE"]
    assert all((b"function catch_up" in text) == name.startswith("QUEUE_") for name, text in texts.items())


def test_a_partition_that_is_dropped_while_others_put_is_whole(memory: Memory, layout: Layout) -> None:
    def run(index: int) -> int:
        work = Work(memory, f"queue {index}", partition="shared")
        if index:
            return sum(work.put(str(n))[0].created for n in range(40))
        return sum(memory.drop_partition("shared") for _ in range(10))

    assert run_threads(4, run) == [0, 40, 40, 40]
    assert memory.check() == []
    assert [each.name for each in memory.partitions()] == (["shared"] if Work(memory).store.names("shared") else [])
