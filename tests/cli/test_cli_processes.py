"""What only a real process shows: pipes, signals, terminals, imports."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def on_a_terminal(shell: Shell, *words: str, typed: bytes = b"") -> tuple[int, str]:
    """Run with stdin, stdout and stderr on a pseudo-terminal of 80 columns; return the code and what it showed."""
    parent, child = pty.openpty()
    os.write(parent, typed)
    process = shell.process(*words, stdin=child, stdout=child, stderr=child, env={"COLUMNS": "80", "TERM": "xterm"})
    os.close(child)
    shown = b""
    try:
        while chunk := os.read(parent, 65536):
            shown += chunk
    except OSError:
        pass  # Linux's way to say that the other end is closed
    os.close(parent)
    return process.wait(30), shown.decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("module", ["agentmem", "agentmem.cli"])
def test_the_module_is_the_command(shell: Shell, module: str) -> None:
    command = [sys.executable, "-m", module, "put", "k", "--json"]
    env = {**os.environ, **shell.env, "AGENTMEM_URL": shell.url}
    done = subprocess.run(command, env=env, input='"Grüße 🧠"'.encode(), capture_output=True, check=True)
    assert json.loads(done.stdout)["value"] == "Grüße 🧠"
    assert done.stderr == b""


def test_a_failure_has_its_code_and_no_traceback(shell: Shell) -> None:
    process = shell.process("get", "nothing", **PIPES)
    assert process.communicate(timeout=30) == (b"", b"error: no entry at 'nothing'\n")
    assert process.returncode == 1


def test_a_reader_who_goes_away_is_no_error_message(shell: Shell) -> None:
    with shell.connect() as memory:
        memory.put_many({f"{number:06}": "x" * 100 for number in range(5000)})
    process = shell.process("search", "--all", **PIPES)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"000000\t")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def test_ctrl_c_is_130_and_no_traceback(shell: Shell) -> None:
    # It waits for its value, which never comes, until it is interrupted.
    process = shell.process("put", "k", **{**PIPES, "stdin": subprocess.PIPE})
    deadline = time.monotonic() + 30
    while "pipe_read" not in waiting_in(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


def waiting_in(pid: int) -> str:
    """Where the kernel holds a process, such as `pipe_read`."""
    return Path(f"/proc/{pid}/wchan").read_text()


def test_a_terminal_gets_indented_json(shell: Shell) -> None:
    with shell.connect() as memory:
        memory.put("note", {"text": "[bold] :smile: " + "long " * 100, "list": [1]})
    code, shown = on_a_terminal(shell, "get", "note")
    assert code == 0
    assert "\x1b[" in shown
    assert without_colours(shown).startswith('{\n  "text": "[bold] :smile: long ')
    assert json.loads(without_colours(shown)) == {"text": "[bold] :smile: " + "long " * 100, "list": [1]}


def test_an_export_cannot_drive_the_terminal(shell: Shell) -> None:
    dangerous = "\x9b31m \u202e é"
    with shell.connect() as memory:
        memory.put("k", dangerous)
    code, shown = on_a_terminal(shell, "export")
    assert code == 0
    assert not set(shown) & set("\x1b\x9b\u202e")
    assert json.loads(shown)["value"] == dangerous


def test_a_count_goes_on_where_somebody_looks(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f'{{"key": "{number}", "value": 1}}\n' for number in range(2500)))
    code, shown = on_a_terminal(shell, "import", str(path))
    assert code == 0
    before, erased, last = shown.rpartition("\x1b[2K")
    assert "imported 2,500 entries" in before
    assert (erased != "", last) == (True, "imported 2,500 entries\n")
    assert on_a_terminal(shell, "import", str(path), "--json") == (0, '{"imported": 2500}\n')


def test_lines_are_not_waited_for_unless_asked(shell: Shell) -> None:
    code, shown = on_a_terminal(shell, "import")
    assert (code, "FILE is missing" in shown) == (2, True)
    code, shown = on_a_terminal(shell, "import", "-", typed=b'{"key": "k", "value": 1}\n\x04')
    assert (code, "imported 1 entry" in shown) == (0, True)


def test_the_question_is_answered_on_a_terminal(shell: Shell) -> None:
    with shell.connect() as memory:
        memory.put("k", 1)
    code, shown = on_a_terminal(shell, "clear", typed=b"y\n")
    assert code == 0
    assert "removed 1 entry" in shown


def test_help_needs_no_database_and_no_migrations(shell: Shell) -> None:
    program = (
        "import sys, agentmem.cli.app; print(sorted({'sqlalchemy', 'alembic', 'psycopg', 'redis', 'rich'}"
        " & set(sys.modules)))"
    )
    env = {**os.environ, **shell.env}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_the_version(shell: Shell) -> None:
    try:
        installed = importlib.metadata.version("agentmem-store")
    except importlib.metadata.PackageNotFoundError:
        installed = "unknown"
    assert shell.ok("--version") == f"agentmem {installed}\n"


def test_no_words_at_all_is_help(shell: Shell) -> None:
    assert "Usage: agentmem" in shell.ok()


def test_completion_offers_the_commands(shell: Shell) -> None:
    env = {"_AGENTMEM_COMPLETE": "complete_bash", "COMP_WORDS": "agentmem incr", "COMP_CWORD": "1"}
    process = shell.process(env=env, **PIPES)
    assert b"increment" in process.communicate(timeout=30)[0]
