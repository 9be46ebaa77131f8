"""SQLite's options: each connection is set up as they say, those of other threads too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import ConfigurationError
from agentmem.sql.repository import SQLRepository
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory


def pragma(memory: Memory, name: str) -> Any:
    """What a connection of the handle says."""
    repository = memory._gateway.repository
    assert isinstance(repository, SQLRepository)
    return repository._connections.read(lambda link: link.cursor.execute(f"PRAGMA {name}").fetchone()[0])


@pytest.mark.parametrize(("given", "number"), [({}, 1), ({"synchronous": "normal"}, 1), ({"synchronous": "full"}, 2)])
def test_synchronous(sqlite_url: str, given: dict[str, Any], number: int) -> None:
    with agentmem.connect(sqlite_url, **given) as memory:
        assert run_threads(4, lambda _: pragma(memory, "synchronous")) == [number] * 4
        assert memory.stats().server["synchronous"] == given.get("synchronous", "normal")


@pytest.mark.parametrize(("query", "size"), [("", 0), ("?mmap_bytes=1048576", 1_048_576)])
def test_no_more_of_the_file_is_mapped_than_was_asked_for(sqlite_url: str, query: str, size: int) -> None:
    with agentmem.connect(sqlite_url + query) as memory:
        memory.load((f"key/{number:05}", "x" * 900) for number in range(3_000))
        assert run_threads(4, lambda _: pragma(memory, "mmap_size")) == [size] * 4
        assert sum(len(entry.value) for entry in memory.items()) == 2_700_000
        assert memory.clear() == 3_000
        assert memory.check() == []


@pytest.mark.parametrize("size", [-1, 2**31, "much"])
def test_a_map_that_sqlite_does_not_bear_is_refused(sqlite_url: str, size: Any) -> None:
    with pytest.raises(ConfigurationError, match="mmap_bytes"):
        agentmem.connect(sqlite_url, mmap_bytes=size)
