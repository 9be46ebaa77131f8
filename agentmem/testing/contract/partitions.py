"""Partitions: their registry, their policies, and what clearing and dropping one does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agentmem.entries import Partition
from agentmem.errors import ConfigurationError, NamespaceError
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, expire

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


def policy_of(memory: Memory, name: str) -> Partition | None:
    """The registry's line on a partition."""
    return next((partition for partition in memory.partitions() if partition.name == name), None)


class Partitions(Contract):
    """A partition is the unit of isolation, atomicity and policy."""

    def test_r05_partitions_lists_what_was_written_to_sorted(self, memory: Memory) -> None:
        for name in ("b", "a", "😀", "Z", "\uffff"):
            memory.partition(name).put("key", 1)
        names = [partition.name for partition in memory.partitions()]
        assert [name for name in names if name != "default"] == ["Z", "a", "b", "\uffff", "😀"]

    def test_r05_a_policy_is_kept_with_its_partition(self, memory: Memory) -> None:
        memory.partition("jobs", default_ttl=90, namespace="aqe/", description="what is to be done")
        policy = policy_of(memory, "jobs")
        assert policy is not None
        assert policy.default_ttl == timedelta(seconds=90)
        assert (policy.namespace, policy.description) == ("aqe/", "what is to be done")

    def test_r05_a_policy_left_out_stands(self, memory: Memory) -> None:
        memory.partition("jobs", default_ttl=timedelta(minutes=5), description="first")
        memory.partition("jobs", description="second")
        memory.partition("jobs")
        policy = policy_of(memory, "jobs")
        assert policy is not None
        assert (policy.default_ttl, policy.description) == (timedelta(minutes=5), "second")

    def test_r20_a_default_ttl_can_be_taken_back(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90)
        assert jobs.put("a", 1).expires_at is not None
        memory.partition("jobs", default_ttl=None)
        assert jobs.put("a", 1).expires_at is None

    def test_r05_another_connection_sees_the_policy(self, shared: Harness) -> None:
        with shared.connect() as first:
            first.partition("jobs", default_ttl=90)
            with shared.connect(partition="jobs") as second:
                assert second.put("a", 1).expires_at is not None

    def test_r31_an_unknown_policy_is_refused(self, memory: Memory) -> None:
        with pytest.raises(ConfigurationError, match="colour"):
            memory.partition("jobs", colour="red")
        assert policy_of(memory, "jobs") is None

    def test_r05_clear_keeps_the_policy(self, memory: Memory) -> None:
        jobs = memory.partition("jobs", default_ttl=90, namespace="aqe/")
        jobs.put_many({"aqe/a": 1, "aqe/b": 2})
        assert jobs.clear() == 2
        assert jobs.clear() == 0
        assert jobs.put("aqe/a", 1).expires_at is not None
        with pytest.raises(NamespaceError):
            jobs.put("a", 1)

    def test_r05_drop_partition_removes_entries_and_policy(self, memory: Memory) -> None:
        memory.put("key", "kept")
        jobs = memory.partition("jobs", default_ttl=90)
        jobs.put_many({"a": 1, "b": 2})
        assert memory.drop_partition("jobs") == 2
        assert policy_of(memory, "jobs") is None
        assert (jobs.count(), memory.get("key")) == (0, "kept")
        assert jobs.put("a", 1).expires_at is None

    def test_r05_dropping_what_is_not_there_drops_nothing(self, memory: Memory) -> None:
        memory.put("key", 1)
        assert memory.drop_partition("absent") == 0
        assert memory.get("key") == 1

    def test_r22_clear_and_drop_do_not_count_the_dead(self, memory: Memory, harness: Harness) -> None:
        jobs = memory.partition("jobs")
        expire(jobs, "dead")
        jobs.put("alive", 1, ttl=LONG)
        assert jobs.clear() == 1
        assert harness.stored("jobs") == 0
        expire(jobs, "dead")
        assert memory.drop_partition("jobs") == 0
        assert harness.stored("jobs") == 0

    def test_r05_a_partition_of_a_partition_is_no_child(self, memory: Memory) -> None:
        memory.partition("a").partition("b").put("key", 1)
        assert memory.partition("b").get("key") == 1
        assert memory.partition("a").count() == 0

    def test_r05_every_kind_of_write_stays_in_its_partition(self, memory: Memory) -> None:
        memory.put_many({"n": 1, "l": [1], "o": {"a": 1}})
        before = list(memory.items())
        other = memory.partition("other")
        other.put("n", 5)
        other.append("l", 2)
        other.merge("o", {"b": 2})
        other.put_many({"n": 6})
        other.delete_many(["n", "l"])
        other.delete_matching("*")
        other.clear()
        memory.drop_partition("other")
        assert list(memory.items()) == before
