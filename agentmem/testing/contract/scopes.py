"""`scoped`: a handle that can neither see nor touch a key outside of its prefix; its keys are relative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidKey, PermissionDenied, VersionConflict
from agentmem.operations import Append, Check, Delete, Increment, Merge, Put, Touch
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

PREFIXES = ("run/1/", "run", "x[1]/", "a*", "a?", "a\\", "%_", "é", "{x}:", "😀/")

#: What a scoped handle must refuse: each of these reaches beyond any prefix.
BEYOND: dict[str, Callable[[Memory], Any]] = {
    "partition": lambda scoped: scoped.partition("other"),
    "partitions": lambda scoped: scoped.partitions(),
    "drop_partition": lambda scoped: scoped.drop_partition("default"),
    "check": lambda scoped: scoped.check(),
    "purge_expired": lambda scoped: scoped.purge_expired(),
}

#: Every way to change something, over keys that exist inside of the scope and, by the same name, outside of it.
CHANGES: dict[str, Callable[[Memory], Any]] = {
    "put": lambda scoped: scoped.put("o", 1),
    "put_many": lambda scoped: scoped.put_many({"n": 1, "l": 2, "new": 3}),
    "delete": lambda scoped: scoped.delete("n"),
    "delete_many": lambda scoped: scoped.delete_many(["n", "l", "o", "../n"]),
    "pop": lambda scoped: scoped.pop("n"),
    "increment": lambda scoped: scoped.increment("n"),
    "append": lambda scoped: scoped.append("l", 1),
    "merge": lambda scoped: scoped.merge("o", {"b": 1}),
    "update": lambda scoped: scoped.update("n", lambda value: value + 1),
    "touch": lambda scoped: scoped.touch("n", 60),
    "apply": lambda scoped: scoped.apply(
        [Put("a", 1), Delete("n"), Increment("i"), Append("l", 1), Merge("o", {}), Touch("o", 9), Check("n", None)]
    ),
    "run": lambda scoped: scoped.run(lambda tx: tx.put("n", tx.get("n") + 1)),
    "delete_matching": lambda scoped: scoped.delete_matching("*"),
    "delete_matching where": lambda scoped: scoped.delete_matching("*", where={"a": {"$exists": False}}),
    "clear": lambda scoped: scoped.clear(),
    "nested": lambda scoped: scoped.scoped("deep/").clear(),
}


class Scopes(Contract):
    """Every method keeps to the prefix; none forgets it."""

    @pytest.fixture
    def scoped(self, memory: Memory) -> Memory:
        """A scope `in/` with three entries, which have namesakes on every side of it."""
        for prefix in ("", "in", "in/", "in0", "out/", "in/in/", "IN/", "../"):
            memory.put_many({f"{prefix}n": 1, f"{prefix}l": [1], f"{prefix}o": {"a": prefix}})
        memory.delete_many(["in/in/n", "in/in/l", "in/in/o"])
        return memory.scoped("in/")

    def test_scoped_keys_are_relative(self, memory: Memory) -> None:
        for prefix in PREFIXES:
            entry = memory.scoped(prefix).put("plan", prefix)
            assert entry.key == "plan"
            assert memory.get(f"{prefix}plan") == prefix
        for prefix in PREFIXES:
            scoped = memory.scoped(prefix)
            assert scoped.get("plan") == prefix
            assert next(scoped.keys("plan")) == "plan"

    def test_scoped_prefixes_are_literal(self, memory: Memory) -> None:
        for prefix in PREFIXES:
            memory.put_many({f"{prefix}1": 1, f"{prefix}2": 2})
        memory.put_many({"aX1": 3, "x1/1": 3, "aXY1": 3})
        for prefix in PREFIXES:
            inside = [key.removeprefix(prefix) for key in list(memory.keys()) if key.startswith(prefix)]
            scoped = memory.scoped(prefix)
            assert list(scoped.keys()) == inside
            assert [entry.key for entry in scoped.search()] == inside
            assert scoped.count() == len(inside)

    def test_scoped_reads_see_only_the_inside(self, scoped: Memory) -> None:
        assert (scoped.get("n"), scoped.get("out/n"), scoped.get("/n")) == (1, None, None)
        assert scoped.get_many(["n", "../n", "out/n", "in/n"]) == {"n": 1}
        assert list(scoped.keys()) == ["l", "n", "o"]
        assert [entry.key for entry in scoped.items()] == ["l", "n", "o"]
        assert [entry.key for entry in scoped.search("?")] == ["l", "n", "o"]
        assert [entry.key for entry in scoped.search(order="updated", limit=9)] == ["l", "n", "o"]
        assert scoped.children() == ["l", "n", "o"]
        assert (scoped.count(), scoped.count("*n"), scoped.count("out*")) == (3, 1, 0)
        assert scoped.count(where={"a": {"$exists": True}}) == 1

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_scoped_changes_spare_the_outside(
        self, memory: Memory, scoped: Memory, change: Callable[[Memory], Any]
    ) -> None:
        def outside() -> dict[str, Any]:
            return {key: entry for key, entry in snapshot(memory).items() if not key.startswith("in/")}

        before = outside()
        change(scoped)
        assert outside() == before
        assert len(before) == 18

    @pytest.mark.parametrize("beyond", BEYOND.values(), ids=BEYOND)
    def test_scoped_refuses_what_reaches_beyond(self, scoped: Memory, beyond: Callable[[Memory], Any]) -> None:
        with pytest.raises(PermissionDenied):
            beyond(scoped)
        with pytest.raises(PermissionDenied):
            beyond(scoped.scoped("deeper/"))

    def test_scoped_clear_counts_the_inside(self, memory: Memory, scoped: Memory) -> None:
        outside = memory.count() - 3
        assert scoped.clear() == 3
        assert (scoped.count(), memory.count()) == (0, outside)

    def test_scoped_stats_tell_only_of_the_inside(self, memory: Memory, scoped: Memory) -> None:
        memory.partition("secret").put("key", "x" * 1000)
        stats = scoped.stats()
        assert stats.entries == 3
        assert stats.value_bytes < 100
        assert "secret" not in stats.partitions
        assert sum(stats.partitions.values()) == 3

    def test_scopes_nest(self, memory: Memory) -> None:
        inner = memory.scoped("a/").scoped("b/")
        inner.put("key", 1)
        assert memory.get("a/b/key") == 1
        assert memory.scoped("a/").get("b/key") == 1
        assert list(inner.keys()) == ["key"]
        assert memory.scoped("a/").children() == ["b/"]

    def test_scoped_errors_speak_in_relative_keys(self, scoped: Memory) -> None:
        with pytest.raises(VersionConflict) as caught:
            scoped.put("n", 2, if_absent=True)
        assert caught.value.key == "n"
        assert caught.value.current.key == "n"
        with pytest.raises(VersionConflict) as caught:
            scoped.apply([Check("l", 1)])
        assert caught.value.key == caught.value.current.key == "l"

    def test_scoped_results_speak_in_relative_keys(self, scoped: Memory) -> None:
        assert set(scoped.put_many({"p": 1, "q": 2})) == {"p", "q"}
        results = scoped.apply([Put("r", 1), Delete("p"), Increment("q")])
        assert [result.key for result in results] == ["r", "p", "q"]
        assert [result.entry.key for result in results if result.entry] == ["r", "q"]

    def test_scoped_a_prefix_and_key_share_the_limit_of_1024_bytes(self, memory: Memory) -> None:
        scoped = memory.scoped("p" * 1000)
        scoped.put("k" * 24, 1)
        with pytest.raises(InvalidKey):
            scoped.put("k" * 25, 1)
        assert memory.count() == 1

    def test_scoped_the_prefix_itself_is_outside(self, memory: Memory, scoped: Memory) -> None:
        # Its relative key would be empty, which is no key.
        memory.put("in/", {"a": 1})
        assert (scoped.count(), scoped.count("*", where={"a": 1})) == (3, 0)
        assert list(scoped.keys()) == scoped.children() == [entry.key for entry in scoped.search()] == ["l", "n", "o"]
        assert scoped.stats().entries == 3
        assert scoped.delete_matching("*") == 3
        assert scoped.clear() == 0
        assert memory.get("in/") == {"a": 1}

    def test_scoped_pages_walk_the_inside(self, memory: Memory) -> None:
        memory.put_many({f"{prefix}/{number:02}": number for prefix in "abc" for number in range(25)})
        scoped = memory.scoped("b/")
        page = scoped.search(limit=10)
        walked = [entry.key for entry in page]
        while page.cursor:
            page = scoped.search(limit=10, cursor=page.cursor)
            walked += [entry.key for entry in page]
        assert walked == [f"{number:02}" for number in range(25)]
