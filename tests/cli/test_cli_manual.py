"""docs/cli.md: its sessions run as they stand there, and its tables name what exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import typer.main
from typer.testing import CliRunner

from agentmem.cli.app import app
from agentmem.cli.exits import ExitCode
from agentmem.sql.schema import HEAD

ROOT = Path(__file__).resolve().parents[2]
MANUAL = (ROOT / "docs" / "cli.md").read_text()
SESSIONS = re.findall(r"^```console\n(.*?)^```$", MANUAL, re.DOTALL | re.MULTILINE)


def commands_of(session: str) -> list[tuple[str, str]]:
    """Each `$ command` of a session with what is printed below it."""
    parts = re.split(r"^\$ (.*)\n", session, flags=re.MULTILINE)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2], strict=True))


def as_pattern(expected: str) -> str:
    """`…` stands for anything on its line."""
    return "[^\n]*".join(re.escape(part) for part in expected.split("…"))


class Terminal:
    """A shell in a folder of its own. What is `agentmem` alone runs in this process, which is much quicker."""

    def __init__(self, folder: Path) -> None:
        executable = folder / "bin" / "agentmem"
        executable.parent.mkdir()
        executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agentmem "$@"\n')
        executable.chmod(0o755)
        path = f"{executable.parent}:{os.environ['PATH']}"
        self.folder = folder
        self.env = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)}

    def type(self, command: str) -> str:
        """Run a command line and return what it prints, with the exit code below it unless that is 0."""
        words = shlex.split(command)
        if words[0] == "export":
            name, _, self.env[name] = words[1].partition("=")
            return ""
        quick = words[0] == "agentmem" and not {"|", ">"} & set(words)
        code, output = self._here(words[1:]) if quick else self._in_a_process(command)
        return output + (f"[exit code {code}]\n" if code else "")

    def _here(self, words: list[str]) -> tuple[int, str]:
        with chdir(self.folder):
            result = CliRunner().invoke(app, words, env=self.env, prog_name="agentmem")
        return result.exit_code, result.output

    def _in_a_process(self, command: str) -> tuple[int, str]:
        # With stderr in its place among the output.
        whole = ["sh", "-c", f"exec 2>&1 </dev/null; {command}"]
        done = subprocess.run(whole, cwd=self.folder, env=self.env, check=False, text=True, stdout=subprocess.PIPE)
        return done.returncode, done.stdout


def test_the_sessions_of_the_manual(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    for command, expected in [pair for session in SESSIONS for pair in commands_of(session)]:
        output = terminal.type(command)
        # The manual stands at this revision; a later one need not rewrite it.
        pattern = as_pattern(expected).replace("0004", HEAD)
        assert re.fullmatch(pattern, output), f"$ {command}\n{output}instead of\n{expected}"


def test_every_command_is_in_the_manual() -> None:
    root = typer.main.get_group(app)
    names = [*root.commands, *(f"db {name}" for name in root.commands["db"].commands)]  # type: ignore[attr-defined]
    assert [name for name in names if f"`{name}" not in MANUAL and f"agentmem {name}" not in MANUAL] == []


def test_the_exit_codes_are_in_the_manual() -> None:
    documented = re.findall(r"^\| (\d+) \|", MANUAL, re.MULTILINE)
    assert [int(code) for code in documented] == [int(code) for code in ExitCode]
