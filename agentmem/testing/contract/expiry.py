"""R19 to R22, R24: times to live, by the server's clock; an expired entry is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import VersionConflict
from agentmem.operations import Append, Check, Delete, Increment, Merge, Put, Touch
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, SHORT, eventually, expire

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.entries import Entry
    from agentmem.memory import Memory

CENTURY = timedelta(days=36500)

#: Every read, and what it must answer where the only entry of the store, at "dead", has expired.
READS: dict[str, tuple[Callable[[Memory], Any], Any]] = {
    "get": (lambda m: m.get("dead", "default"), "default"),
    "entry": (lambda m: m.entry("dead"), None),
    "exists": (lambda m: m.exists("dead"), False),
    "get_many": (lambda m: m.get_many(["dead"]), {}),
    "search": (lambda m: list(m.search()), []),
    "search literal": (lambda m: list(m.search("dead")), []),
    "search updated": (lambda m: list(m.search(order="updated", descending=True)), []),
    "search where": (lambda m: list(m.search(where={"a": 1})), []),
    "search where not": (lambda m: list(m.search(where={"b": {"$ne": 1}})), []),
    "search where time": (lambda m: list(m.search(where={"@expires_at": {"$exists": True}})), []),
    "keys": (lambda m: list(m.keys()), []),
    "keys prefix": (lambda m: list(m.keys("de")), []),
    "items": (lambda m: list(m.items()), []),
    "children": (lambda m: m.children(), []),
    "children deep": (lambda m: m.children("d", depth=2), []),
    "count": (lambda m: m.count(), 0),
    "count pattern": (lambda m: m.count("d*"), 0),
    "count where": (lambda m: m.count(where={"a": 1}), 0),
    "stats": (lambda m: (m.stats().entries, m.stats().value_bytes, m.stats().partitions["default"]), (0, 0, 0)),
    "scoped": (
        lambda m: (m.scoped("de").get("ad"), list(m.scoped("de").keys()), m.scoped("de").count()),
        (None, [], 0),
    ),
    "transaction": (lambda m: m.run(lambda tx: tx.get("dead", "default")), "default"),
}

#: Every change that must find nothing to change.
CHANGES: dict[str, tuple[Callable[[Memory], Any], Any]] = {
    "delete": (lambda m: m.delete("dead"), False),
    "delete_many": (lambda m: m.delete_many(["dead"]), 0),
    "delete_matching": (lambda m: m.delete_matching("*"), 0),
    "delete_matching where": (lambda m: m.delete_matching("*", where={"a": 1}), 0),
    "pop": (lambda m: m.pop("dead", "default"), "default"),
    "touch": (lambda m: m.touch("dead", LONG), False),
    "clear": (lambda m: m.clear(), 0),
    "apply": (
        lambda m: [r.value for r in m.apply([Delete("dead"), Touch("dead", 9), Check("dead", None)])],
        [False, False, None],
    ),
}


def lifetime(entry: Entry | None) -> float | None:
    """The seconds from an entry's last write to its expiry."""
    assert entry is not None
    return None if entry.expires_at is None else (entry.expires_at - entry.updated_at).total_seconds()


