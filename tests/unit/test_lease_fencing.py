"""R40: what stands between a fenced write and the store, on a dict."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import sqlalchemy

from agentmem import InvalidArgument, LeaseLost, Memory, VersionConflict, connect, retry
from agentmem.coordination.fencing import FencedQueues, FencedRepository, Guard, Token
from agentmem.entries import Entry, Record
from agentmem.queue_port import QueueStore
from agentmem.repository import Repository
from tests.unit.dict_repository import DictRepository

TOKEN = Token("default", "name", "mine", 1)


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return Memory(repository)


def record(version: int, body: str) -> Record:
    return Record("name", body, version, 0, 0, None, None)


@pytest.mark.parametrize(("wrapper", "port"), [(FencedRepository, Repository), (FencedQueues, QueueStore)])
def test_a_fence_lets_nothing_of_the_port_slip_through(wrapper: type, port: type) -> None:
    public = {name for name in vars(port) if not name.startswith("_")} - {"name", "max_value_bytes"}
    assert public <= set(vars(wrapper))


def test_r40_a_fence_costs_no_call(memory: Memory, repository: DictRepository) -> None:
    with memory.lease("name", 60) as lease:
        repository.calls.clear()
        memory.put("key", 1, fence=lease)
        memory.fenced(lease).put_many({"a": 1, "b": 2})
        assert repository.calls == {"apply": 2}
        lease.renew()
        fenced = memory.fenced(lease.token._replace(version=1))
        repository.calls.clear()
        fenced.put("key", 2)
        fenced.put("key", 3)
        assert repository.calls == {"apply": 3}, "a version that has moved costs one call, once"


def test_a_token_is_small_and_travels() -> None:
    assert pickle.loads(pickle.dumps(TOKEN)) == TOKEN
    assert len(pickle.dumps(TOKEN)) < 200
    assert TOKEN.token is TOKEN


def test_a_fenced_handle_cannot_be_pickled_and_looks_as_any_other(tmp_path: Any) -> None:
    with connect(f"sqlite:///{tmp_path / 'm.db'}") as memory, memory.lease("name", 60) as lease:
        fenced = memory.fenced(lease)
        assert repr(fenced) == repr(memory)
        pickle.dumps(memory)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(fenced)


def test_a_handle_in_a_hosts_transaction_cannot_be_pickled(tmp_path: Any) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'm.db'}")
    with connect(f"sqlite:///{tmp_path / 'm.db'}") as memory, engine.connect() as connection:
        joined = memory.using(connection)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(joined)
    engine.dispose()


def test_r40_closing_a_fenced_handle_closes_just_that(memory: Memory, repository: DictRepository) -> None:
    with memory.lease("name", 60) as lease, memory.fenced(lease) as fenced:
        fenced.put("key", 1)
    assert memory.get("key") == 1
    assert not repository.closed


@pytest.mark.parametrize("fence", ["name", None, 5, object()])
def test_what_is_no_fence_is_refused(memory: Memory, repository: DictRepository, fence: Any) -> None:
    with pytest.raises(InvalidArgument):
        memory.fenced(fence)
    assert not repository.calls


@pytest.mark.parametrize("value", [None, [], "text", {"acquisition": None}, {"acquisition": "theirs"}])
def test_r40_another_entry_in_the_leases_place_is_no_lease(memory: Memory, value: Any) -> None:
    lease = memory.lease("name", 60)
    assert lease.acquire()
    memory.put("name", value)
    with pytest.raises(LeaseLost):
        memory.put("key", 1, fence=lease)
    with pytest.raises(LeaseLost):
        lease.renew()
    lease.release()
    assert memory.get("name", "gone") == value


def test_r40_what_cannot_be_decoded_is_no_lease(memory: Memory, repository: DictRepository) -> None:
    lease = memory.lease("name", 60)
    assert lease.acquire()
    repository.spoil("name")
    memory.touch("name", 60)
    with pytest.raises(LeaseLost):
        memory.put("key", 1, fence=lease)


def test_a_guard_does_not_try_for_ever() -> None:
    versions: list[int] = []

    def attempt(version: int) -> None:
        versions.append(version)
        raise VersionConflict("name", version, record(version + 1, '{"acquisition": "mine"}'))

    with pytest.raises(VersionConflict):
        Guard(TOKEN).call(attempt)
    assert versions == list(range(1, retry.DEFAULT_ATTEMPTS + 1))


def test_a_guard_passes_other_conflicts_on() -> None:
    for conflict in (VersionConflict("key", 1, None), VersionConflict("name", 5, None)):

        def attempt(_: int, conflict: VersionConflict = conflict) -> None:
            raise conflict

        with pytest.raises(VersionConflict) as caught:
            Guard(TOKEN).call(attempt)
        assert caught.value is conflict


def test_r40_a_lease_that_is_not_held_is_no_fence(memory: Memory) -> None:
    lease = memory.lease("name", 60)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            memory.put("key", 1, fence=lease)
        with lease:
            assert isinstance(memory.put("key", 2, fence=lease), Entry)
