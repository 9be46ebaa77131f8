"""The contract on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.sql import migrations
from agentmem.testing.contract import ContractSuite
from agentmem.testing.contract.restarts import Restarts
from agentmem.testing.harnesses import PostgresHarness

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.testing.servers import PostgresServer


class TestPostgreSQL(ContractSuite):
    """All rules that one backend can show."""

    @pytest.fixture
    def harness(self, postgres_harness: PostgresHarness) -> PostgresHarness:
        """A fresh store."""
        return postgres_harness


@pytest.mark.fault
@pytest.mark.slow
class TestPostgreSQLRestarts(Restarts):
    """On a server of its own, which is restarted in order, or killed."""

    @pytest.fixture(params=["restart", "kill"])
    def harness(self, request: pytest.FixtureRequest, disposable_postgres_server: PostgresServer) -> PostgresHarness:
        """A fresh store on a fresh server."""
        server = disposable_postgres_server
        url = server.new_database()
        migrations.upgrade(url)

        def kill() -> None:
            server.kill()
            server.start()

        ways: dict[str, Callable[[], None]] = {"restart": server.restart, "kill": kill}
        return PostgresHarness(url, ways[request.param])