class Expiry(Contract):
    """Short real TTLs, never a patched clock."""

    @pytest.mark.parametrize(
        ("ttl", "seconds"),
        [(60, 60), (0.5, 0.5), (1.25, 1.25), (timedelta(minutes=2), 120), (CENTURY, CENTURY.total_seconds())],
        ids=str,
    )
    def test_r19_ttls_are_seconds_or_timedeltas(self, memory: Memory, ttl: Any, seconds: float) -> None:
        assert lifetime(memory.put("key", 1, ttl=ttl)) == pytest.approx(seconds, abs=0.002)
        assert lifetime(memory.entry("key")) == pytest.approx(seconds, abs=0.002)

    def test_r19_ttls_round_up_to_a_millisecond(self, memory: Memory) -> None:
        # And where the server's clock for expiries has milliseconds, to the next of these: never down.
        for ttl in (1e-9, 0.0004, timedelta(microseconds=1)):
            seconds = lifetime(memory.put("key", 1, ttl=ttl))
            assert seconds is not None
            assert 0.001 <= seconds < 0.002
        seconds = lifetime(memory.put("key", 1, ttl=60.0001))
        assert seconds is not None
        assert 60.001 <= seconds < 60.002

    def test_r19_pitfall_half_a_minute_is_not_zero(self, memory: Memory) -> None:
        assert lifetime(memory.put("key", 1, ttl=timedelta(minutes=0.5))) == pytest.approx(30, abs=0.002)
        assert memory.get("key") == 1

    def test_r20_without_a_policy_nothing_expires(self, memory: Memory) -> None:
        writes = [memory.put("a", 1), memory.merge("b", {}), memory.update("c", lambda v: v, default=1)]
        memory.increment("d")
        memory.append("e", 1)
        memory.put_many({"f": 1})
        assert [entry.expires_at for entry in [*writes, *memory.items()]] == [None] * 9

    def test_r20_the_policy_gives_new_entries_their_ttl(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90)
        jobs.put("put", 1)
        jobs.put_many({"put_many": 1})
        jobs.increment("increment")
        jobs.append("append", 1)
        jobs.merge("merge", {})
        jobs.update("update", lambda value: value, default=1)
        jobs.run(lambda tx: tx.put("transaction", 1))
        jobs.scoped("sc").put("oped", 1)
        jobs.apply([Put("apply put", 1), Increment("apply increment"), Append("apply append", 1)])
        jobs.apply([Merge("apply merge", {})])
        lifetimes = {entry.key: lifetime(entry) for entry in jobs.items()}
        assert lifetimes == {key: pytest.approx(90, abs=0.002) for key in lifetimes}
        assert len(lifetimes) == 12

    def test_r20_none_means_never_whatever_the_policy(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90)
        assert jobs.put("a", 1, ttl=None).expires_at is None
        jobs.increment("b", ttl=None)
        jobs.put_many({"c": 1}, ttl=None)
        jobs.put("d", 1)
        jobs.touch("d", None)
        jobs.apply([Put("e", 1, ttl=None)])
        assert [entry.expires_at for entry in jobs.items()] == [None] * 5

    def test_r20_put_unset_takes_the_default_and_not_what_stands(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90)
        jobs.put("key", 1, ttl=LONG)
        assert lifetime(jobs.put("key", 2)) == pytest.approx(90, abs=0.002)

    def test_r20_what_stands_stays_whatever_the_policy(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90)
        first = jobs.put("never", 1, ttl=None)
        jobs.increment("never")
        jobs.update("never", lambda value: value + 1)
        jobs.apply([Increment("never")])
        assert jobs.entry("never").expires_at is first.expires_at is None  # type: ignore[union-attr]
        second = jobs.put("long", 1, ttl=LONG)
        jobs.increment("long")
        jobs.update("long", lambda value: value + 1)
        assert jobs.entry("long").expires_at == second.expires_at  # type: ignore[union-attr]

    def test_r20_a_new_policy_leaves_old_entries_alone(self, memory: Memory) -> None:
        jobs = memory.partition("jobs")
        jobs.put("old", 1)
        memory.partition("jobs", default_ttl=90)
        jobs.put("new", 1)
        assert [entry.expires_at is None for entry in jobs.items()] == [False, True]

    @pytest.mark.parametrize(("read", "expected"), READS.values(), ids=READS)
    def test_r22_no_read_sees_an_expired_entry(
        self, memory: Memory, read: Callable[[Memory], Any], expected: Any
    ) -> None:
        memory.put("dead", {"a": 1}, ttl=SHORT)
        eventually(lambda: read(memory) == expected)
        assert not memory.exists("dead")

    @pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
    def test_r22_no_change_finds_an_expired_entry(
        self, memory: Memory, change: Callable[[Memory], Any], expected: Any
    ) -> None:
        expire(memory, "dead", {"a": 1})
        assert change(memory) == expected
        assert not memory.exists("dead")

    def test_r22_all_reads_agree_on_the_moment(self, memory: Memory) -> None:
        memory.put("key", 1, ttl=0.3)
        assert memory.get("key") == 1
        assert memory.count() == len(list(memory.keys())) == 1
        eventually(lambda: memory.get("key") is None)
        assert (memory.count(), list(memory.keys()), memory.exists("key"), memory.delete("key")) == (
            0,
            [],
            False,
            False,
        )

    def test_r22_pitfall_an_expired_row_blocks_nothing(self, memory: Memory) -> None:
        version = expire(memory, "key", "text")
        first = memory.put("key", 1, if_absent=True)
        assert first.version > version
        assert first.created_at == first.updated_at
        expire(memory, "key", "text")
        assert memory.increment("key", initial=10) == 11
        expire(memory, "key", "text")
        assert memory.append("key", 1) == 1
        expire(memory, "key", "text")
        assert memory.merge("key", {"a": 1}).value == {"a": 1}
        expire(memory, "key", "text")
        assert memory.update("key", lambda value: value, default="new").value == "new"

    def test_r22_a_check_of_a_dead_version_fails(self, memory: Memory) -> None:
        version = expire(memory, "key")
        with pytest.raises(VersionConflict) as caught:
            memory.apply([Check("key", version), Put("other", 1)])
        assert caught.value.current is None
        assert not memory.exists("other")

    def test_r22_a_new_life_inherits_nothing(self, memory: Memory) -> None:
        memory.put("key", 1, ttl=SHORT, metadata={"owner": "x"})
        eventually(lambda: not memory.exists("key"))
        memory.increment("key")
        entry = memory.entry("key")
        assert entry is not None
        assert (entry.value, entry.metadata, entry.expires_at) == (1, {}, None)
        assert entry.created_at == entry.updated_at

    def test_r22_touch_prolongs_a_life(self, memory: Memory) -> None:
        memory.put_many({"prolonged": 1, "shortened": 2}, ttl=0.3)
        memory.touch("prolonged", LONG)
        memory.touch("shortened", SHORT)
        eventually(lambda: not memory.exists("shortened"))
        memory.put("clock", 1, ttl=0.3)
        eventually(lambda: not memory.exists("clock"))
        assert memory.get("prolonged") == 1

    def test_r24_all_times_are_aware_and_utc(self, memory: Memory) -> None:
        put = memory.put("key", 1, ttl=LONG)
        jobs = memory.partition("jobs", default_ttl=5)
        jobs.put("key", 1)
        entries = [put, memory.entry("key"), memory.search()[0], next(jobs.items()), memory.merge("o", {"a": 1})]
        moments: list[Any] = [p.created_at for p in memory.partitions()]
        for entry in entries:
            assert entry is not None
            moments += [entry.created_at, entry.updated_at, entry.expires_at or entry.updated_at]
        assert {moment.tzinfo for moment in moments} == {UTC}
        assert all(abs(moment - datetime.now(UTC)) < timedelta(days=1) for moment in moments)

    def test_r21_a_callers_time_zone_changes_nothing(self, memory: Memory, url: str) -> None:
        memory.put("parent", 1, ttl=LONG)
        script = (
            "import agentmem, sys\n"
            "with agentmem.connect(sys.argv[1]) as memory:\n"
            "    assert memory.get('parent') == 1\n"
            "    memory.put('child', 1, ttl=3600)\n"
            "    memory.put('dead', 1, ttl=0.001)\n"
        )
        for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
            environment = os.environ | {"TZ": zone, "PGTZ": zone}
            subprocess.run([sys.executable, "-c", script, url], check=True, env=environment, timeout=60)
            child, parent = memory.entry("child"), memory.entry("parent")
            assert lifetime(child) == pytest.approx(LONG, abs=0.002)
            assert timedelta(0) < child.updated_at - parent.updated_at < timedelta(minutes=2)  # type: ignore[union-attr]
            eventually(lambda: not memory.exists("dead"))
