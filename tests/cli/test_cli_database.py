"""db …, and what a schema of another version does to the other commands."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem import migrations
from agentmem.redis.layout import VERSION
from agentmem.sql.schema import HEAD
from agentmem.testing.redis_server import key_prefix

if TYPE_CHECKING:
    from agentmem.testing.servers import RedisServer
    from tests.cli.conftest import Shell


def execute(shell: Shell, statement: str) -> None:
    with closing(sqlite3.connect(shell.path)) as database, database:
        database.execute(statement)


def test_upgrade_current_check(shell: Shell) -> None:
    assert shell.ok("db", "current") == "none\n"
    assert not shell.path.exists()
    assert "run `agentmem db upgrade" in shell.fails(5, "db", "check")
    assert shell.ok("db", "upgrade") == f"{HEAD}\n"
    assert shell.ok("db", "upgrade") == f"{HEAD}\n"
    assert shell.json("db", "current") == {"revision": HEAD}
    assert shell.ok("db", "check") == "the schema is up to date\n"


def test_downgrade_and_upgrade_again(shell: Shell) -> None:
    shell.ok("put", "k", "[1]")
    assert shell.json("db", "downgrade", "base") == {"revision": None}
    shell.ok("db", "upgrade")
    assert shell.json("get", "k") == [1]


def test_stamp(shell: Shell) -> None:
    assert shell.ok("db", "stamp", HEAD) == f"{HEAD}\n"
    assert shell.ok("db", "current") == f"{HEAD}\n"


def test_history(shell: Shell) -> None:
    items = shell.json("db", "history")["items"]
    assert items[0]["revision"] == "0001"
    assert items[0]["down_revision"] is None
    assert items[-1]["revision"] == HEAD
    assert shell.ok("db", "history").startswith("0001\t\t")


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@nowhere.invalid/x", "sqlite:///nothing.db"])
def test_sql_needs_no_database(shell: Shell, url: str) -> None:
    script = shell.ok("db", "sql", "--url", url)
    assert "CREATE TABLE memory_entries" in script
    assert "hunter2" not in script
    assert json.loads(shell.ok("db", "sql", "--url", url, "--json"))["sql"] == script


def test_the_shared_options_stand_at_each_level(shell: Shell) -> None:
    for words in (["--json", "db", "current"], ["db", "--json", "current"], ["db", "current", "--json"]):
        assert json.loads(shell.ok(*words)) == {"revision": None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["upgrade", "nonsense"], "nonsense"),
        (["downgrade"], "Missing argument 'REVISION'"),
        (["current", "--url", "mongodb://x/y"], "mongodb"),
        (["frobnicate"], "No such command"),
        ([], "Missing command"),
    ],
)
def test_bad_arguments_are_exit_2(shell: Shell, words: list[str], message: str) -> None:
    assert message in shell.fails(2, "db", *words)


def test_a_schema_of_a_newer_version_is_exit_5(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    execute(shell, "UPDATE agentmem_version SET version_num = '9999'")
    for words in (["get", "k"], ["put", "k", "2"], ["db", "check"], ["db", "upgrade"], ["demo"]):
        text = shell.fails(5, *words)
        assert "upgrade agentmem: the database is at revision 9999" in text
    assert json.loads(shell("get", "k", "--json").stderr)["error"]["type"] == "SchemaMismatch"


def test_a_server_that_was_not_set_up_is_exit_5_and_names_the_command(shell: Shell, postgres_url: str) -> None:
    shell.url = postgres_url
    assert "run `agentmem db upgrade --url postgresql" in shell.fails(5, "get", "k")
    assert shell("doctor").exit_code == 1
    assert shell.ok("db", "upgrade") == f"{HEAD}\n"
    shell.ok("put", "k", "1")
    assert shell.json("doctor", "--verify")["store"]["backend"] == "postgresql"


def test_on_redis_upgrade_makes_the_store(redis_shell: Shell) -> None:
    shell = redis_shell
    assert shell.ok("db", "current") == "none\n"
    text = shell.fails(5, "db", "check")
    assert "there is no store below" in text
    assert "run `agentmem db upgrade --url redis://:***@" in text
    for _ in range(2):
        assert shell.ok("db", "upgrade") == f"layout {VERSION}: Redis has nothing to migrate\n"
    assert shell.json("db", "upgrade", VERSION) == shell.json("db", "current") == {"revision": VERSION}
    assert shell.ok("db", "current") == f"layout {VERSION}\n"
    assert shell.ok("db", "check") == "the schema is up to date\n"


def test_a_store_on_redis_of_a_newer_version_is_exit_5(redis_shell: Shell, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set(f"{key_prefix(redis_shell.url)}:layout", "99")
    for words in (["get", "k"], ["put", "k", "2"], ["db", "check"], ["db", "upgrade"], ["stats"]):
        assert redis_shell.fails(5, *words).endswith("has layout '99', agentmem here '1': upgrade agentmem")
    assert redis_shell.json("db", "current") == {"revision": "99"}
    report = json.loads(redis_shell("doctor", "--json").stdout)
    assert (report["ok"], report["store"]["layout"]) == (False, "99")
    assert report["problems"][0]["type"] == "SchemaMismatch"


@pytest.mark.parametrize("words", [["upgrade", "0001"], ["downgrade", "base"], ["stamp", HEAD], ["sql"]])
def test_what_redis_has_not_is_exit_2(redis_shell: Shell, words: list[str]) -> None:
    assert "redis" in redis_shell.fails(2, "db", *words).lower()
    assert redis_shell.ok("db", "current") == "none\n"


def test_options_of_the_backend_go_with_every_command(shell: Shell) -> None:
    named = ("-o", "table_prefix=am ")
    assert "-o 'table_prefix=am '" in shell.fails(5, "db", "check", *named)
    pending = shell.json("db", "upgrade", "--dry-run", *named)["pending"]
    assert (pending[0], pending[-1][:4]) == ("0001 Partitions and memory entries.", HEAD)
    assert shell.ok("db", "current", *named) == "none\n"
    shell.ok("db", "upgrade", *named)
    assert shell.ok("db", "upgrade", "--dry-run", *named) == "nothing to do\n"
    assert shell.ok("db", "current") == "none\n"
    shell.ok("put", "k", "[1]", *named, "-o", "create=never")
    assert shell.json("get", "k", *named) == [1]
    shell.fails(1, "get", "k")
    assert 'CREATE TABLE "am memory_entries"' in shell.ok("db", "sql", *named)
    assert shell.json("-o", "table_prefix=am ", "stats")["entries"] == 1


@pytest.mark.parametrize("option", ["table_prefix", "=x", "partition=x", "nonsense=1"])
def test_r31_an_option_that_is_none_is_named(shell: Shell, option: str) -> None:
    assert option.partition("=")[0] in shell.fails(2, "get", "k", "-o", option)


def test_check_waits_for_somebody_elses_upgrade(shell: Shell) -> None:
    assert "waited 0.1 s in vain" in shell.fails(5, "db", "check", "--wait", "0.1")
    upgrade = threading.Timer(0.3, migrations.upgrade, args=(shell.url,))
    upgrade.start()
    assert shell.ok("db", "check", "--wait", "20") == "the schema is up to date\n"
    upgrade.join()


def test_check_waits_for_a_store_on_redis(shell: Shell, redis_url: str) -> None:
    words = ("db", "check", "--url", redis_url, "--wait")
    assert "there is no store" in shell.fails(5, *words, "0.1")
    assert shell.json("db", "upgrade", "--dry-run", "--url", redis_url) == {"pending": ["a store"]}
    threading.Timer(0.3, lambda: agentmem.connect(redis_url).close()).start()
    assert shell.ok(*words, "20") == "the schema is up to date\n"
    assert shell.ok("db", "upgrade", "--dry-run", "--url", redis_url) == "nothing to do\n"
