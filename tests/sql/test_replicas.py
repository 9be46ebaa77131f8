"""Option `read_url`: reads from a replica that lags, and yet each handle reads what it wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

import agentmem
from agentmem import ConfigurationError, SchemaMismatch, VersionConflict, migrations
from agentmem.handle import repository_of
from agentmem.memory import Memory
from agentmem.sql.engines import normalised
from agentmem.sql.replicas import LOOK_SECONDS
from agentmem.testing.faults import FaultProxy
from agentmem.testing.postgres_pair import PostgresPair
from agentmem.testing.processes import free_port
from agentmem.testing.servers import local_postgres_binaries, wheel_postgres_binaries
from agentmem.testing.support import eventually, run_threads

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
LAG_SECONDS = 0.4


@pytest.fixture(scope="module")
def lagging() -> Iterator[PostgresPair]:
    """A standby that shows everything so much later."""
    binaries = [*wheel_postgres_binaries(), *local_postgres_binaries()]
    if not binaries:
        pytest.skip("no PostgreSQL programs here to make a standby with")
    options = {"recovery_min_apply_delay": f"{LAG_SECONDS * 1000:.0f}ms"}
    with PostgresPair(binaries[0], standby_options=options) as pair:
        yield pair


@pytest.fixture
def urls(lagging: PostgresPair) -> Iterator[tuple[str, str]]:
    """Of a database on the primary, with our schema, and of the same on the standby."""
    url = lagging.primary.new_database()
    agentmem.connect(url, create="always").close()
    lagging.wait_until_in_step()
    yield url, lagging.standby.url(url.rpartition("/")[2])
    lagging.primary.drop_database(url)


@pytest.fixture
def memory(urls: tuple[str, str]) -> Iterator[Memory]:
    with agentmem.connect(urls[0], read_url=urls[1]) as memory:
        yield memory


def reads_from_the_replica(memory: Memory) -> bool:
    repository: Any = repository_of(memory)
    return bool(repository._read(lambda link: link.cursor.execute("SELECT pg_is_in_recovery()").fetchone()[0]))


def settled(memory: Memory) -> None:
    eventually(lambda: reads_from_the_replica(memory), 20)


def test_who_writes_nothing_reads_from_the_replica(memory: Memory, urls: tuple[str, str]) -> None:
    settled(memory)
    with agentmem.connect(urls[0]) as other:
        other.put("key", 1)
        assert memory.get("key") is None, "the replica lags: what others write may be seen later"
        assert memory.partitions() == other.partitions(), "policies are the primary's"
    eventually(lambda: memory.get("key") == 1)
    assert reads_from_the_replica(memory)


@pytest.mark.parametrize("pause", [0.0, LOOK_SECONDS * 1.5])
def test_each_handle_reads_what_it_wrote(memory: Memory, pause: float) -> None:
    """With a replica that lags, by every way to read, and of handles that were derived from it."""
    settled(memory)
    section = memory.scoped("s/")
    for turn in range(4):
        memory.put("key", turn)
        section.put("key", turn)
        time.sleep(pause)
        assert (memory.get("key"), section.get("key"), memory.get_many(["key"])) == (turn, turn, {"key": turn})
        assert [entry.value for entry in memory.search("key", where={(): turn})] == [turn]
        assert (memory.count(), memory.stats().entries) == (2, 2)
    memory.delete("key")
    assert not memory.exists("key")
    settled(memory)
    assert not memory.exists("key")


def test_what_was_written_in_a_hosts_transaction_is_read(memory: Memory, urls: tuple[str, str]) -> None:
    engine = create_engine(normalised(make_url(urls[0])))
    for turn, pause in enumerate((0.0, LOOK_SECONDS * 1.5)):
        settled(memory)
        with Session(engine) as session:
            memory.using(session).put("key", turn)
            settled(memory)  # nobody sees it yet
            session.commit()
        time.sleep(pause)
        assert memory.get("key") == turn
    settled(memory)
    assert memory.get("key") == turn
    engine.dispose()


def test_threads_of_a_handle_read_what_any_of_them_wrote(memory: Memory) -> None:
    def work(index: int) -> None:
        for turn in range(30):
            memory.put(f"{index}", turn)
            assert memory.get(f"{index}") == turn
            if turn % 10 == 0:
                time.sleep(LOOK_SECONDS * 1.2)

    run_threads(6, work)


def test_a_conflict_is_decided_anew_on_what_stands(memory: Memory, urls: tuple[str, str]) -> None:
    """The read of a first attempt came from the replica; a second one that did too could not succeed either."""
    with agentmem.connect(urls[0]) as other:
        other.put("n", 1)
        eventually(lambda: memory.get("n") == 1)
        settled(memory)
        other.put("n", 2)
        with pytest.raises(VersionConflict), memory.transaction() as tx:
            tx.put("n", tx.get("n") + 1)
        memory.run(lambda tx: tx.put("n", tx.get("n") + 1), attempts=2)
        assert memory.get("n") == 3


def test_after_a_pause_the_replica_is_read_again(memory: Memory) -> None:
    memory.put("key", 1)
    assert not reads_from_the_replica(memory)
    started = time.monotonic()
    settled(memory)
    assert time.monotonic() - started > LAG_SECONDS / 2
    assert memory.get("key") == 1


def test_a_write_costs_no_further_round_trip(urls: tuple[str, str]) -> None:
    with (
        FaultProxy(urls[0]) as primary,
        FaultProxy(urls[1]) as replica,
        agentmem.connect(primary.url, read_url=replica.url, prepare_threshold=None) as memory,
    ):
        memory.put("n", 0)
        memory.increment("n")
        settled(memory)
        before = primary.requests, replica.requests
        for _ in range(10):
            memory.get("n")
        assert (primary.requests - before[0], replica.requests - before[1]) == (0, 10)
        for _ in range(5):
            memory.increment("n")
            memory.get("n")
        assert primary.requests - before[0] == 10


@pytest.mark.fault
def test_a_replica_that_is_away_is_done_without(urls: tuple[str, str]) -> None:
    with FaultProxy(urls[1]) as proxy, agentmem.connect(urls[0], read_url=proxy.url) as memory:
        memory.put("key", 1)
        settled(memory)
        proxy.refuse()
        assert memory.get("key") == 1
        before = proxy.connections
        run_threads(4, lambda _: memory.get("key"))
        assert proxy.connections == before, "it is left alone for a while"
    with agentmem.connect(urls[0], read_url=f"postgresql://x@127.0.0.1:{free_port()}/x") as memory:
        assert memory.get("key") == 1


@pytest.mark.parametrize("place", ["sqlite:///x.db", "nonsense", "postgresql://u:hunter2@h:port/x", "redis://h"])
def test_what_is_no_replica(urls: tuple[str, str], place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"read_url|agentmem speaks") as caught:
        agentmem.connect(urls[0], read_url=place)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("escaped", [True, False])
def test_r30_the_replicas_password_is_not_shown(urls: tuple[str, str], escaped: bool) -> None:
    password = "hunter2"
    replica = f"postgresql://agentmem:{password}@127.0.0.1:{free_port()}/x"
    url = f"{urls[0]}?read_url={quote(replica, safe='') if escaped else replica}&table_prefix=other_"
    with pytest.raises(SchemaMismatch) as caught:
        migrations.check(url)
    assert password not in str(caught.value)
    with agentmem.connect(url, create="always") as memory:
        memory.put("key", 1)
        assert memory.get("key") == 1
        assert password not in repr(memory)


@pytest.mark.fault
def test_a_replica_that_was_promoted_is_read_from(lagging: PostgresPair) -> None:
    binaries = [*wheel_postgres_binaries(), *local_postgres_binaries()]
    with PostgresPair(binaries[0]) as pair:
        url = pair.new_database()
        name = url.partition("@/")[2].partition("?")[0]
        with agentmem.connect(url, read_url=pair.standby.url(name), create="always") as memory:
            memory.put("key", 1)
            pair.wait_until_in_step()
            pair.failover()
            memory.put("key", 2)
            assert memory.get("key") == 2
            repository: Any = repository_of(memory)
            eventually(lambda: memory.get("key") == 2 and repository._connections._shows_everything())
            assert memory.get("key") == 2
