"""The contract on PostgreSQL."""

from __future__ import annotations

import pytest

from agentmem.testing.contract import ContractSuite
from agentmem.testing.harnesses import PostgresHarness


class TestPostgreSQL(ContractSuite):
    """All rules that one backend can show."""

    @pytest.fixture
    def harness(self, postgres_harness: PostgresHarness) -> PostgresHarness:
        """A fresh store."""
        return postgres_harness
