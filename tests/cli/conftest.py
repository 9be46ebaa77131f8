"""The command on a store of its own, run in this process or in a real one."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

import agentmem
from agentmem.cli.app import app
from agentmem.testing.harnesses import PostgresHarness
from agentmem.testing.redis_harness import RedisHarness

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.servers import RedisServer

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Shell:
    """Runs `agentmem` with $AGENTMEM_URL set to a fresh store.

    Attributes:
        url: of that store.
        env: what processes get in addition.
    """

    url: str
    env: dict[str, str]

    def __call__(self, *words: str, stdin: str | bytes | None = None, url: str | None = None) -> Result:
        """Run in this process, through typer's runner."""
        env = {**self.env, "AGENTMEM_URL": url or self.url}
        return CliRunner().invoke(app, list(words), input=stdin, env=env, prog_name="agentmem")

    def ok(self, *words: str, stdin: str | bytes | None = None) -> str:
        """Run, expect success and silence on stderr, and return stdout."""
        result = self(*words, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def json(self, *words: str, stdin: str | bytes | None = None) -> Any:
        """Run with --json, expect success, and return the document."""
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def fails(self, code: int, *words: str, stdin: str | bytes | None = None) -> str:
        """Run, expect an exit code, nothing on stdout and one line `error: …` on stderr; return its text."""
        result = self(*words, stdin=stdin)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix("error: ").rstrip("\n")

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(self.url.removeprefix("sqlite:///"))

    def connect(self) -> Memory:
        """Open the same store by the library."""
        return agentmem.connect(self.url)

    def corrupt(self, key: str) -> None:
        """Replace a stored value by what no JSON is, or on SQLite by JSON whose number no float can hold."""
        if not self.url.startswith("sqlite"):
            harness = RedisHarness if self.url.startswith("redis") else PostgresHarness
            harness(self.url).corrupt("default", key)
            return
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute("UPDATE memory_entries SET body = ? WHERE key = ?", ("[1e999]", key))

    def process(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a real process."""
        return subprocess.Popen(
            [sys.executable, "-m", "agentmem", *words],
            env={**os.environ, **self.env, "AGENTMEM_URL": self.url, **options.pop("env", {})},
            **options,
        )


@pytest.fixture
def sqlite_shell(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command on an empty SQLite file; nothing of the user's environment reaches it."""
    for name in [name for name in os.environ if name.startswith("AGENTMEM_")]:
        monkeypatch.delenv(name)
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return Shell(sqlite_url, env)


@pytest.fixture
def redis_shell(sqlite_shell: Shell, redis_url: str) -> Shell:
    """The command on an empty store in Redis."""
    return dataclasses.replace(sqlite_shell, url=redis_url)


@pytest.fixture
def postgres_shell(sqlite_shell: Shell, postgres_schema_url: str) -> Shell:
    """The command on an empty store in PostgreSQL."""
    return dataclasses.replace(sqlite_shell, url=postgres_schema_url)


@pytest.fixture
def own_redis_shell(sqlite_shell: Shell, disposable_redis_server: RedisServer) -> Shell:
    """The command on an empty store of a server with known settings, which a test may change."""
    disposable_redis_server.start()
    return dataclasses.replace(sqlite_shell, url=disposable_redis_server.new_store())


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
def each_shell(request: pytest.FixtureRequest) -> Shell:
    """The command on each backend."""
    shell: Shell = request.getfixturevalue(f"{request.param}_shell")
    return shell


@pytest.fixture
def shell(sqlite_shell: Shell) -> Shell:
    """The command on an empty store; a module whose tests are for every backend takes `each_shell` in its place."""
    return sqlite_shell
