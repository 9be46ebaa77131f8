"""R12: versions strictly increase and are never used twice, so that they serve as fencing tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import VersionConflict
from agentmem.operations import Append, Delete, Increment, Merge, Operation, Put, Touch
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, SHORT, eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

#: Every way by which an entry can go.
REMOVALS: dict[str, Callable[[Memory], Any]] = {
    "delete": lambda memory: memory.delete("key"),
    "pop": lambda memory: memory.pop("key"),
    "delete_many": lambda memory: memory.delete_many(["key", "other"]),
    "delete_matching": lambda memory: memory.delete_matching("k*"),
    "delete_matching where": lambda memory: memory.delete_matching("k*", where={"$not": {"a": 1}}),
    "apply": lambda memory: memory.apply([Put("x", 1), Delete("key")]),
    "transaction": lambda memory: memory.run(lambda tx: tx.delete("key")),
    "put and delete": lambda memory: memory.apply([Put("key", 1), Put("key", 2), Delete("key")]),
    "clear": lambda memory: memory.clear(),
    "scoped clear": lambda memory: memory.scoped("ke").clear(),
    "drop": lambda memory: memory.drop_partition("default"),
}


def vanish(memory: Memory) -> None:
    """Let the entry expire."""
    memory.touch("key", SHORT)
    eventually(lambda: not memory.exists("key"))


def vanish_for_good(memory: Memory) -> None:
    """Let the entry expire and go."""
    vanish(memory)
    memory.purge_expired()


REMOVALS |= {"expiry": vanish, "expiry and purge": vanish_for_good}


class Versions(Contract):
    """A version names one state of one key, for ever."""

    def test_r12_every_write_moves_the_version(self, memory: Memory) -> None:
        writes: list[Callable[[str], Any]] = [
            lambda key: memory.put(key, 1),
            lambda key: memory.put(key, 1),
            memory.increment,
            lambda key: memory.touch(key, LONG),
            lambda key: memory.touch(key, None),
            lambda key: memory.put(key, {}),
            lambda key: memory.merge(key, {}),
            lambda key: memory.update(key, lambda value: value),
            lambda key: memory.put_many({key: []}),
            lambda key: memory.append(key, 1),
            lambda key: memory.apply([Append(key, 2)]),
        ]
        versions = []
        for write in writes:
            write("key")
            versions.append(memory.entry("key").version)  # type: ignore[union-attr]
        assert versions == sorted(set(versions))
        assert all(type(version) is int for version in versions)

    def test_r12_reads_and_refused_writes_do_not(self, memory: Memory) -> None:
        entry = memory.put("key", "text")
        memory.get("key")
        memory.search()
        for refused in (
            lambda: memory.put("key", 1, if_absent=True),
            lambda: memory.put("key", 1, if_version=1),
            lambda: memory.increment("key"),
            lambda: memory.delete("key", if_version=1),
        ):
            with pytest.raises(Exception, match="key"):
                refused()
        assert memory.entry("key") == entry

    @pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
    def test_r12_a_version_never_comes_again(self, memory: Memory, remove: Callable[[Memory], Any]) -> None:
        old = memory.put("key", "first").version
        for _ in range(20):
            old = memory.put("key", "again").version
        remove(memory)
        assert not memory.exists("key")
        new = memory.put("key", "second").version
        assert new > old
        with pytest.raises(VersionConflict):
            memory.put("key", "zombie", if_version=old)
        assert memory.get("key") == "second"

    def test_r12_versions_run_ahead_of_no_clock(self, memory: Memory) -> None:
        # Far more writes of one key in a batch than any clock has ticks for, then a delete, then a new life.
        results = memory.apply([Increment("key") for _ in range(5000)])
        versions = [result.entry.version for result in results if result.entry]
        assert versions == sorted(set(versions))
        assert len(versions) == 5000
        removals: list[Callable[[], int]] = [
            lambda: memory.delete("key"),
            memory.clear,
            lambda: memory.drop_partition("default"),
        ]
        for remove in removals:
            memory.apply([Increment("key") for _ in range(5000)])
            last = memory.entry("key").version  # type: ignore[union-attr]
            remove()
            assert memory.put("key", 1).version > last

    @pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
    def test_r12_a_clock_that_is_set_back_repeats_no_version(
        self, memory: Memory, harness: Harness, remove: Callable[[Memory], Any]
    ) -> None:
        if not harness.sets_versions:
            pytest.skip("the harness cannot write with a clock of the future")
        memory.put("key", "now")
        ahead = 2**52
        harness.set_version("default", "key", ahead)
        assert memory.entry("key").version == ahead  # type: ignore[union-attr]
        for write in (
            lambda: memory.put("key", 1),
            lambda: memory.increment("key"),
            lambda: memory.put_many({"key": 1}),
        ):
            write()
            assert memory.entry("key").version > ahead  # type: ignore[union-attr]
            ahead = memory.entry("key").version  # type: ignore[union-attr]
        remove(memory)
        with pytest.raises(VersionConflict):
            memory.put("key", "zombie", if_version=ahead)
        assert memory.put("key", "new", if_absent=True).version > ahead

    def test_r12_within_a_batch_too(self, memory: Memory) -> None:
        batch: list[Operation] = [
            Put("key", 1),
            Delete("key"),
            Put("key", {}),
            Merge("key", {"a": 1}),
            Touch("key", 9),
            Put("key", 2),
        ]
        versions = [result.entry.version for result in memory.apply(batch) if result.entry]
        assert versions == sorted(set(versions))
        assert len(versions) == 5
        assert memory.entry("key").version == versions[-1]  # type: ignore[union-attr]

    def test_r12_versions_fit_a_double(self, memory: Memory) -> None:
        assert 0 < memory.put("key", 1).version < 2**53

    def test_r12_threads_get_distinct_versions(self, memory: Memory) -> None:
        def write(index: int) -> list[int]:
            return [memory.put("key", index).version for _ in range(25)]

        per_thread = run_threads(8, write)
        assert all(versions == sorted(versions) for versions in per_thread)
        together = [version for versions in per_thread for version in versions]
        assert len(set(together)) == 200
        assert memory.entry("key").version == max(together)  # type: ignore[union-attr]

    def test_r12_a_fencing_token_stops_the_late_holder(self, memory: Memory) -> None:
        lease = memory.put("lease", "a", ttl=SHORT)
        eventually(lambda: not memory.exists("lease"))
        successor = memory.put("lease", "b", if_absent=True)
        assert successor.version > lease.version
        with pytest.raises(VersionConflict):
            memory.delete("lease", if_version=lease.version)
        assert memory.get("lease") == "b"

    def test_r12_handles_share_the_order_of_versions(self, shared: Harness) -> None:
        with shared.connect() as first, shared.connect() as second:
            versions = [handle.put("key", 1).version for handle in (first, second) * 10]
            first.delete("key")
            versions.append(second.put("key", 1).version)
            assert versions == sorted(set(versions))
