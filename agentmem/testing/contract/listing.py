"""R26, R27: keys, items, children, count and delete_matching over a tree of keys."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from agentmem.testing.contract.base import Contract
from agentmem.testing.support import expire

if TYPE_CHECKING:
    from agentmem.memory import Memory

TREE = (
    "README",
    "a",
    "a/",
    "a//b",
    "a/b",
    "a/b/c",
    "a/b/c/d",
    "a/b2",
    "a/x",
    "a/é/1",
    "a/e\u0301/1",
    "a0",
    "b/[1]/x",
    "b/[1]/y",
    "b/1/x",
    "b/*/x",
    "b/{k}:v/x",
    "z/😀/1",
    "z/\uffff/1",
)


def cut(key: str, depth: int) -> str:
    """A key up to its slash of that depth."""
    pieces = key.split("/")
    return "/".join(pieces[:depth]) + ("/" if len(pieces) > depth else "")


class Listing(Contract):
    """Browsing."""

    @pytest.fixture
    def tree(self, memory: Memory) -> Memory:
        """The memory with one entry at each key of TREE."""
        memory.put_many({key: key for key in TREE})
        return memory

    def test_r26_keys_and_items_list_a_prefix_in_order(self, tree: Memory) -> None:
        for prefix in ("", "a", "a/", "a/b", "a/b/", "b/[1]/", "b/*", "z/", "README", "absent", "a//"):
            expected = sorted(key for key in TREE if key.startswith(prefix))
            assert list(tree.keys(prefix)) == expected, prefix
            assert [(entry.key, entry.value) for entry in tree.items(prefix)] == [(key, key) for key in expected]

    def test_r26_keys_without_a_prefix_list_all(self, tree: Memory) -> None:
        assert list(tree.keys()) == sorted(TREE)

    def test_r26_keys_honour_a_limit(self, tree: Memory) -> None:
        for limit in (1, 3, len(TREE), len(TREE) + 1):
            assert list(tree.keys(limit=limit)) == sorted(TREE)[:limit]
        assert list(tree.keys("a/", limit=2)) == ["a/", "a//b"]

    def test_r26_more_keys_than_any_page(self, memory: Memory) -> None:
        keys = [f"key/{number:05}" for number in range(3000)]
        memory.put_many(dict.fromkeys(keys, 0))
        assert list(memory.keys()) == keys
        assert [entry.key for entry in memory.items("key/")] == keys
        assert list(memory.keys(limit=2500)) == keys[:2500]
        assert memory.children() == ["key/"]
        assert memory.children("key/") == keys
        assert memory.count() == 3000

    def test_r26_listing_while_its_entries_are_deleted(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:04}": number for number in range(1500)})
        deleted = sum(memory.delete(key) for key in memory.keys("key/"))
        assert (deleted, memory.count()) == (1500, 0)

    def test_r26_items_while_they_are_rewritten(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:04}": 0 for number in range(1200)})
        seen = []
        for entry in memory.items():
            memory.put(entry.key, entry.value + 1)
            seen.append(entry.value)
        assert seen == [0] * 1200
        assert {entry.value for entry in memory.items()} == {1}

    def test_r32_a_listing_left_half_way_holds_nothing(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:04}": 0 for number in range(1200)})
        halves = [memory.keys() for _ in range(30)] + [memory.keys("key/") for _ in range(30)]
        firsts = [list(itertools.islice(half, 2)) for half in halves]
        assert firsts == [["key/0000", "key/0001"]] * 60
        assert memory.delete_many(f"key/{number:04}" for number in range(1200)) == 1200

    def test_children_of_a_level(self, tree: Memory) -> None:
        assert tree.children() == ["README", "a", "a/", "a0", "b/", "z/"]
        assert tree.children("a/") == ["a//", "a/b", "a/b/", "a/b2", "a/e\u0301/", "a/x", "a/é/"]
        assert tree.children("a/b/") == ["a/b/c", "a/b/c/"]
        assert tree.children("b/") == ["b/*/", "b/1/", "b/[1]/", "b/{k}:v/"]
        assert tree.children("b/[1]/") == ["b/[1]/x", "b/[1]/y"]
        assert tree.children("z/") == ["z/\uffff/", "z/😀/"]
        assert tree.children("absent/") == []

    def test_children_for_an_example(self, memory: Memory) -> None:
        memory.put_many(dict.fromkeys(["a/b/1", "a/b/2", "a/x", "b"], 0))
        assert memory.children("a/") == ["a/b/", "a/x"]

    def test_children_of_a_prefix_that_is_no_level(self, tree: Memory) -> None:
        assert tree.children("a/b") == ["a/b/", "a/b2"]
        assert tree.children("READ") == ["README"]
        assert tree.children("README") == []

    def test_children_deeper(self, tree: Memory) -> None:
        for depth in (2, 3, 4):
            expected = sorted({cut(key, depth) for key in TREE})
            assert tree.children(depth=depth) == expected, depth
        assert tree.children("a/", depth=2) == [
            "a//b", "a/b", "a/b/c", "a/b/c/", "a/b2", "a/e\u0301/1", "a/x", "a/é/1",
        ]  # fmt: skip

    def test_children_in_a_large_tree(self, memory: Memory) -> None:
        memory.put_many({f"a/{i}/{j}/{k}": 0 for i in range(12) for j in range(12) for k in range(12)})
        assert memory.children("a/") == sorted(f"a/{i}/" for i in range(12))
        assert memory.children("a/3/") == sorted(f"a/3/{j}/" for j in range(12))
        assert len(memory.children("a/", depth=2)) == 144

    def test_r26_count_and_delete_matching(self, tree: Memory) -> None:
        assert (tree.count(), tree.count("a/*"), tree.count("*/x"), tree.count("README")) == (19, 9, 5, 1)
        assert tree.delete_matching("b/*") == 5
        assert tree.delete_matching("b/*") == 0
        assert tree.delete_matching("a/b") == 1
        assert sorted(set(TREE) - set(tree.keys())) == sorted(k for k in TREE if k.startswith("b/") or k == "a/b")

    def test_r25_count_and_delete_matching_take_filters(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:02}": {"n": number} for number in range(20)})
        memory.put("other", {"n": 1})
        assert memory.count("key/*", where={"n": {"$lt": 5}}) == 5
        assert memory.delete_matching("key/*", where={"n": {"$lt": 5}}) == 5
        assert memory.count() == 16
        assert memory.get("other") == {"n": 1}

    def test_r26_a_large_delete_matching(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:05}": {"n": number} for number in range(5000)})
        memory.put("kept", 1)
        assert memory.delete_matching("key/*", where={"n": {"$gte": 2500}}) == 2500
        assert memory.delete_matching("key/*") == 2500
        assert list(memory.keys()) == ["kept"]

    def test_r22_listings_skip_the_dead(self, tree: Memory) -> None:
        expire(tree, "a/b/c")
        expire(tree, "dead/1")
        assert tree.children() == ["README", "a", "a/", "a0", "b/", "z/"]
        assert tree.children("a/b/") == ["a/b/c/"]
        assert list(tree.keys("a/b/")) == ["a/b/c/d"]
        assert tree.delete_matching("dead/*") == 0

    def test_clear_counts_and_empties(self, tree: Memory) -> None:
        other = tree.partition("other")
        other.put("key", 1)
        assert tree.clear() == len(TREE)
        assert (tree.count(), tree.children(), list(tree.items()), tree.clear()) == (0, [], [], 0)
        assert other.get("key") == 1
