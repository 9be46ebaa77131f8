"""Behind PgBouncer in transaction mode: what the contract cannot show (tests/contract runs all of that here too)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

import agentmem
from agentmem import Unavailable, migrations
from agentmem.sql.backend import open_engine, open_url
from agentmem.sql.engines import normalised
from agentmem.testing.pgbouncer import PgBouncer, pgbouncer_programs
from agentmem.testing.servers import PostgresServer
from agentmem.testing.support import run_threads

pytestmark = pytest.mark.postgres


def prepared(repository: Any) -> bool:
    with agentmem.connect(repository) as memory:
        for number in range(8):
            memory.put("key", number)
            memory.append("list", number)
            memory.get("key")
    return bool(repository._rows("SELECT count(*) FROM pg_prepared_statements", {})[0][0])


def test_statements_are_prepared_but_not_behind_a_pooler(postgres_schema_url: str, pgbouncer: PgBouncer) -> None:
    """pitfall: statements break behind PgBouncer; and one of another client's, of the same name, would be run."""
    for url, expected in ((postgres_schema_url, True), (pgbouncer.url(postgres_schema_url), False)):
        with open_url(url, {"pool_size": 1}) as repository:
            assert prepared(repository) is expected
        engine = create_engine(normalised(make_url(url)), pool_size=1, max_overflow=0)
        assert prepared(open_engine(engine, {})) is expected
        engine.dispose()


@pytest.mark.parametrize(
    "said", ["?prepare_threshold=none", "?prepare_threshold=0", "?prepare_threshold=7&pool_size=3"]
)
def test_options_may_stand_in_the_url(postgres_schema_url: str, said: str) -> None:
    with open_url(postgres_schema_url + said, {"pool_size": 1}) as repository:
        assert prepared(repository) is (said != "?prepare_threshold=none")
        assert "prepare_threshold" not in str(repository.engine.url)


def test_many_clients_share_few_connections(postgres_schema_url: str, pgbouncer: PgBouncer) -> None:
    """Their transactions mix on five servers, with and without statements of several steps."""
    url = pgbouncer.url(postgres_schema_url)
    memories = [agentmem.connect(url, pool_size=3) for _ in range(6)]

    def work(index: int) -> None:
        memory = memories[index % 6]
        for turn in range(15):
            memory.increment("n")
            memory.run(lambda tx: tx.put("m", tx.get("m", 0) + 1), attempts=200)
            memory.put_many({f"{index}/{turn}/{number}": number for number in range(30)})
            memory.append(f"list/{index}", turn)

    run_threads(18, work)
    assert (memories[0].get("n"), memories[0].get("m"), memories[0].count("*/*/*")) == (270, 270, 8_100)
    assert memories[0].check() == []
    for memory in memories:
        memory.close()


def test_migrations_pass_through(postgres_url: str, pgbouncer: PgBouncer) -> None:
    """Many at once, whose locks are those of transactions."""
    url = pgbouncer.url(postgres_url)
    run_threads(8, lambda _: migrations.upgrade(url, schema="agents"))
    migrations.check(url, schema="agents")
    migrations.downgrade(url, "base", schema="agents")
    with agentmem.connect(url, create="always", schema="agents") as memory:
        memory.put("key", 1)


def test_a_hosts_transaction_is_joined(postgres_schema_url: str, pgbouncer: PgBouncer) -> None:
    engine = create_engine(normalised(make_url(pgbouncer.url(postgres_schema_url))), poolclass=NullPool)
    with agentmem.connect(engine) as memory:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE orders (id integer)"))
            for number in range(10):
                memory.using(connection).put("key", number)
        with engine.connect() as connection:
            memory.using(connection).put("key", -1)
        assert memory.get("key") == 9
    engine.dispose()


@pytest.fixture
def own_bouncer(postgres_server: PostgresServer, pgbouncer: PgBouncer) -> Any:
    with PgBouncer(pgbouncer_programs()[0], postgres_server, options={"default_pool_size": "1"}) as bouncer:
        yield bouncer


@pytest.mark.fault
def test_it_survives_the_restart_of_the_bouncer(postgres_schema_url: str, own_bouncer: PgBouncer) -> None:
    with agentmem.connect(own_bouncer.url(postgres_schema_url)) as memory:
        run_threads(4, lambda _: memory.increment("n"))
        own_bouncer.restart()
        assert memory.increment("n") == 5
        own_bouncer.kill()
        with pytest.raises(Unavailable):
            memory.get("n")
        own_bouncer.start()
        assert memory.increment("n") == 6


@pytest.mark.fault
def test_servers_that_end_behind_the_bouncer(postgres_schema_url: str, own_bouncer: PgBouncer) -> None:
    """It notices by itself, or passes the goodbye on: a read is tried again, and the next calls work."""
    with agentmem.connect(own_bouncer.url(postgres_schema_url)) as memory:
        memory.put("key", 1)
        with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert memory.get("key") == 1
        memory.put("key", 2)
        assert memory.get("key") == 2
