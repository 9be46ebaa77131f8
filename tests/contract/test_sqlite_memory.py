"""The contract on SQLiteMemory."""

from __future__ import annotations

import pytest

from agentmem.testing.contract import ContractSuite
from agentmem.testing.harnesses import SQLiteMemoryHarness


class TestSQLiteMemory(ContractSuite):
    """All rules that one backend can show."""

    @pytest.fixture
    def harness(self, sqlite_memory_harness: SQLiteMemoryHarness) -> SQLiteMemoryHarness:
        """A fresh store."""
        return sqlite_memory_harness
