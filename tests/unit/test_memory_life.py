"""The life of handles: owners, sweepers, forks, pickles, copies, partitions' policies (R23, R33, R35)."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import sys
import threading
import time
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agentmem import Closed, ConfigurationError, Memory, TypeCodec, Unavailable, connect
from agentmem.sweeper import Sweeper
from agentmem.testing.support import eventually
from tests.unit.dict_repository import DictRepository

MODULE: Any = sys.modules["agentmem.connect"]


def sweepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "agentmem-sweeper"]


@pytest.fixture
def repositories(monkeypatch: pytest.MonkeyPatch) -> list[DictRepository]:
    """What connect opens, in order."""
    opened: list[DictRepository] = []

    def open_any(place: Any, options: dict[str, Any]) -> DictRepository:
        opened.append(DictRepository())
        return opened[-1]

    monkeypatch.setattr(MODULE, "_opener", lambda target: open_any)
    return opened


def test_r35_the_owner_closes_the_repository(repositories: list[DictRepository]) -> None:
    memory = connect("sqlite:///x.db")
    memory.scoped("a/").close()
    memory.typed(int).close()
    assert not repositories[0].closed
    memory.close()
    assert repositories[0].closed


def test_r23_a_sweeper_purges_and_ends_with_the_handle() -> None:
    repository = DictRepository()
    with connect(repository, sweep_every=0.02) as memory:
        memory.put_many({f"k{number}": 1 for number in range(2500)}, ttl=0.01)
        eventually(lambda: repository.stored() == 0)
        assert len(sweepers()) == 1
        assert sweepers()[0].daemon
    assert sweepers() == []


def test_r23_there_is_no_sweeper_unless_asked_for() -> None:
    with connect(DictRepository()):
        assert sweepers() == []


def test_r35_close_does_not_wait_for_the_next_round() -> None:
    memory = connect(DictRepository(), sweep_every=3600)
    began = time.monotonic()
    memory.close()
    assert time.monotonic() - began < 5
    assert sweepers() == []


def test_r23_a_failed_round_is_logged_and_the_next_one_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    repository = DictRepository()
    repository.failures = [RuntimeError("a bug"), Unavailable("away")]
    with caplog.at_level(logging.WARNING, "agentmem.sweeper"), connect(repository, sweep_every=0.01):
        eventually(lambda: repository.calls["purge"] >= 3)
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in errors] == [Unavailable, RuntimeError]


def test_r23_a_sweeper_ends_when_its_repository_is_closed_or_dropped() -> None:
    repository = DictRepository()
    repository.close()
    memory = connect(repository, sweep_every=0.01)
    eventually(lambda: not sweepers())
    memory.close()
    dropped = Memory(DictRepository())
    reference = weakref.ref(dropped._gateway.repository)
    sweeper = Sweeper(dropped._gateway.repository, 0.01)
    sweeper.start()
    del dropped
    gc.collect()
    eventually(lambda: reference() is None and not sweepers())
    sweeper.stop()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_r33_a_forked_child_has_a_sweeper_of_its_own() -> None:
    repository = DictRepository()
    with connect(repository, sweep_every=0.02) as memory:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                memory.put("k", 1, ttl=0.01)
                eventually(lambda: repository.stored() == 0 and len(sweepers()) == 1, timeout=5)
                memory.close()
                status = len(sweepers())
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(sweepers()) == 1


def test_a_handle_by_url_can_be_pickled(repositories: list[DictRepository]) -> None:
    memory = connect("sqlite:///x.db", partition="p", namespace="s/", max_value_bytes=5)
    twin = pickle.loads(pickle.dumps(memory.partition("q").scoped("s/")))
    twin.put("k", 1)
    assert twin is not memory
    assert repositories[1].fetch("q", ["s/k"])["s/k"].body == "1"
    again = pickle.loads(pickle.dumps(twin))
    again.close()
    assert [repository.closed for repository in repositories] == [False, False, True]
    memory.close()
    assert twin.get("k") == 1
    twin.close()
    assert all(repository.closed for repository in repositories)


def test_a_pickled_handle_finds_its_file_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ("sqlite:///team.db", "sqlite:///./team.db?busy_timeout=5", f"sqlite:///{tmp_path}/team.db")
    pickled = []
    for url in urls:
        with connect(url, codec=TypeCodec()) as memory:
            memory.append("urls", url)
            pickled.append(pickle.dumps(memory))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for each in pickled:
        with pickle.loads(each) as twin:
            assert twin.get("urls") == list(urls)
    assert not list(Path().iterdir())


def test_what_another_process_cannot_reach_is_not_pickled(repositories: list[DictRepository]) -> None:
    for memory in (connect(DictRepository()), Memory(DictRepository()), connect("sqlite://")):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(memory.scoped("a/"))


def test_a_copy_of_a_handle_is_the_handle() -> None:
    memory = Memory(DictRepository())
    assert copy.copy(memory) is memory
    assert copy.deepcopy({"state": [memory]})["state"][0] is memory


def test_r05_a_partition_without_a_policy_costs_no_call() -> None:
    repository = DictRepository()
    Memory(repository).partition("p")
    assert not repository.calls


def test_r20_policies_are_set_left_alone_and_cleared() -> None:
    memory = Memory(DictRepository())
    memory.partition("p", default_ttl=timedelta(seconds=5), namespace="a/", description="first")
    memory.partition("p", description="second")
    (policy,) = memory.partitions()
    assert (policy.default_ttl, policy.namespace, policy.description) == (timedelta(seconds=5), "a/", "second")
    memory.partition("p", default_ttl=None, namespace=None, description=None)
    (policy,) = memory.partitions()
    assert (policy.default_ttl, policy.namespace, policy.description) == (None, None, None)


def test_r31_unknown_policies_are_named_and_nothing_is_set() -> None:
    repository = DictRepository()
    with pytest.raises(ConfigurationError, match="colour, size"):
        Memory(repository).partition("p", default_ttl=5, size=1, colour="red")
    assert not repository.calls


def test_r23_purge_expired_works_in_batches_and_tells_the_number() -> None:
    repository = DictRepository()
    memory = Memory(repository)
    memory.put_many(dict.fromkeys("abcdefg", 1), ttl=0.005)
    memory.put("alive", 1)
    eventually(lambda: memory.count() == 1)
    assert memory.purge_expired(batch=3) == 7
    assert repository.calls["purge"] == 3
    assert memory.purge_expired() == 0


def test_r23_purge_expired_stops_when_its_time_is_over() -> None:
    repository = DictRepository()
    memory = Memory(repository)
    memory.put_many(dict.fromkeys("abcdefg", 1), ttl=0.005)
    eventually(lambda: memory.count() == 0)
    assert memory.purge_expired(batch=2, max_seconds=1e-9) == 2
    assert repository.stored() == 5


def test_administration_reaches_the_repository() -> None:
    repository = DictRepository()
    memory = Memory(repository)
    memory.put_many({"a": 1, "b": 2})
    memory.partition("p").put("c", 3)
    assert memory.stats().partitions == {"default": 2, "p": 1}
    repository.spoil("a")
    assert [(problem.kind, problem.key) for problem in memory.check()] == [("corrupt_value", "a")]
    assert memory.drop_partition("p") == 1
    assert [partition.name for partition in memory.partitions()] == ["default"]
    memory.ping()
    repository.fail(1)
    with pytest.raises(Unavailable):
        memory.ping()
    assert (memory.delete_matching("a*"), memory.clear(), repository.stored()) == (1, 1, 0)
    repository.close()
    with pytest.raises(Closed):
        memory.ping()
