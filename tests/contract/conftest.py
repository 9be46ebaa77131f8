"""The harnesses on which this project runs its own contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.testing.harnesses import PostgresHarness, SQLiteFileHarness, SQLiteMemoryHarness

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sqlite_file_harness(tmp_path: Path) -> SQLiteFileHarness:
    """A SQLite file that does not exist yet."""
    return SQLiteFileHarness(tmp_path)


@pytest.fixture
def sqlite_memory_harness() -> SQLiteMemoryHarness:
    """SQLite in memory."""
    return SQLiteMemoryHarness()


@pytest.fixture
def postgres_harness(postgres_schema_url: str) -> PostgresHarness:
    """An empty PostgreSQL database with our schema."""
    return PostgresHarness(postgres_schema_url)
