"""The pytest plugin in the hands of a host: its servers end with the run, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentmem.testing import processes

PROJECT = {
    "conftest.py": 'pytest_plugins = ["agentmem.testing.plugin"]',
    "test_host.py": """
import threading, psycopg

def test_waits(postgres_server, pytestconfig):
    with psycopg.connect(postgres_server.url()) as connection:
        (pytestconfig.rootpath / "directory").write_text(connection.execute("SHOW data_directory").fetchone()[0])
    threading.Event().wait(60)
""",
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The tests of an application that uses the plugin."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.toml").write_text("[pytest]\n")
    return tmp_path


def start_pytest(host: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(
        command, cwd=host, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.mark.fault
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_server_ends_with_an_interrupted_run(host: Path, workers: str, end: signal.Signals):
    written = host / "directory"
    with start_pytest(host, "-n", workers) as run:
        assert processes.wait_until(lambda: written.exists() and written.read_text() != "", 30)
        os.killpg(run.pid, end)  # a group of its own: what Ctrl-C in a terminal reaches
        run.communicate(timeout=30)
    assert processes.wait_until(lambda: not Path(written.read_text()).exists(), 10)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_run_fails_when_the_promised_server_is_missing(host: Path, workers: str):
    with start_pytest(host, "-n", workers, "--agentmem-servers=url") as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no PostgreSQL server for --agentmem-servers=url: $AGENTMEM_TEST_POSTGRES_URL is not set" in output
