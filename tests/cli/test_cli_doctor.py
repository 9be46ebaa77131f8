"""doctor."""

from __future__ import annotations

import json
import platform
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from agentmem.sql.schema import HEAD

if TYPE_CHECKING:
    import pytest

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
    assert all(report["versions"][name] for name in ("agentmem", "sqlalchemy", "psycopg", "sqlite"))


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
