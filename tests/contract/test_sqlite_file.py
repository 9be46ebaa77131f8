"""The contract on SQLiteFile."""

from __future__ import annotations

import pytest

from agentmem.testing.contract import ContractSuite
from agentmem.testing.harnesses import SQLiteFileHarness


class TestSQLiteFile(ContractSuite):
    """All rules that one backend can show."""

    @pytest.fixture
    def harness(self, sqlite_file_harness: SQLiteFileHarness) -> SQLiteFileHarness:
        """A fresh store."""
        return sqlite_file_harness
