"""Pages and walks: exact limits, eager checks, and costs that follow what is returned (R26, R27)."""

from __future__ import annotations

from typing import Any

import pytest

from agentmem import CorruptEntry, Memory
from agentmem.repository import Slice
from tests.unit.dict_repository import DictRepository


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return Memory(repository)


def fill(memory: Memory, *keys: str) -> None:
    memory.put_many(dict.fromkeys(keys, 0))


@pytest.mark.parametrize("order", ["key", "updated"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11, 2**63 - 1])
def test_r26_pages_add_up_to_all(memory: Memory, order: str, descending: bool, limit: int) -> None:
    keys = [f"k{number}" for number in range(10)]
    for key in keys:
        memory.put(key, 1)
    walked, cursor, pages = [], None, 0
    while cursor is not None or pages == 0:
        page = memory.search(order=order, descending=descending, limit=limit, cursor=cursor)  # type: ignore[arg-type]
        walked += [entry.key for entry in page]
        cursor, pages = page.cursor, pages + 1
        assert len(page) <= limit
    assert walked == (keys[::-1] if descending else keys)
    assert pages == -(-10 // limit)


def test_r26_limit_may_change_from_page_to_page(memory: Memory) -> None:
    fill(memory, *"abcdef")
    first = memory.search(limit=1)
    second = memory.search(limit=3, cursor=first.cursor)
    assert [entry.key for entry in second] == ["b", "c", "d"]
    assert [entry.key for entry in memory.search(limit=9, cursor=second.cursor)] == ["e", "f"]


def test_r26_a_walk_by_time_ends_where_it_began(memory: Memory) -> None:
    fill(memory, *"abcd")
    page = memory.search(order="updated", limit=2)
    fill(memory, "a", "d", "new")
    rest = memory.search(order="updated", limit=9, cursor=page.cursor)
    assert [entry.key for entry in (*page, *rest)] == ["a", "b", "c"]
    assert rest.cursor is None


def test_r10_a_page_with_an_undecodable_entry_goes_on(memory: Memory, repository: DictRepository) -> None:
    fill(memory, *"abc")
    repository.spoil("b")
    for entries in (list(memory.search()), list(memory.items())):
        assert [entry.key for entry in entries] == ["a", "b", "c"]
        assert entries[2].value == 0
        with pytest.raises(CorruptEntry):
            _ = entries[1].value
    with pytest.raises(CorruptEntry):
        memory.get_many(["a", "b"])


def test_get_many_keeps_the_order_of_the_keys(memory: Memory, repository: DictRepository) -> None:
    memory.put_many({"a": 1, "b": 2, "c": 3})
    repository.calls.clear()
    assert list(memory.get_many(key for key in ("c", "x", "a", "c")).items()) == [("c", 3), ("a", 1)]
    assert repository.calls == {"fetch": 1}
    assert memory.get_many([]) == {}
    assert repository.calls == {"fetch": 1}


def test_r27_keys_come_by_the_thousand_without_bodies(memory: Memory, repository: DictRepository) -> None:
    keys = [f"{number:05}" for number in range(2500)]
    fill(memory, *keys)
    repository.calls.clear()
    assert list(memory.keys()) == keys
    assert repository.calls == {"scan": 3}
    repository.scanned = 0
    assert list(memory.keys("01", limit=1000)) == keys[1000:2000]
    assert list(memory.keys(limit=1200)) == keys[:1200]
    assert repository.scanned == 2200


def test_r27_a_walk_reads_no_further_than_it_is_asked(memory: Memory, repository: DictRepository) -> None:
    fill(memory, *(f"{number:05}" for number in range(3000)))
    repository.scanned = 0
    iterator = memory.items()
    next(iterator)
    assert repository.scanned == 64


def test_r27_pages_of_items_hold_about_4_mib(memory: Memory, repository: DictRepository) -> None:
    large = "x" * 500_000
    memory.put_many({f"a{number:03}": large for number in range(80)})
    sizes: list[int] = []
    scan = repository.scan

    def scan_and_note(*args: Any, limit: int, **more: Any) -> Slice:
        sizes.append(limit)
        return scan(*args, limit=limit, **more)

    repository.scan = scan_and_note  # type: ignore[method-assign]
    assert sum(1 for _ in memory.items()) == 80
    assert sizes[0] == 64
    assert all(size * len(large) <= 4 * 2**20 for size in sizes[1:])
    fill(memory, *(f"b{number:04}" for number in range(3000)))
    sizes.clear()
    assert sum(1 for _ in memory.items("b")) == 3000
    assert sizes == [64, 1000, 1000, 1000]


def test_r26_walks_bear_writes_meanwhile(memory: Memory) -> None:
    keys = [f"{number:04}" for number in range(2000)]
    fill(memory, *keys)
    walked = []
    for key in memory.keys():  # noqa: SIM118 - a memory is no dict
        walked.append(key)
        memory.delete(key)
        memory.put(key + "+", 1)
    assert [key for key in walked if not key.endswith("+")] == keys
    assert len(walked) == len(set(walked))


TREE = ("a", "a-b", "a/", "a//x", "a/b", "a/b/", "a/b/c", "a/b/d/e", "a/c/d", "a0", "é/x", "é/y/z")


@pytest.mark.parametrize(
    ("prefix", "depth", "expected"),
    [
        ("", 1, ["a", "a-b", "a/", "a0", "é/"]),
        ("a/", 1, ["a//", "a/b", "a/b/", "a/c/"]),
        ("a/", 2, ["a//x", "a/b", "a/b/", "a/b/c", "a/b/d/", "a/c/d"]),
        ("a/b/", 1, ["a/b/c", "a/b/d/"]),
        ("a", 1, ["a-b", "a/", "a0"]),
        ("", 2, ["a", "a-b", "a/", "a//", "a/b", "a/b/", "a/c/", "a0", "é/x", "é/y/"]),
        ("", 9, list(TREE)),
        ("x", 1, []),
    ],
)
def test_children_are_the_common_prefixes(memory: Memory, prefix: str, depth: int, expected: list[str]) -> None:
    fill(memory, *TREE)
    assert memory.children(prefix, depth=depth) == expected
    assert memory.scoped("zz/").children() == []


def test_r27_children_cost_what_they_return_and_not_what_lies_under_them(
    memory: Memory, repository: DictRepository
) -> None:
    fill(memory, *(f"run/{run:02}/{number:04}" for run in range(10) for number in range(500)))
    repository.scanned = 0
    assert memory.children("run/") == [f"run/{run:02}/" for run in range(10)]
    assert repository.scanned <= 32 + 10 * 8
    repository.scanned = 0
    assert memory.scoped("run/").children() == [f"{run:02}/" for run in range(10)]
    assert repository.scanned <= 32 + 10 * 8


def test_r27_many_small_children_take_few_calls(memory: Memory, repository: DictRepository) -> None:
    fill(memory, *(f"{number:05}" for number in range(2000)), *(f"{n:03}/{m}" for n in range(300) for m in range(3)))
    repository.calls.clear()
    children = memory.children()
    assert len(children) == 2300
    assert children == sorted(children)
    assert repository.calls["scan"] <= 8


def test_children_agree_with_a_plain_reckoning(memory: Memory) -> None:
    import itertools
    import random

    chance = random.Random(5)
    keys = {"".join(chance.choices("ab/", k=chance.randint(1, 7))) for _ in range(400)}
    fill(memory, *keys)
    for prefix, depth in itertools.product(("", "a", "a/", "/", "ab/"), (1, 2, 3)):
        expected = set()
        for key in keys:
            if key.startswith(prefix) and key != prefix:
                parts = key[len(prefix) :].split("/")
                expected.add(key if len(parts) <= depth else prefix + "/".join(parts[:depth]) + "/")
        assert memory.children(prefix, depth=depth) == sorted(expected)
