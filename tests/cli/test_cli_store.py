"""stats, partitions, clear, purge."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agentmem.testing.support import SHORT, eventually

if TYPE_CHECKING:
    from agentmem.testing.servers import RedisServer
    from tests.cli.conftest import Shell


@pytest.fixture
def shell(each_shell: Shell) -> Shell:
    """On every backend."""
    return each_shell


@pytest.fixture
def filled(shell: Shell) -> Shell:
    with shell.connect() as memory:
        memory.put_many({"a": 1, "b": 2})
        memory.partition("odd name\t", default_ttl=timedelta(hours=1), namespace="x/", description="for x").put(
            "x/c", 3
        )
    return shell


def test_stats(filled: Shell) -> None:
    stats = filled.json("stats")
    assert list(stats)[:4] == ["entries", "expired_pending", "value_bytes", "partitions"]
    assert (stats["entries"], stats["partitions"]) == (3, {"default": 2, "odd name\t": 1})
    assert filled.url.startswith(stats["backend"] + ":")
    lines = dict(line.split("\t", 1) for line in filled.ok("stats").splitlines())
    assert lines["entries"] == "3"
    assert lines['partition "odd name\\t"'] == "1"


def test_stats_say_aloud_what_a_crash_of_redis_costs(own_redis_shell: Shell) -> None:
    server = own_redis_shell.json("stats")["server"]
    assert (server["layout"], server["appendonly"], server["appendfsync"]) == ("1", True, "everysec")
    assert (server["maxmemory_policy"], server["connected_replicas"], server["wait_replicas"]) == ("noeviction", 0, 0)
    assert server["warnings"] == []
    assert "warning" not in own_redis_shell.ok("stats")


def test_stats_warn_line_by_line(own_redis_shell: Shell, disposable_redis_server: RedisServer) -> None:
    with disposable_redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendfsync", "no")
    warnings = [line for line in own_redis_shell.ok("stats").splitlines() if line.startswith("warning\t")]
    assert [line.split()[1] for line in warnings] == ["appendfsync", "maxmemory-policy"]


def test_partitions(filled: Shell) -> None:
    items = {item.pop("name"): item for item in filled.json("partitions")["items"]}
    odd = items["odd name\t"]
    assert (odd["default_ttl"], odd["namespace"], odd["description"]) == (3600.0, "x/", "for x")
    assert (items["default"]["default_ttl"], items["default"]["namespace"]) == (None, None)
    lines = [line.split("\t") for line in filled.ok("partitions").splitlines()]
    assert [line[:3] for line in lines] == [["default", "never", ""], ['"odd name\\t"', "1h", "x/"]]


@pytest.mark.parametrize("answer", ["n\n", "no\n", "\n", "", "perhaps\n", "y e s\n"])
def test_clear_without_a_yes_does_nothing(filled: Shell, answer: str) -> None:
    result = filled("clear", stdin=answer)
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("Remove 2 entries of partition default? [y/N]: ")
    assert result.stderr.endswith("error: not confirmed, nothing was changed (--yes answers beforehand)\n")
    assert filled.ok("count") == "2\n"


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_clear_with_a_yes_clears_one_partition(filled: Shell, answer: str) -> None:
    result = filled("clear", "--json", stdin=answer)
    assert (result.exit_code, result.stdout) == (0, '{"removed": 2}\n')
    assert filled.json("stats")["partitions"] == {"default": 0, "odd name\t": 1}


def test_clear_does_not_ask_when_told_so(filled: Shell) -> None:
    assert filled.ok("clear", "--yes", "-p", "odd name\t") == "removed 1 entry\n"
    assert filled.json("stats")["partitions"] == {"default": 2, "odd name\t": 0}


def test_purge_counts_what_it_removed(shell: Shell) -> None:
    with shell.connect() as memory:
        memory.put_many({"a": 1, "b": 2}, ttl=SHORT)
        memory.put("c", 3)
        eventually(lambda: memory.count() == 1)
    assert shell.json("stats")["expired_pending"] == 2
    assert shell.json("purge", "--max-seconds", "5") == {"removed": 2}
    assert shell.ok("purge") == "removed 0 expired entries\n"
    assert shell.json("stats")["expired_pending"] == 0
