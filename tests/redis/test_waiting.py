"""Replicas are waited for when there is something for them to receive."""

from __future__ import annotations

import pytest

import agentmem
from agentmem.errors import NamespaceError, OutcomeUnknown, VersionConflict


def test_what_wrote_nothing_does_not_wait_for_replicas(redis_url: str) -> None:
    with agentmem.connect(redis_url) as memory:
        memory.put("key", 1)
        memory.partition("fenced", namespace="a/")
    with agentmem.connect(redis_url, wait_replicas=100, wait_timeout=0.01) as memory:
        with pytest.raises(VersionConflict):
            memory.put("key", 2, if_absent=True)
        with pytest.raises(NamespaceError):
            memory.partition("fenced").put_many({"b": 1, "c": 2})
        assert memory.purge_expired() == 0
        assert memory.get("key") == 1


def test_the_first_write_to_a_partition_is_made_before_replicas_are_missed(redis_url: str) -> None:
    with agentmem.connect(redis_url, wait_replicas=100, wait_timeout=0.01) as memory:
        with pytest.raises(OutcomeUnknown, match="written, but 0 of 100 replicas"):
            memory.put("key", 1)
        assert memory.get("key") == 1
