"""R40: the thread that renews a lease, and its ends."""

from __future__ import annotations

import gc
import logging
import threading
import time

import pytest

from agentmem import Closed, Memory, Unavailable
from agentmem.gateway import Lifetime
from agentmem.testing.support import eventually
from tests.unit.dict_repository import DictRepository


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("agentmem-lease-")]


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return Memory(repository)


def companions(memory: Memory) -> int:
    return len(memory._gateway.lifetime._companions)


def test_r40_a_lease_has_one_thread_while_it_is_held(memory: Memory) -> None:
    lease = memory.lease("name", 60, renew=True)
    assert not renewing()
    for _ in range(2):
        with lease:
            (thread,) = renewing()
            assert thread.daemon
            assert companions(memory) == 1
        assert (renewing(), companions(memory)) == ([], 0)


def test_r40_renewals_end_with_a_lease_that_is_dropped(memory: Memory) -> None:
    lease = memory.lease("name", 0.3, renew=True)
    assert lease.acquire()
    del lease
    gc.collect()
    eventually(lambda: not renewing())
    assert companions(memory) == 0
    eventually(lambda: not memory.exists("name"))


def test_r40_renewals_end_with_the_handle_that_the_lease_was_made_by(memory: Memory) -> None:
    scoped = memory.scoped("a/")
    lease = scoped.lease("name", 0.3, renew=True)
    assert lease.acquire()
    scoped.close()
    assert lease.lost.wait(10)
    assert not renewing()


def test_r35_closing_the_connection_does_not_wait_for_the_next_renewal(memory: Memory) -> None:
    leases = [memory.lease(f"{number}", 3600, renew=True) for number in range(3)]
    assert all(lease.acquire() for lease in leases)
    began = time.monotonic()
    memory.close()
    assert time.monotonic() - began < 5
    assert all(lease.lost.is_set() and not lease.is_held for lease in leases)
    assert not renewing()


def test_what_comes_after_the_end_is_told(repository: DictRepository) -> None:
    ended: list[int] = []

    class Companion:
        def end(self) -> None:
            ended.append(1)

    lifetime = Lifetime(repository, owned=False)
    lifetime.accompany(Companion())
    lifetime.end()
    lifetime.end()
    assert ended == [1]
    with pytest.raises(Closed):
        lifetime.accompany(Companion())
    lifetime.end()
    assert ended == [1]


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
def test_r40_a_renewal_that_fails_is_tried_again_until_the_lease_has_ended(
    memory: Memory, repository: DictRepository, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with caplog.at_level(logging.INFO, "agentmem.coordination"), memory.lease("name", 3, renew=True) as lease:
        version = lease.token.version
        repository.fail(4, error)
        eventually(lambda: lease.token.version > version)
        assert not lease.lost.is_set()
        assert [record.levelname for record in caplog.records] == ["INFO"] * 4


def test_r40_a_lease_that_could_not_be_renewed_in_time_is_lost(
    memory: Memory, repository: DictRepository, caplog: pytest.LogCaptureFixture
) -> None:
    lease = memory.lease("name", 0.3, renew=True)
    assert lease.acquire()
    repository.fail(10_000)
    assert lease.lost.wait(10)
    assert not lease.is_held
    eventually(lambda: not renewing())
    repository.fail(0)
    lease.release()
    assert caplog.records[-1].levelname == "WARNING"
    assert "'name'" in caplog.text
