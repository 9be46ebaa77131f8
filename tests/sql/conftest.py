"""Stores for the tests that look behind the handle at what SQL does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import agentmem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store, on each of the two databases."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_schema_url")


@pytest.fixture
def memory(url: str) -> Iterator[Memory]:
    with agentmem.connect(url) as memory:
        yield memory
