"""R11, R13: put, delete, pop, touch and update; expectations are decided in the same step as the write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidOperation, VersionConflict
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, eventually, expire, run_threads, snapshot

if TYPE_CHECKING:
    from agentmem.memory import Memory


class Writing(Contract):
    """One key at a time."""

    def test_r11_put_replaces_value_metadata_and_ttl(self, memory: Memory) -> None:
        first = memory.put("key", {"a": 1}, ttl=LONG, metadata={"owner": "x"})
        second = memory.put("key", [2])
        assert (second.value, second.metadata, second.expires_at) == ([2], {}, None)
        assert memory.entry("key") == second != first
        third = memory.put("key", 3, ttl=LONG, metadata={"owner": "y"})
        assert third.expires_at is not None
        assert (third.value, third.metadata) == (3, {"owner": "y"})

    def test_r11_pitfall_created_at_is_kept_by_overwriting(self, memory: Memory) -> None:
        first = memory.put("key", 1)
        eventually(lambda: memory.put("other", 1).updated_at > first.updated_at)
        second = memory.put("key", 2)
        assert second.created_at == first.created_at == first.updated_at
        assert second.updated_at > first.updated_at
        assert second.version > first.version

    def test_r11_a_new_life_has_a_new_created_at(self, memory: Memory) -> None:
        first = memory.put("key", 1)
        memory.delete("key")
        eventually(lambda: memory.put("other", 1).updated_at > first.updated_at)
        assert memory.put("key", 2).created_at > first.created_at

    def test_r11_put_returns_what_is_stored(self, memory: Memory) -> None:
        put = memory.put("key", {"b": 1, "a": [2]}, ttl=LONG, metadata={"owner": "x"})
        assert put == memory.entry("key") == memory.search("key")[0]
        assert (put.key, put.value, put.metadata) == ("key", {"b": 1, "a": [2]}, {"owner": "x"})

    def test_r11_delete_tells_whether_there_was_an_entry(self, memory: Memory) -> None:
        memory.put("key", 1)
        assert memory.delete("key") is True
        assert memory.delete("key") is False
        assert (memory.get("key"), memory.entry("key"), memory.exists("key")) == (None, None, False)

    def test_r11_pop_returns_and_removes(self, memory: Memory) -> None:
        memory.put("key", {"a": 1})
        assert memory.pop("key") == {"a": 1}
        assert memory.pop("key") is None
        assert memory.pop("key", 7) == 7

    def test_r11_touch_moves_expiry_and_version_only(self, memory: Memory) -> None:
        first = memory.put("key", {"a": 1}, metadata={"owner": "x"})
        assert memory.touch("key", LONG) is True
        second = memory.entry("key")
        assert second is not None
        assert second.expires_at is not None
        assert (second.value, second.metadata) == (first.value, first.metadata)
        assert second.created_at == first.created_at
        assert second.version > first.version
        assert memory.touch("key", None) is True
        assert memory.entry("key").expires_at is None  # type: ignore[union-attr]
        assert memory.touch("absent", LONG) is False
        assert not memory.exists("absent")

    def test_r13_if_absent(self, memory: Memory) -> None:
        first = memory.put("key", 1, if_absent=True)
        before = snapshot(memory)
        with pytest.raises(VersionConflict) as caught:
            memory.put("key", 2, if_absent=True)
        assert (caught.value.key, caught.value.expected, caught.value.current) == ("key", None, first)
        assert snapshot(memory) == before

    def test_r13_if_version_puts_over_that_version_only(self, memory: Memory) -> None:
        first = memory.put("key", 1)
        second = memory.put("key", 2, if_version=first.version)
        with pytest.raises(VersionConflict) as caught:
            memory.put("key", 3, if_version=first.version)
        assert (caught.value.key, caught.value.expected, caught.value.current) == ("key", first.version, second)
        assert caught.value.current.value == 2
        assert memory.entry("key") == second

    def test_r13_if_version_deletes_that_version_only(self, memory: Memory) -> None:
        first = memory.put("key", 1)
        second = memory.put("key", 2)
        with pytest.raises(VersionConflict) as caught:
            memory.delete("key", if_version=first.version)
        assert caught.value.current == second
        assert memory.delete("key", if_version=second.version) is True
        assert not memory.exists("key")

    def test_r13_an_expected_version_of_an_absent_key_is_a_conflict(self, memory: Memory) -> None:
        version = memory.put("key", 1).version
        memory.delete("key")
        for write in (lambda: memory.put("key", 2, if_version=version), lambda: memory.delete("key", if_version=1)):
            with pytest.raises(VersionConflict) as caught:
                write()
            assert caught.value.current is None
        assert not memory.exists("key")

    def test_r13_a_version_of_the_future_is_a_conflict(self, memory: Memory) -> None:
        entry = memory.put("key", 1)
        for wrong in (entry.version + 1, entry.version - 1, 1, 2**53, 2**63 - 1):
            with pytest.raises(VersionConflict):
                memory.put("key", 2, if_version=wrong)
        assert memory.entry("key") == entry

    def test_r22_an_expired_entry_meets_no_expectation_and_blocks_none(self, memory: Memory) -> None:
        version = expire(memory, "key")
        with pytest.raises(VersionConflict) as caught:
            memory.put("key", 2, if_version=version)
        assert caught.value.current is None
        with pytest.raises(VersionConflict):
            memory.delete("key", if_version=version)
        assert memory.put("key", 3, if_absent=True).value == 3

    def test_r13_one_of_many_threads_is_the_first(self, memory: Memory) -> None:
        def claim(index: int) -> int | None:
            try:
                return memory.put("claim", index, if_absent=True).version
            except VersionConflict as conflict:
                return None if conflict.current else -1

        won = [version for version in run_threads(16, claim) if version is not None]
        assert won == [memory.entry("claim").version]  # type: ignore[union-attr]

    def test_r13_one_of_many_threads_replaces_a_version(self, memory: Memory) -> None:
        version = memory.put("key", "start").version

        def replace(index: int) -> bool:
            try:
                memory.put("key", index, if_version=version)
            except VersionConflict:
                return False
            return True

        assert sum(run_threads(16, replace)) == 1

    def test_r11_one_of_many_threads_pops_or_deletes(self, memory: Memory) -> None:
        memory.put_many({"pop": "prize", "delete": 1})
        assert sorted(run_threads(16, lambda _: memory.pop("pop", "")))[-2:] == ["", "prize"]
        assert sum(run_threads(16, lambda _: memory.delete("delete"))) == 1

    def test_r16_update_applies_the_function_to_the_value(self, memory: Memory) -> None:
        assert memory.update("key", lambda value: [*value, 1], default=[]).value == [1]
        entry = memory.update("key", lambda value: [*value, 2])
        assert memory.entry("key") == entry
        assert entry.value == [1, 2]

    def test_r16_update_without_an_entry_needs_a_default(self, memory: Memory) -> None:
        with pytest.raises(InvalidOperation) as caught:
            memory.update("key", lambda value: value)
        assert caught.value.key == "key"
        assert memory.update("key", lambda value: value, default=None).value is None

    def test_r16_an_error_of_the_function_passes_through(self, memory: Memory) -> None:
        memory.put("key", 1)
        before = snapshot(memory)

        def fail(value: Any) -> Any:
            raise LookupError(value)

        with pytest.raises(LookupError):
            memory.update("key", fail)
        assert snapshot(memory) == before

    def test_r16_updates_by_threads_are_exact(self, memory: Memory) -> None:
        memory.put("key", {"n": 0, "by": []})

        def add(index: int) -> None:
            for _ in range(5):
                memory.update("key", lambda v: {"n": v["n"] + 1, "by": [*v["by"], index]}, attempts=1000)

        run_threads(8, add)
        value = memory.get("key")
        assert value["n"] == 40
        assert sorted(value["by"]) == sorted([*range(8)] * 5)

    def test_r16_update_of_a_missing_key_spares_who_came_first(self, memory: Memory) -> None:
        def late(value: list[str]) -> list[str]:
            if not value:
                memory.put("key", ["first"])
            return [*value, "late"]

        assert memory.update("key", late, default=[]).value == ["first", "late"]

    def test_r16_update_gives_up_after_its_attempts(self, memory: Memory) -> None:
        memory.put("key", 0)
        calls = []

        def meddle(value: int) -> int:
            calls.append(value)
            memory.put("key", value + 10)
            return value + 1

        with pytest.raises(VersionConflict):
            memory.update("key", meddle, attempts=3)
        assert (len(calls), memory.get("key")) == (3, 30)

    def test_r20_update_keeps_ttl_and_metadata(self, memory: Memory) -> None:
        first = memory.put("key", 1, ttl=LONG, metadata={"owner": "x"})
        second = memory.update("key", lambda value: value + 1)
        assert (second.value, second.expires_at, second.metadata) == (2, first.expires_at, {"owner": "x"})
        assert second.created_at == first.created_at
