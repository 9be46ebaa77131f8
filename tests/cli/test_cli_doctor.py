"""doctor."""

from __future__ import annotations

import json
import platform
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from agentmem.cli.doctor import Diagnosis, note_durability
from agentmem.redis.layout import VERSION
from agentmem.sql.schema import HEAD
from agentmem.testing.redis_server import key_prefix

if TYPE_CHECKING:
    from agentmem.testing.servers import RedisServer
    from tests.cli.conftest import Shell


def test_a_store_that_is_well(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    report = shell.json("doctor")
    assert (report["ok"], report["problems"]) == (True, [])
    assert report["settings"] == {"url": shell.url, "partition": "default", "namespace": None, "sweep_every": None}
    assert report["store"]["schema"] == HEAD
    assert (report["store"]["backend"], report["store"]["entries"]) == ("sqlite", 1)
    assert report["store"]["server_version"] == sqlite3.sqlite_version
    assert 0 <= report["store"]["round_trip_ms"] < 10_000
    assert abs(report["store"]["clock_difference_ms"]) < 1000
    assert report["versions"]["python"] == platform.python_version()
    assert all(report["versions"][name] for name in ("agentmem", "sqlalchemy", "psycopg", "redis", "hiredis", "sqlite"))


def test_in_words(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    lines = dict(line.split("\t") for line in shell.ok("doctor").splitlines())
    assert lines["setting url"] == shell.url
    assert lines["store schema"] == HEAD
    assert lines["version python"] == platform.python_version()
    assert lines["verdict"] == "all is well"


def test_it_writes_nothing(shell: Shell) -> None:
    report = shell.json("doctor")
    assert report["ok"]
    assert report["store"] == {"schema": None, "state": "not set up yet, the first use does it"}
    assert not shell.path.exists()
    shell.ok("put", "k", "1")
    before = shell.path.read_bytes()
    shell.ok("doctor", "--verify")
    assert shell.path.read_bytes() == before


def test_it_looks_at_the_store_that_the_options_name(shell: Shell) -> None:
    shell.ok("put", "k", "1", "-o", "table_prefix=am_")
    for words, expected in ((["-o", "table_prefix=am_"], (HEAD, 1)), ([], (None, None))):
        store = shell.json("doctor", *words)["store"]
        assert (store["schema"], store.get("entries")) == expected


def test_it_looks_at_the_store_of_the_prefix_that_the_options_name(own_redis_shell: Shell) -> None:
    shell, elsewhere = own_redis_shell, ["-o", "key_prefix=elsewhere"]
    shell.ok("put", "k", "1")
    store = shell.json("doctor", *elsewhere)["store"]
    assert (store["layout"], store["state"]) == (None, "not set up yet, the first use does it")
    assert shell.json("db", "current", *elsewhere) == {"revision": None}
    assert shell.json("db", "upgrade", "--dry-run", *elsewhere) == {"pending": ["a store"]}
    remedy = shell.fails(5, "db", "check", *elsewhere)
    assert remedy.endswith("-o key_prefix=elsewhere`")
    shell.ok("db", "upgrade", *elsewhere)
    assert [shell.json("doctor", *words)["store"]["entries"] for words in (elsewhere, [])] == [0, 1]


def test_settings_of_the_environment_without_their_secrets(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMEM_PARTITION", "team")
    monkeypatch.setenv("AGENTMEM_NAMESPACE", "a/")
    shell.url = "postgresql://agent:hunter2@127.0.0.1:1/x?password=hunter2"
    result = shell("doctor", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "hunter2" not in result.stdout
    report = json.loads(result.stdout)
    assert report["settings"]["partition"] == "team"
    assert report["settings"]["namespace"] == "a/"
    assert (report["ok"], report["problems"][0]["type"]) == (False, "Unavailable")


def test_a_schema_of_another_version(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    with closing(sqlite3.connect(shell.path)) as database, database:
        database.execute("UPDATE agentmem_version SET version_num = '9999'")
    result = shell("doctor")
    assert result.exit_code == 1
    assert "problem\tSchemaMismatch: upgrade agentmem: the database is at revision 9999" in result.stdout
    assert result.stdout.endswith("verdict\tsomething is wrong\n")


def test_a_setting_that_cannot_be(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMEM_SWEEP_EVERY", "often")
    assert "AGENTMEM_SWEEP_EVERY" in shell.fails(2, "get", "k")
    assert "AGENTMEM_SWEEP_EVERY" in shell.fails(2, "doctor")


def test_verify_looks_into_the_books(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    shell.ok("put", "other", "2")
    shell.corrupt("k")
    assert shell.json("doctor")["ok"]
    result = shell("doctor", "--verify", "--json")
    assert result.exit_code == 1
    assert [problem["type"] for problem in json.loads(result.stdout)["problems"]] == ["corrupt_value"]


DURABILITY = {
    "role": "master",
    "appendonly": True,
    "appendfsync": "everysec",
    "save": "",
    "maxmemory_bytes": 0,
    "maxmemory_policy": "noeviction",
    "connected_replicas": 0,
    "min_replicas_to_write": 0,
}


def test_redis_tells_its_layout_and_how_durable_it_is(own_redis_shell: Shell) -> None:
    own_redis_shell.ok("put", "k", "1")
    report = own_redis_shell.json("doctor", "--verify")
    assert (report["ok"], report["problems"], report["warnings"]) == (True, [], [])
    store = report["store"]
    assert (store["layout"], store["backend"], store["entries"]) == (VERSION, "redis", 1)
    assert DURABILITY.items() <= store.items()
    lines = own_redis_shell.ok("doctor").splitlines()
    assert "store appendfsync\teverysec" in lines
    assert "store save\tnone" in lines
    assert lines[-1] == "verdict\tall is well"


def test_it_writes_nothing_to_redis_and_tells_the_durability_all_the_same(
    own_redis_shell: Shell, disposable_redis_server: RedisServer
) -> None:
    report = own_redis_shell.json("doctor")
    assert (report["ok"], report["store"]["layout"]) == (True, None)
    assert report["store"]["state"] == "not set up yet, the first use does it"
    assert DURABILITY.items() <= report["store"].items()
    with disposable_redis_server.client() as client:
        assert list(client.scan_iter(f"{key_prefix(own_redis_shell.url)}*")) == []


def test_a_redis_that_forgets_is_warned_about(own_redis_shell: Shell, disposable_redis_server: RedisServer) -> None:
    with disposable_redis_server.client() as client:
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.config_set("appendonly", "no")
    for _ in range(2):  # before there is a store, and afterwards
        lines = own_redis_shell.ok("doctor").splitlines()
        assert "warning\tappendonly is off, and so are snapshots: a restart of the server loses everything" in lines
        assert any(line.startswith("warning\tmaxmemory-policy is volatile-ttl") for line in lines)
        assert lines[-1] == "verdict\tit works, but mind the warnings"
        own_redis_shell.ok("db", "upgrade")


def test_the_nodes_of_a_cluster_are_told_apart_where_they_differ() -> None:
    nodes = [{"appendonly": True, "appendfsync": each, "connected_replicas": 1} for each in ("everysec", "no")]
    found = Diagnosis({})
    note_durability({"wait_replicas": 1, "nodes": nodes, "warnings": ["appendfsync is no"]}, found)
    assert found.store == {
        "appendonly": True,
        "appendfsync": ["everysec", "no"],
        "connected_replicas": 1,
        "wait_replicas": 1,
    }
    assert found.warnings == ["appendfsync is no"]


def test_a_redis_that_does_not_tell_its_settings(own_redis_shell: Shell, disposable_redis_server: RedisServer) -> None:
    with disposable_redis_server.client() as client:
        client.acl_setuser("agent", enabled=True, passwords="+word", keys="*", commands=["+@all", "-config"])
    own_redis_shell.url = f"redis://agent:word@{own_redis_shell.url.rpartition('@')[2]}"
    own_redis_shell.ok("put", "k", "1")
    assert own_redis_shell.json("doctor")["store"]["appendfsync"] == "unknown: the server refuses CONFIG GET"


def test_verify_looks_into_the_books_of_redis(redis_shell: Shell) -> None:
    redis_shell.ok("put", "k", "1")
    redis_shell.corrupt("k")
    result = redis_shell("doctor", "--verify", "--json")
    assert result.exit_code == 1
    assert [problem["type"] for problem in json.loads(result.stdout)["problems"]] == ["corrupt_value"]


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1", "redis+cluster://:hunter2@127.0.0.1:1"])
def test_a_redis_that_does_not_answer(shell: Shell, url: str) -> None:
    shell.url = url
    result = shell("doctor", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "hunter2" not in result.stdout
    assert json.loads(result.stdout)["problems"][0]["type"] == "Unavailable"
    assert "hunter2" not in shell.fails(4, "db", "upgrade")
