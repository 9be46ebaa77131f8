"""R26: pages are exact, and a walk gives each entry once while others write."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidCursor
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import eventually, expire, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.entries import Entry, Page
    from agentmem.memory import Memory
    from agentmem.reading import Order
    from agentmem.testing.harness import Harness


def pages(memory: Memory, **query: Any) -> Iterator[Page[Entry]]:
    """The pages of a search, one request each."""
    page = memory.search(**query)
    yield page
    while page.cursor is not None:
        page = memory.search(**query, cursor=page.cursor)
        yield page


def walk(memory: Memory, **query: Any) -> list[str]:
    """The keys of all pages of a search."""
    return [entry.key for page in pages(memory, **query) for entry in page]


def fill(memory: Memory, count: int = 23) -> list[str]:
    """Put that many entries, one after another, in an order that is not that of their keys."""
    keys = [f"key/{number * 7 % count:02}" for number in range(count)]
    for number, key in enumerate(keys):
        memory.put(key, {"n": number, "even": number % 2 == 0})
    return keys


class Searching(Contract):
    """Search by key or by time of the last write, page by page."""

    def test_r26_a_limit_is_honoured_exactly(self, memory: Memory) -> None:
        fill(memory, 10)
        for limit in range(1, 13):
            page = memory.search(limit=limit)
            assert len(page) == min(limit, 10)
            assert (page.cursor is None) == (limit >= 10)

    def test_r26_the_default_limit_is_100_and_a_cursor_says_that_there_is_more(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:03}": number for number in range(101)})
        page = memory.search()
        assert (len(page), page.cursor is None) == (100, False)
        rest = memory.search(cursor=page.cursor)
        assert ([entry.key for entry in rest], rest.cursor) == (["key/100"], None)

    @pytest.mark.parametrize("limit", [1, 2, 5, 22, 23, 24, 1000])
    def test_r26_pages_give_everything_once_in_order(self, memory: Memory, limit: int) -> None:
        written = fill(memory)
        assert walk(memory, limit=limit) == sorted(written)
        assert walk(memory, limit=limit, descending=True) == sorted(written, reverse=True)
        assert walk(memory, limit=limit, order="updated") == written
        assert walk(memory, limit=limit, order="updated", descending=True) == written[::-1]

    def test_r26_pages_of_a_filtered_search(self, memory: Memory) -> None:
        written = fill(memory)
        even = written[::2]
        for limit in (1, 3, 12):
            assert walk(memory, limit=limit, where={"even": True}) == sorted(even)
            assert walk(memory, limit=limit, where={"even": True}, order="updated", descending=True) == even[::-1]
            found = list(pages(memory, limit=limit, where={"even": True}))
            assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)

    def test_r26_pages_of_a_pattern(self, memory: Memory) -> None:
        written = fill(memory)
        memory.put_many({"a": 1, "key": 2, "key0": 3, "z": 4})
        for pattern in ("key/*", "*/*", "key/??", "k*1*"):
            expected = sorted(key for key in written if pattern != "k*1*" or "1" in key)
            assert walk(memory, pattern=pattern, limit=4) == expected

    @pytest.mark.parametrize("descending", [False, True])
    def test_r26_pages_of_a_prefix_that_is_a_key_itself(self, memory: Memory, descending: bool) -> None:
        keys = ["a", "key", "key/", "key/1", "key/2", "z"]
        memory.put_many(dict.fromkeys(keys, 1))
        for prefix in ("key", "key/"):
            expected = sorted((key for key in keys if key.startswith(prefix)), reverse=descending)
            for limit in (1, 2):
                found = islice(pages(memory, pattern=f"{prefix}*", limit=limit, descending=descending), 9)
                assert [entry.key for page in found for entry in page] == expected

    def test_r22_a_walk_goes_past_a_prefix_that_has_expired(self, memory: Memory) -> None:
        memory.put("key/1", 1)
        expire(memory, "key")
        assert list(memory.keys("key", limit=1)) == ["key/1"]

    def test_r26_entries_written_at_one_moment_are_ordered_by_key(self, memory: Memory) -> None:
        keys = [f"key/{number:02}" for number in range(20)]
        memory.put_many(dict.fromkeys(keys, 0))
        for limit in (1, 3, 7, 20):
            assert sorted(walk(memory, order="updated", limit=limit)) == keys
        ties = walk(memory, order="updated", limit=3)
        assert walk(memory, order="updated", limit=3, descending=True) == ties[::-1]

    def test_r26_nothing_found_is_an_empty_last_page(self, memory: Memory) -> None:
        memory.put("key", 1)
        for page in (memory.search("absent*"), memory.search(where={"a": 1}), memory.search("k", order="updated")):
            assert (list(page), page.cursor) == ([], None)

    def test_r26_a_walk_while_entries_come_and_go(self, memory: Memory) -> None:
        memory.put_many({f"key/{number:02}": number for number in range(30)})
        meddling: list[Callable[[], Any]] = [
            lambda: memory.put("key/00a", "behind the cursor"),
            lambda: memory.delete_many([f"key/{number:02}" for number in (1, 2, 9, 10)]),
            lambda: memory.put_many({"key/15a": "before it", "key/15b": "before it"}),
            lambda: memory.put_many({f"key/{number:02}": "rewritten" for number in range(30) if number % 3 == 0}),
            lambda: memory.delete("key/25"),
        ]
        walked = []
        for page in pages(memory, limit=4):
            walked += [entry.key for entry in page]
            if meddling:
                meddling.pop(0)()
        assert len(walked) == len(set(walked))
        lived = {f"key/{number:02}" for number in range(30)} - {f"key/{number:02}" for number in (1, 2, 9, 10, 25)}
        assert lived <= set(walked)
        assert "key/25" not in walked

    def test_r26_the_cursors_entry_may_go(self, memory: Memory) -> None:
        written = fill(memory, 9)
        orders: list[tuple[Order, list[str]]] = [("key", sorted(written)), ("updated", written)]
        for order, expected in orders:
            page = memory.search(order=order, limit=3)
            memory.delete(page[-1].key)
            assert walk(memory, order=order, limit=3)[:2] == expected[:2]
            rest = memory.search(order=order, limit=100, cursor=page.cursor)
            assert [entry.key for entry in rest] == expected[3:]
            fill(memory, 9)

    @pytest.mark.parametrize("descending", [False, True])
    def test_r26_a_walk_by_time_gives_a_rewritten_entry_at_most_once(self, memory: Memory, descending: bool) -> None:
        written = fill(memory, 20)
        walked: list[str] = []
        for number, page in enumerate(pages(memory, order="updated", descending=descending, limit=3)):
            walked += [entry.key for entry in page]
            memory.put(written[(number * 5) % 20], "rewritten")
            memory.put(f"new/{number}", "new")
        assert len(walked) == len(set(walked))
        rewritten = {written[(number * 5) % 20] for number in range(10)}
        assert set(written) - rewritten <= set(walked)
        assert [key for key in walked if key in set(written) - rewritten] == [
            key for key in (reversed(written) if descending else written) if key not in rewritten
        ]

    @pytest.mark.parametrize("order", ["key", "updated"])
    def test_r26_walks_while_threads_write(self, memory: Memory, order: str) -> None:
        still = {f"still/{number:03}": number for number in range(60)}
        memory.put_many(still)
        done = threading.Event()

        def work(index: int) -> list[list[str]]:
            if index < 2:
                walks = [walk(memory, order=order, limit=7) for _ in range(6)]
                if index == 0:
                    done.set()
                return walks
            number = 0
            while not done.is_set():
                number += 1
                memory.put(f"still/{number % 60:03}~{index}", number)
                memory.delete(f"still/{(number * 13) % 60:03}~{index}")
            return []

        for walked in (walked for thread in run_threads(5, work) for walked in thread):
            assert len(walked) == len(set(walked))
            assert [key for key in walked if "~" not in key] == list(still)

    def test_r22_entries_that_expire_leave_a_walk(self, memory: Memory) -> None:
        memory.put_many({f"key/{number}": number for number in range(6)})
        page = memory.search(limit=2)
        expire(memory, "key/4")
        assert [entry.key for entry in memory.search(limit=9, cursor=page.cursor)] == ["key/2", "key/3", "key/5"]

    def test_r26_a_cursor_belongs_to_its_query(self, memory: Memory) -> None:
        fill(memory)
        query: dict[str, Any] = {"pattern": "key/*", "where": {"n": {"$gte": 0}}, "order": "key", "descending": False}
        cursor = memory.search(**query, limit=5).cursor
        others: list[dict[str, Any]] = [
            {"pattern": "key*"},
            {"where": {"n": {"$gte": 1}}},
            {"where": None},
            {"order": "updated"},
            {"descending": True},
        ]
        for other in others:
            with pytest.raises(InvalidCursor):
                memory.search(**(query | other), limit=5, cursor=cursor)
        assert len(memory.search(**query, limit=7, cursor=cursor)) == 7

    def test_r26_a_cursor_belongs_to_its_partition_and_scope(self, memory: Memory) -> None:
        fill(memory)
        cursor = memory.search(limit=5).cursor
        for other in (memory.partition("other"), memory.scoped("key/"), memory.scoped("k").scoped("ey/")):
            with pytest.raises(InvalidCursor):
                other.search(limit=5, cursor=cursor)

    def test_r26_a_damaged_cursor_is_refused(self, memory: Memory) -> None:
        fill(memory)
        cursor = memory.search(limit=5).cursor
        assert isinstance(cursor, str)
        assert cursor.isascii()
        for damaged in (cursor[:-1], cursor[1:], cursor + "A", cursor[::-1], cursor.swapcase(), "", "x"):
            with pytest.raises(InvalidCursor):
                memory.search(limit=5, cursor=damaged)

    def test_r26_a_cursor_serves_another_handle(self, shared: Harness) -> None:
        with shared.connect() as first, shared.connect() as second:
            written = sorted(fill(first))
            page = first.search(limit=5)
            assert [entry.key for entry in second.search(limit=5, cursor=page.cursor)] == written[5:10]

    def test_r26_order_by_update_follows_every_write(self, memory: Memory) -> None:
        writes: list[Callable[[], Any]] = [
            lambda: memory.put("b", 1),
            lambda: memory.increment("a"),
            lambda: memory.append("d", 1),
            lambda: memory.merge("c", {}),
            lambda: memory.touch("b", 60),
            lambda: memory.put("a", 2),
        ]
        previous = memory.put("zero", 0).updated_at
        for write in writes:
            write()
            newest = memory.search(order="updated", descending=True, limit=1)[0]
            previous = newest.updated_at
            eventually(lambda: memory.put("zero", 0).updated_at > previous)  # noqa: B023 - ends before the next turn
        assert walk(memory, pattern="?", order="updated") == ["d", "c", "b", "a"]
