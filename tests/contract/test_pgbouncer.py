"""The contract on PostgreSQL behind PgBouncer in transaction mode, where every transaction may meet another server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentmem.testing.contract import ContractSuite
from agentmem.testing.harnesses import PostgresHarness
from agentmem.testing.pgbouncer import PgBouncer, bears_prepared_statements, pgbouncer_programs
from agentmem.testing.servers import PostgresServer


class BehindPgBouncer(PostgresHarness):
    """agentmem comes through the bouncer, who looks behind its back comes directly."""

    def __init__(self, url: str, bouncer: PgBouncer, options: str = "") -> None:
        super().__init__(url)
        self.url = bouncer.url(url) + options


@pytest.mark.slow
class TestBehindPgBouncer(ContractSuite):
    """All rules that one backend can show, without an option: agentmem finds out by itself not to prepare."""

    @pytest.fixture
    def harness(self, postgres_schema_url: str, pgbouncer: PgBouncer) -> BehindPgBouncer:
        """A fresh store."""
        return BehindPgBouncer(postgres_schema_url, pgbouncer)


PREPARING = [program for program in pgbouncer_programs() if bears_prepared_statements(program)]


@pytest.fixture(scope="session")
def preparing_pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """One that keeps track of prepared statements."""
    options = {"default_pool_size": "5", "max_prepared_statements": "200"}
    with PgBouncer(PREPARING[0], postgres_server, options=options) as bouncer:
        yield bouncer


@pytest.mark.variant
@pytest.mark.slow
class TestBehindPreparingPgBouncer(ContractSuite):
    """All rules that one backend can show, with prepared statements, which have to be asked for."""

    # The head of the run names the version; some 700 lines about it would not help.
    __test__ = bool(PREPARING)

    @pytest.fixture
    def harness(self, postgres_schema_url: str, preparing_pgbouncer: PgBouncer) -> BehindPgBouncer:
        """A fresh store."""
        return BehindPgBouncer(postgres_schema_url, preparing_pgbouncer, "?prepare_threshold=0")
