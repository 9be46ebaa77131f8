"""Resident memory does not grow with the number of entries that are loaded, walked, exported and imported.

A million on each backend are for the benchmarks, `python -m benchmarks --growth`: about two minutes each.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.footprint import LIMIT_MB, Steps, child, peak_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agentmem.testing.servers import PostgresServer, RedisServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux alone"),
]

MOST_MORE_MB = 12
"""What ten times as many entries may take more: the keys alone of 180,000 would be 20 MB, their bodies 60."""


def compare(few: Steps, many: Steps) -> None:
    """Assert that no step took more memory for many."""
    assert few.keys() == many.keys() >= {"load", "items", "export", "import"}
    assert {name: by["peak_mb"] for name, by in many.items() if by["peak_mb"] > LIMIT_MB} == {}
    more = {name: round(many[name]["peak_mb"] - few[name]["peak_mb"], 1) for name in many}
    assert max(more.values()) < MOST_MORE_MB, more


def test_sqlite(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(4)]
    compare(child(urls[0], urls[1], 20_000), child(urls[2], urls[3], 200_000))


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[list[str]]:
    urls = [postgres_server.new_database() for _ in range(4)]
    yield urls
    for url in urls:
        postgres_server.drop_database(url)


def test_postgresql(databases: list[str]) -> None:
    compare(child(databases[0], databases[1], 10_000), child(databases[2], databases[3], 100_000))


@pytest.fixture
def stores(redis_server: RedisServer) -> Iterator[list[str]]:
    urls = [redis_server.new_store() for _ in range(2)]
    yield urls
    for url in urls:
        redis_server.drop_store(url)


def test_redis(stores: list[str]) -> None:
    # The last step has left both as they were found.
    compare(child(stores[0], stores[1], 10_000), child(stores[0], stores[1], 100_000))


def test_what_is_kept_is_seen_and_what_was_let_go_forgotten() -> None:
    size = 50_000_000
    before, large, after = peak_of(lambda: 1, 1), peak_of(lambda: len(b"x" * size), size), peak_of(lambda: 1, 1)
    assert large["peak_mb"] - before["peak_mb"] > 4 * MOST_MORE_MB
    assert large["peak_mb"] - after["peak_mb"] > 3 * MOST_MORE_MB
    names = ("load", "items", "export", "import")
    with pytest.raises(AssertionError, match="'load'"):
        compare(dict.fromkeys(names, before), {**dict.fromkeys(names, before), "load": large})
