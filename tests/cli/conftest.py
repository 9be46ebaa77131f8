"""The command on a SQLite file of its own, run in this process or in a real one."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from agentmem.memory import Memory

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Shell:
    """Runs `agentmem` with $AGENTMEM_URL set to a fresh SQLite file.

    Attributes:
        url: of that file.
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
        """Replace a stored value by JSON whose number no float can hold."""
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
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command on an empty store; nothing of the user's environment reaches it."""
    for name in [name for name in os.environ if name.startswith("AGENTMEM_")]:
        monkeypatch.delenv(name)
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return Shell(f"sqlite:///{tmp_path / 'memory.db'}", env)
