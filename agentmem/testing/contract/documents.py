"""R14: append to lists and merge into objects, atomically, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidOperation
from agentmem.operations import Append, Merge, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, exactly, expire, run_threads, snapshot

if TYPE_CHECKING:
    from agentmem.memory import Memory

#: (target, patch, result): RFC 7396, appendix A, where target and patch are objects, and some more.
PATCHES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": 1}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}),
    ({"a": 1}, {}, {"a": 1}),
    ({"a": 1}, {"absent": None}, {"a": 1}),
    ({"z": 1, "a": 2}, {"m": 3, "z": 4}, {"z": 4, "a": 2, "m": 3}),
    ({"a": 1}, {"a": [None, {"b": None}]}, {"a": [None, {"b": None}]}),
    ({"a.b": 1}, {"a": {"b": 2}}, {"a.b": 1, "a": {"b": 2}}),
    ({"a": 1e22}, {"b": -0.0}, {"a": 1e22, "b": -0.0}),
    ({"": 1}, {"": {"": 2}}, {"": {"": 2}}),
]


class Documents(Contract):
    """Lists and objects that many writers add to."""

    def test_r14_append_makes_a_list_and_returns_its_length(self, memory: Memory) -> None:
        assert memory.append("log", "a") == 1
        assert memory.append("log", "b", {"c": [1]}) == 3
        assert memory.append("log", ["d"]) == 4
        assert memory.get("log") == ["a", "b", {"c": [1]}, ["d"]]

    def test_r14_append_keeps_the_newest(self, memory: Memory) -> None:
        assert memory.append("log", *range(10), limit=4) == 4
        assert memory.get("log") == [6, 7, 8, 9]
        assert memory.append("log", 10, limit=4) == 4
        assert memory.append("log", 11) == 5
        assert memory.get("log") == [7, 8, 9, 10, 11]
        assert memory.append("log", 12, limit=1) == 1
        assert memory.append("log", 13, limit=100) == 2
        assert memory.get("log") == [12, 13]

    @pytest.mark.parametrize("value", ["text", 1, None, True, {"a": []}], ids=repr)
    def test_r14_append_needs_a_list(self, memory: Memory, value: Any) -> None:
        memory.put("key", value, ttl=LONG)
        before = snapshot(memory)
        with pytest.raises(InvalidOperation) as caught:
            memory.append("key", 1)
        assert caught.value.key == "key"
        with pytest.raises(InvalidOperation):
            memory.apply([Put("other", 1), Append("key", 1)])
        assert snapshot(memory) == before

    def test_r14_threads_append_each_item_once_in_their_order(self, memory: Memory) -> None:
        run_threads(10, lambda index: [memory.append("log", [index, n]) for n in range(10)])
        log = memory.get("log")
        assert len(log) == 100
        for index in range(10):
            assert [n for writer, n in log if writer == index] == list(range(10))

    def test_r14_threads_append_within_a_limit(self, memory: Memory) -> None:
        lengths = run_threads(8, lambda index: [memory.append("log", [index, n], limit=5) for n in range(10)])
        assert max(length for thread in lengths for length in thread) == 5
        assert len(memory.get("log")) == 5

    @pytest.mark.parametrize(("target", "patch", "expected"), PATCHES)
    def test_r14_merge_follows_rfc_7396(self, memory: Memory, target: Any, patch: Any, expected: Any) -> None:
        memory.put("key", target)
        assert exactly(memory.merge("key", patch).value) == exactly(expected)
        assert exactly(memory.get("key")) == exactly(expected)

    def test_r14_merge_makes_an_object(self, memory: Memory) -> None:
        entry = memory.merge("key", {"a": 1, "b": None, "c": {"d": None, "e": 2}})
        assert entry.value == {"a": 1, "c": {"e": 2}}
        assert memory.entry("key") == entry

    @pytest.mark.parametrize("value", ["text", 1, None, False, [{}]], ids=repr)
    def test_r14_merge_needs_an_object(self, memory: Memory, value: Any) -> None:
        memory.put("key", value, ttl=LONG)
        before = snapshot(memory)
        with pytest.raises(InvalidOperation) as caught:
            memory.merge("key", {"a": 1})
        assert caught.value.key == "key"
        with pytest.raises(InvalidOperation):
            memory.apply([Put("other", 1), Merge("key", {"a": 1})])
        assert snapshot(memory) == before

    def test_r14_threads_merge_without_loss(self, memory: Memory) -> None:
        run_threads(10, lambda index: [memory.merge("key", {f"t{index}": {f"n{n}": n}}) for n in range(8)])
        assert memory.get("key") == {f"t{index}": {f"n{n}": n for n in range(8)} for index in range(10)}

    def test_r20_append_and_merge_keep_what_stands(self, memory: Memory) -> None:
        for key, value, write in (
            ("list", [1], lambda: memory.append("list", 2)),
            ("object", {"a": 1}, lambda: memory.merge("object", {"b": 2})),
        ):
            first = memory.put(key, value, ttl=LONG, metadata={"owner": "x"})
            write()
            second = memory.entry(key)
            assert second is not None
            assert (second.expires_at, second.created_at) == (first.expires_at, first.created_at)
            assert second.metadata == {"owner": "x"}
            assert second.version > first.version

    def test_r22_what_expired_is_not_added_to(self, memory: Memory) -> None:
        expire(memory, "list", ["old"])
        expire(memory, "object", {"old": 1})
        assert memory.append("list", "new") == 1
        assert memory.merge("object", {"new": 1}).value == {"new": 1}
        assert memory.get("list") == ["new"]
        assert memory.entry("list").expires_at is None  # type: ignore[union-attr]

    def test_r14_what_is_appended_belongs_to_the_store(self, memory: Memory) -> None:
        item = {"a": [1]}
        memory.append("log", item)
        item["a"].append(2)
        assert memory.get("log") == [{"a": [1]}]
