"""The pytest plugin in the hands of a host: its servers end with the run, however that ends."""

from __future__ import annotations

import os
import re
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

def test_waits(postgres_server, redis_server, pytestconfig):
    with psycopg.connect(postgres_server.url()) as connection, redis_server.client() as client:
        directories = connection.execute("SHOW data_directory").fetchone()[0], client.config_get("dir")["dir"]
    (pytestconfig.rootpath / "directories").write_text("\\n".join([*directories, "end"]))
    threading.Event().wait(60)

def test_marks(redis_url):
    pass

def test_unmarked():
    pass
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


def run_pytest(host: Path, *arguments: str) -> tuple[int, str]:
    with start_pytest(host, *arguments) as run:
        output, _ = run.communicate(timeout=60)
    return run.returncode, output


@pytest.mark.fault
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_servers_end_with_an_interrupted_run(host: Path, workers: str, end: signal.Signals):
    written = host / "directories"
    with start_pytest(host, "-n", workers, "-k", "test_waits") as run:
        assert processes.wait_until(lambda: written.exists() and written.read_text().endswith("end"), 30)
        os.killpg(run.pid, end)  # a group of its own: what Ctrl-C in a terminal reaches
        run.communicate(timeout=30)
    postgres, redis, _ = map(Path, written.read_text().splitlines())
    assert processes.wait_until(lambda: not postgres.exists() and not redis.exists(), 10)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ("url", "no PostgreSQL server for --agentmem-servers=url: $AGENTMEM_TEST_POSTGRES_URL is not set"),
        ("redis=url", "no Redis server for --agentmem-servers=url: $AGENTMEM_TEST_REDIS_URL is not set"),
        ("redis=nowhere", "'redis=nowhere' is none of auto, wheels, local, containers, url"),
    ],
)
def test_run_fails_when_a_promised_server_is_missing(host: Path, workers: str, choice: str, complaint: str):
    status, output = run_pytest(host, "-n", workers, f"--agentmem-servers={choice}")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert complaint in output


def test_run_says_which_servers_it_uses_and_marks_what_uses_them(host: Path):
    for marker, chosen in (("redis and not postgres", "test_marks"), ("not redis", "test_unmarked")):
        status, output = run_pytest(host, "-p", "no:xdist", "--collect-only", "-m", marker)
        assert status == pytest.ExitCode.OK, output
        assert re.search(
            r"agentmem servers: SQLite \S+ \(in process\), PostgreSQL \S+ \(\w+\), Redis \S+ \(\w+\)\n", output
        )
        assert re.findall("test_[a-z]+(?=>)", output) == [chosen]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_missing_server_fails_the_tests_that_need_it_and_no_others(host: Path, workers: str):
    (host / "conftest.py").write_text("import sys\nsys.modules['redis'] = None\n" + (host / "conftest.py").read_text())
    status, output = run_pytest(host, "-n", workers, "-k", "test_marks or test_unmarked")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "Redis none (a Redis server needs redis-py: install the extra [redis])" in output
    assert re.search("1 passed,.* 1 error", output)
