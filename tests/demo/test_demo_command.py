"""The command `agentmem demo` in processes of its own, which are killed, interrupted and run side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

import agentmem
from agentmem.testing.support import eventually

LIBRARY = Path(sysconfig.get_path("stdlib"))
FILES = 120


def start(url: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "agentmem", "demo", "--json", "--url", url, "--lease", "0.5", *options]
    environment = {name: value for name, value in os.environ.items() if name != "AGENTMEM_URL"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    return dict(json.loads(stdout))


def findings(url: str) -> dict[str, Any]:
    with agentmem.connect(url, partition="demo") as memory:
        return {entry.key.split("/findings/")[1]: entry.value for entry in memory.items() if "/findings/" in entry.key}


def wait_for_files(url: str, count: int) -> None:
    """Wait until so many files are done in the store that another process fills."""
    with agentmem.connect(url, partition="demo", create="always") as memory:
        eventually(lambda: memory.count("*/findings/*") >= count, timeout=60)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run finds that nobody kills."""
    url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'memory.db'}"
    report = finish(start(url, "--limit", str(FILES)))
    assert report["exact"]
    return findings(url)


@pytest.mark.fault
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(store_url: str, undisturbed: dict[str, Any]) -> None:
    process = start(store_url, "--limit", str(FILES))
    wait_for_files(store_url, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    report = finish(start(store_url, "--limit", str(FILES)))
    assert report["exact"]
    assert 5 <= report["resumed_at"] < FILES
    assert findings(store_url) == undisturbed


def test_two_processes_share_the_work(store_url: str, undisturbed: dict[str, Any]) -> None:
    processes = [start(store_url, "--limit", str(FILES), "--analysts", "2") for _ in range(2)]
    reports = [finish(process) for process in processes]
    assert all(report["exact"] for report in reports)
    assert len({report["run"] for report in reports}) == 1
    assert findings(store_url) == undisturbed


def test_an_interrupted_run_ends_quietly_and_goes_on(sqlite_url: str, undisturbed: dict[str, Any]) -> None:
    process = start(sqlite_url, "--limit", str(FILES))
    wait_for_files(sqlite_url, 5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    with agentmem.connect(sqlite_url, partition="demo") as memory:
        (queue,) = memory.queues()
        assert memory.queue(queue).counts().leased == 0
    assert finish(start(sqlite_url, "--limit", str(FILES)))["resumed_at"] >= 5
    assert findings(sqlite_url) == undisturbed


def run_for_people(url: str, *options: str) -> str:
    command = [sys.executable, "-m", "agentmem", "demo", "--url", url, "--path", str(LIBRARY / "json"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout


@pytest.mark.parametrize("options", [[], ["-o", "table_prefix=am_"]], ids=["plain", "options"])
def test_the_tables_and_what_to_look_at(sqlite_url: str, options: list[str]) -> None:
    text = run_for_people(sqlite_url, *options)
    for expected in ("Most complex files", "Longest functions", "py_make_scanner", "analyst-", "The books agree"):
        assert expected in text
    for expected in ("What the fleet learned", "at random, for nothing was known", "reporter: every file of run 1"):
        assert expected in text
    again = run_for_people(sqlite_url, *options)
    assert "finished already" in again
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("agentmem ")]
    assert len(commands) == 5
    for command in commands:
        done = subprocess.run(
            f"{sys.executable} -m {command}", shell=True, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() not in ("", "0")


def test_no_password_is_printed(postgres_schema_url: str) -> None:
    text = run_for_people(postgres_schema_url)
    assert "with AGENTMEM_URL set to the same URL" in text
    assert "--url" not in text
    password = make_url(postgres_schema_url).password
    assert password
    assert str(password)[:8] not in text


def test_quiet_says_how_it_went_and_nothing_else(sqlite_url: str) -> None:
    text = run_for_people(sqlite_url, "--quiet")
    assert "The books agree" in text
    assert len(text.splitlines()) == 3


def test_a_folder_that_is_none_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    process = start(sqlite_url, "--path", str(tmp_path / "nowhere"))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "nowhere" in stderr
    assert not (tmp_path / "memory.db").exists()
