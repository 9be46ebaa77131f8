"""The 80 integration tests that this product began with are all there, by file, class and name, and all of them run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "integration"

_BASIC = """store_and_retrieve_simple_value store_and_retrieve_nested_data store_and_retrieve_list_data
    store_complex_data retrieve_nonexistent_key_returns_none overwrite_existing_key delete_key
    delete_nonexistent_key_no_error"""
_TTL = "store_with_ttl ttl_expiration_real_time store_without_ttl_persists update_ttl_on_overwrite"

THE_LIST = {
    "test_postgres_memory_integration.py": {
        "TestPostgresMemoryRealBasicOperations": _BASIC,
        "TestPostgresMemoryRealTTL": _TTL,
        "TestPostgresMemoryRealSearch": """search_by_pattern search_no_matches search_single_character_wildcard
            search_excludes_expired_keys""",
        "TestPostgresMemoryRealPartitions": "store_in_partition clear_partition",
        "TestPostgresMemoryRealKeyListing": "list_keys_with_prefix list_all_keys",
        "TestPostgresMemoryRealStats": "get_stats stats_size_calculation",
        "TestPostgresMemoryRealConcurrency": "concurrent_writes concurrent_reads concurrent_mixed_operations",
        "TestPostgresMemoryRealPerformance": "bulk_write_performance search_performance",
        "TestPostgresMemoryRealNamespace": "namespace_enforcement valid_namespace_accepted",
        "TestPostgresMemoryRealCleanup": "cleanup_expired_entries",
    },
    "test_redis_memory_integration.py": {
        "TestRedisMemoryRealBasicOperations": _BASIC,
        "TestRedisMemoryRealTTL": _TTL,
        "TestRedisMemoryRealSearch": """search_by_pattern search_no_matches search_with_redis_patterns
            search_excludes_expired_keys""",
        "TestRedisMemoryRealPartitions": "store_in_partition clear_partition",
        "TestRedisMemoryRealKeyListing": "list_keys_with_prefix list_all_keys keys_are_sorted",
        "TestRedisMemoryRealStats": "get_stats stats_show_memory_usage",
        "TestRedisMemoryRealConcurrency": "concurrent_writes concurrent_reads atomic_operations",
        "TestRedisMemoryRealPerformance": "bulk_write_performance read_performance search_performance",
        "TestRedisMemoryRealPersistence": "data_persists_after_kill_and_restart metadata_preserved",
        "TestRedisMemoryRealConnectionPool": "connection_pool_reuse connection_pool_handles_load",
        "TestRedisMemoryRealCleanup": "cleanup_expired_noop close_connection",
    },
    "test_agent_memory_e2e.py": {
        "TestAgentPostgresMemoryE2E": """generator_stores_results agent_coordination_via_memory
            fleet_coordination_pattern q_learning_persistence""",
        "TestAgentRedisMemoryE2E": """executor_stores_results high_frequency_agent_coordination agent_cache_pattern
            session_based_coordination""",
        "TestHybridMemoryE2E": "postgres_for_persistence_redis_for_cache data_migration_between_backends",
        "TestConcurrentAgentAccess": """multiple_agents_concurrent_writes agents_reading_shared_data
            agent_work_queue_pattern""",
        "TestMemoryResilience": "agent_continues_after_memory_error memory_backend_isolation",
    },
}
HOW_MANY = {
    "test_postgres_memory_integration.py": 30,
    "test_redis_memory_integration.py": 35,
    "test_agent_memory_e2e.py": 15,
}


def expected(file: str) -> dict[str, set[str]]:
    return {group: {f"test_{name}" for name in names.split()} for group, names in THE_LIST[file].items()}


def methods_of(group: ast.ClassDef) -> list[ast.FunctionDef]:
    return [node for node in group.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def test_the_list_has_80_names() -> None:
    assert {file: sum(map(len, expected(file).values())) for file in THE_LIST} == HOW_MANY
    assert sum(HOW_MANY.values()) == 80


def test_there_are_no_other_files() -> None:
    assert {path.name for path in FOLDER.glob("test_*.py")} == set(THE_LIST)


@pytest.mark.parametrize("file", THE_LIST)
def test_the_file_holds_the_list(file: str) -> None:
    groups = [node for node in ast.parse((FOLDER / file).read_text()).body if isinstance(node, ast.ClassDef)]
    assert {group.name: {test.name for test in methods_of(group)} for group in groups} == expected(file)
    # A second one of the same name would hide the first.
    assert sum(len(methods_of(group)) for group in groups) == HOW_MANY[file]


@pytest.mark.parametrize("file", THE_LIST)
def test_each_runs_once_and_asserts_something(file: str) -> None:
    text = (FOLDER / file).read_text()
    assert re.findall(r"\b(skip|skipif|xfail|parametrize|mock|monkeypatch)\b", text) == []
    silent = [
        test.name
        for group in ast.parse(text).body
        if isinstance(group, ast.ClassDef)
        for test in methods_of(group)
        if not any(isinstance(node, ast.Assert) for node in ast.walk(test))
    ]
    assert silent == []
