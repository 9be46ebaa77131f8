"""Redis under sentinels that put another server in the master's place while threads write."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import PermissionDenied, Unavailable
from agentmem.testing.redis_sentinels import SERVICE, RedisSentinels
from agentmem.testing.redis_server import key_prefix, open_client
from agentmem.testing.support import eventually, run_threads
from agentmem.testing.witnesses import assert_consistent, assert_counted, lost, witnessed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agentmem.testing.witnesses import Witness

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.redis, pytest.mark.timeout(240)]

WRITERS = 4


@pytest.fixture(scope="module")
def group(program: Path) -> Iterator[RedisSentinels]:
    """A master, its replica, and three sentinels that ask for a password of their own."""
    with RedisSentinels(program, sentinel_password="s3ntinel%@/") as group:
        yield group


@pytest.fixture
def url(group: RedisSentinels) -> Iterator[str]:
    group.start()  # what an earlier test has killed
    url = group.new_store()
    yield url
    group.start()
    group.drop_store(url)


def hand_over(group: RedisSentinels) -> None:
    """Let the sentinels put the replica in the place of a master that is well, and wait until it is done."""
    before = group.master.port
    with group.sentinels[0].client() as sentinel:
        sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
    eventually(lambda: all(each.state()["port"] != before for each in group.sentinels), timeout=30)
    group.wait_ready()


def was_served(witnesses: list[Witness], after: float) -> bool:
    return all(max(witness.confirmed.values(), default=0) > after for witness in witnesses)


def test_r34_a_master_that_is_replaced_loses_nothing_that_a_replica_had(group: RedisSentinels, url: str) -> None:
    """The old one lives on as a replica: whoever is still connected to it is refused, and finds the new one."""
    with agentmem.connect(url, pool_size=3, wait_replicas=1, wait_timeout=0.5, timeout=3) as memory:
        moments: list[float] = []

        def replace(over: threading.Event) -> None:
            time.sleep(0.5)
            hand_over(group)
            moments.append(time.monotonic())
            time.sleep(1)

        witnesses = witnessed(memory, WRITERS, replace)
        assert lost(memory, witnesses) == {}
        assert_counted(memory, witnesses)
        assert_consistent(memory, witnesses)
        assert was_served(witnesses, after=moments[0])
        assert memory.stats().server["role"] == "master"


def test_r34_a_master_that_is_killed_is_replaced_and_little_is_lost(
    group: RedisSentinels, url: str, record_property: Any
) -> None:
    """Without `wait_replicas` a replica is a moment behind: what was confirmed in that moment goes with the master."""
    with agentmem.connect(url, pool_size=3, timeout=3) as memory:
        killed, replaced = [], []

        def kill(over: threading.Event) -> None:
            time.sleep(0.5)
            killed.append(time.monotonic())
            group.failover()
            replaced.append(time.monotonic())
            time.sleep(1)

        witnesses = witnessed(memory, WRITERS, kill)
        ages = [killed[0] - at for at in lost(memory, witnesses).values()]
        record_property("confirmed", sum(len(witness.confirmed) for witness in witnesses))
        record_property("lost", len(ages))
        record_property("oldest_loss_seconds", max(ages, default=0))
        assert max(ages, default=0) < 1, f"{len(ages)} lost, the oldest {max(ages):.3f} s before the end"
        assert sum(witness.refused for witness in witnesses) > 0
        assert was_served(witnesses, after=replaced[0])
        assert_consistent(memory, witnesses)


def test_a_sentinel_that_is_gone_is_passed_over(group: RedisSentinels, url: str) -> None:
    group.sentinels[0].kill()
    with agentmem.connect(url) as memory:
        memory.put("key", 1)
        run_threads(4, lambda _: memory.increment("key"))
        assert memory.get("key") == 5


def test_what_a_url_asks_for_that_sentinels_do_not_have(group: RedisSentinels, url: str) -> None:
    for wrong in (url.replace(f"/{SERVICE}/", "/nowhere/"), url.replace("sentinel_password=", "sentinel_password=x")):
        with pytest.raises((Unavailable, PermissionDenied)) as caught:
            agentmem.connect(wrong)
        assert "s3ntinel" not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert group.password not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_r35_a_hosts_client_of_sentinels_follows_them_and_stays_open(group: RedisSentinels, url: str) -> None:
    with open_client(url) as host:
        with agentmem.connect(host, key_prefix=key_prefix(url)) as memory:
            memory.put("key", 1)
            hand_over(group)
            eventually(lambda: put(memory, 2))
            group.wait_ready()  # who changes its role cuts off its clients once more
            assert memory.get("key") == 2
            assert memory.check() == []
        host.connection_pool.disconnect()  # those to the old master, which may not be gone yet; it retries nothing
        assert host.ping()


def put(memory: agentmem.Memory, value: int) -> bool:
    try:
        return bool(memory.put("key", value))
    except (Unavailable, agentmem.OutcomeUnknown):
        return False
