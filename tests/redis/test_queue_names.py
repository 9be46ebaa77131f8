"""R5 for queues: whatever they are called they are apart, lie in their partition's slot, and leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

import agentmem
from agentmem.commands import PutCommand
from agentmem.queue_port import Settle
from agentmem.redis.layout import Layout
from agentmem.testing.redis_server import key_prefix
from tests.redis.queue_helpers import BOOKS, Work
from tests.redis.test_neighbours import AWKWARD, database, dump, names  # noqa: F401 - `database` is a fixture

if TYPE_CHECKING:
    import redis

    from agentmem.memory import Memory
    from agentmem.testing.redis_local import LocalRedis

SIMILAR = ["jobs", "jobs:", "jobs/", "job", "jobs:b", "Jobs", "i:jobs", "qi:jobs", "jobs\\", "{jobs}", "j*bs", "j?bs"]


def everything(work: Work) -> None:
    """Something in every book."""
    work.put("1", "2", dedup_key="k", group="g")
    work.put("3", "4", group="g")
    work.put("5", delay_ms=60_000)
    work.put("6", max_attempts=1, priority=1)
    work.settle("nack", *work.claim(), error="boom")
    work.claim()


@pytest.mark.parametrize("several", [SIMILAR, AWKWARD], ids=["similar", "awkward"])
def test_r05_queues_of_odd_names_are_apart(memory: Memory, several: list[str]) -> None:
    queues = {name: Work(memory, name) for name in several}
    for work in queues.values():
        everything(work)
    for work in list(queues.values())[::2]:
        assert work.store.purge("default", work.name, dead=False) == 5
    left = several[1::2]
    assert [tuple(queues[name].counts()) for name in left] == [(0, 1, 2, 1, 1)] * len(left)
    assert next(iter(queues.values())).store.names("default") == sorted(left)
    assert memory.check() == []


def test_r05_groups_dedup_keys_and_requests_of_odd_names_are_apart(memory: Memory) -> None:
    """A text that is the beginning of another, or ends in digits as ids do, is another one."""
    texts = ["", "a", "aa", "a0000000000000001", *SIMILAR, *AWKWARD, "x" * 1024]
    work = Work(memory)
    for text in texts:
        assert [put.created for put in work.put("1", "2", dedup_key=text)] == [True, False]
        work.put("3", "4", group=text)
    assert tuple(work.counts()) == (2 * len(texts), 0, len(texts), 0, 0)
    held = {text: work.claim(1, request_id=text) for text in texts}
    assert {text: work.claim(9, request_id=text) for text in texts} == held
    assert memory.check() == []
    assert len(work.claim(999)) == len(texts)
    assert memory.check() == []


def test_names_are_found_by_prefix_in_the_order_of_code_points(memory: Memory) -> None:
    several = sorted([*SIMILAR, *AWKWARD, "\uffff", "\U0001f600a"])
    for name in several:
        Work(memory, name).put("1")
    store = Work(memory).store
    assert store.names("default") == several
    for prefix in ("jobs", "j", "é", "*", "\U0001f600", "nothing"):
        assert store.names("default", prefix) == [name for name in several if name.startswith(prefix)]


def test_very_many_queues_are_named_in_pieces(memory: Memory) -> None:
    store = Work(memory).store
    expected = [f"{n:04}" for n in range(2_500)]
    for start in range(0, 2_500, 500):
        puts = [Work(memory, name).puts("1")[0] for name in expected[start : start + 500]]
        Work(memory).step(puts=puts)
    assert store.names("default") == expected
    assert memory.drop_partition("default") == 0
    assert store.names("default") == []


@settings(max_examples=200, deadline=None)
@given(one=st.tuples(names, names), other=st.tuples(names, names))
def test_r05_no_two_queues_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    layout = Layout("agentmem")

    def of(partition: str, queue: str) -> set[bytes]:
        base = layout.place(partition).queues
        return {base + b":" + queue.encode(), *(base[:-1] + f"{kind}:{queue}".encode() for kind in BOOKS)}

    assert len(of(*one) & of(*other)) == (len(BOOKS) + 1 if one == other else 0)
    assert len({key_slot(name) for name in (*of(*one), layout.place(one[0]).meta)}) == 1


def test_r05_a_queue_is_in_the_books_that_are_drawn(memory: Memory, raw: redis.Redis, layout: Layout) -> None:
    work = Work(memory, "a:{b}")
    everything(work)
    found: Any = raw.keys(f"{layout.prefix}:{{default}}:q*")
    place = layout.place("default")
    assert {name for name in found if name != place.queues} <= {work.book(kind) for kind in BOOKS}
    assert {layout.parse(name)[1:] for name in found} - {(b"q", b"")} == {
        (kind.encode(), b"a:{b}") for kind in BOOKS if kind != "qr"
    }


def test_an_empty_queue_leaves_nothing(memory: Memory, raw: redis.Redis, layout: Layout) -> None:
    work, before = Work(memory), set(raw.keys(f"{layout.prefix}*"))
    everything(work)
    work.store.purge("default", "jobs", dead=False)
    everything(work)
    work.settle("ack", *work.claim(10, request_id="rest"))
    work.store.purge("default", "jobs", dead=False)
    work.put("1")
    work.settle("ack", *work.claim())
    assert set(raw.keys(f"{layout.prefix}*")) - before == {layout.place("default").meta, layout.partitions}


def test_r05_a_queue_neither_sees_nor_touches_what_is_not_ours(own_server: LocalRedis, database: Any) -> None:  # noqa: F811
    before = dump(database)
    with agentmem.connect(own_server.url()) as memory:
        for work in (Work(memory, "jobs"), Work(memory, "*"), Work(memory, "x", partition="{default}")):
            everything(work)
            work.store.purge(work.partition, work.name, dead=True)
            work.store.names(work.partition)
        assert memory.check() == []
        memory.drop_partition("default")
        assert Work(memory, "x", partition="{default}").counts().leased == 1
        memory.drop_partition("{default}")
    assert {key: value for key, value in dump(database).items() if key != b"agentmem:layout"} == before


def test_stores_and_partitions_have_queues_of_their_own(redis_url: str) -> None:
    prefix = key_prefix(redis_url)
    with agentmem.connect(redis_url) as one, agentmem.connect(redis_url, key_prefix=f"{prefix}x") as other:
        queues = [Work(one), Work(other), Work(one, partition="second"), Work(one, partition="default:qi")]
        for work in queues:
            everything(work)
        one.drop_partition("default")
        assert sum(queues[0].counts()) == 0
        assert [tuple(work.counts()) for work in queues[1:]] == [(0, 1, 2, 1, 1)] * 3
        other.drop_partition("default")


# Partitions


def test_a_partition_of_queues_alone_is_a_partition(memory: Memory) -> None:
    work = Work(memory, partition="work")
    work.put("1")
    assert [each.name for each in memory.partitions()] == ["work"]
    assert memory.stats().partitions == {"work": 0}
    assert memory.drop_partition("work") == 0
    assert memory.partitions() == []
    assert work.store.names("work") == []
    assert memory.check() == []


def test_what_stores_nothing_makes_no_partition(memory: Memory, raw: redis.Redis, layout: Layout) -> None:
    work = Work(memory, partition="work")
    with pytest.raises(agentmem.LeaseLost):
        work.step(settles=[Settle(work.name, 5, 1, "ack")], puts=work.puts("1"))
    assert work.claim() == work.store.peek("work", "jobs", 5) == []
    assert work.store.redrive("work", "jobs", 5) == work.store.purge("work", "jobs", dead=False) == 0
    work.store.wait("work", "jobs", 0.01)
    assert memory.partitions() == []
    assert raw.exists(layout.place("work").meta) == 0


def test_commands_make_a_partition_as_puts_do(memory: Memory) -> None:
    work = Work(memory, partition="work")
    done = work.step(puts=work.puts("1"), commands=(PutCommand("key", "1"),))
    assert done.outcomes[0].record is not None
    assert memory.partition("work").get("key") == 1
    assert [each.name for each in memory.partitions()] == ["work"]
    assert memory.drop_partition("work") == 1


# Ids


def test_ids_go_on_after_whatever_takes_a_queue_away(memory: Memory, raw: redis.Redis) -> None:
    """Also where the clock is behind the last id: it was set back, or another machine's decides now."""
    work = Work(memory)
    ids = [work.put("1")[0].id]
    raw.hset(work.book("qi"), "n", f"{ids[0] + 10**9:016}")
    ids += [put.id for put in work.put("2", "3")]
    work.settle("ack", *work.claim(9))
    ids += [put.id for put in work.put("4", "5")]
    work.store.purge("default", "jobs", dead=False)
    ids += [put.id for put in work.put("6")]
    memory.drop_partition("default")
    ids += [put.id for put in work.put("7")]
    assert ids == sorted(set(ids))
    assert ids[-1] > ids[0] + 10**9
    assert memory.check() == []
