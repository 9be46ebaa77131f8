"""run-integration-tests.sh cleans up however it ends, and docker-compose-test.yml holds what the script relies on."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from agentmem.testing.processes import wait_until
from agentmem.testing.servers import RemotePostgres, RemoteRedis

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "run-integration-tests.sh"

# Programs that write down how they were called. `docker` is healthy, `python` runs no tests.
DOCKER = """#!/bin/sh
echo "docker $*" >>"$LOG"
case "$*" in
    *" up "*) exit "${UP:-0}" ;;
    *" ps -q") echo container ;;
    inspect*) echo healthy ;;
esac
"""
PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
case "$*" in
    "-m pytest"*)
        env | grep ^AGENTMEM_TEST_ >>"$LOG"
        eval "$TESTS"
        ;;
esac
"""
POSTGRES = "AGENTMEM_TEST_POSTGRES_URL=postgresql://agentmem:agentmem@127.0.0.1:5433/agentmem"
REDIS = "AGENTMEM_TEST_REDIS_URL=redis://:agentmem@127.0.0.1:6380/0"
COMPOSE = "docker compose --project-name agentmem-test --file docker-compose-test.yml"


class Run:
    """The script, with programs of ours in place of Docker and Python."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        for name, text in (("docker", DOCKER), ("python", PYTHON)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self._env = {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": str(folder / "python"),
            "LOG": str(self.log),
            "TMPDIR": tempfile.gettempdir(),
        }

    def start(self, *arguments: str, tests: str = "exit 0", **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, *arguments],
            env={**self._env, "TESTS": tests, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, tests: str = "exit 0", **env: str) -> tuple[int, str]:
        with self.start(*arguments, tests=tests, **env) as process:
            output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose-test.yml").read_text())
    return composed


@pytest.mark.parametrize(("tests", "status"), [("exit 0", 0), ("exit 1", 1), ("kill -9 $$", 137)])
def test_containers_go_with_the_run(run: Run, tests: str, status: int) -> None:
    assert run("--servers", "compose", tests=tests)[0] == status
    calls = run.calls()
    assert f"{COMPOSE} up --detach" in calls
    assert "python -m agentmem db upgrade --url postgresql://agentmem:agentmem@127.0.0.1:5433/agentmem" in calls
    assert "python -m pytest tests/integration -n 2 --dist worksteal --agentmem-servers=url" in calls
    assert {POSTGRES, REDIS} <= set(calls)
    assert calls[-1] == f"{COMPOSE} down --volumes --remove-orphans"


def test_containers_that_do_not_start_are_removed(run: Run) -> None:
    assert run("--servers", "compose", UP="3")[0] == 3
    assert run.calls()[-1].endswith("down --volumes --remove-orphans")
    assert [call for call in run.calls() if call.startswith("python")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_containers_go_with_an_interrupted_run(run: Run, number: signal.Signals) -> None:
    with run.start("--servers=compose", tests="exec sleep 30") as process:
        assert wait_until(lambda: POSTGRES in run.calls(), 30)
        os.killpg(process.pid, number)  # a group of its own: what Ctrl-C in a terminal reaches
        process.communicate(timeout=30)
    assert process.returncode in (128 + number, -number)
    assert run.calls()[-1].endswith("down --volumes --remove-orphans")


def test_kept_containers_stay_and_are_told_of(run: Run) -> None:
    status, output = run("--keep", "--servers", "compose", tests="exit 1")
    assert status == 1
    assert [call for call in run.calls() if " down " in call] == []
    assert f"{COMPOSE} down --volumes" in output
    for each in (POSTGRES, REDIS):
        assert each.replace("=", '="', 1) in output


def test_options_reach_pytest(run: Run) -> None:
    for servers in ("auto", "wheels", "local", "containers"):
        assert run("--fast", "--servers", servers, "--", "-k", "a b", WORKERS="4")[0] == 0
        expected = (
            f"python -m pytest tests/integration -n 4 --dist worksteal --agentmem-servers={servers} -m not slow -k a b"
        )
        assert run.calls()[-1] == expected
    assert [call for call in run.calls() if call.startswith("docker")] == []


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--servers", "nowhere"], ["--servers"], ["tests/unit"]])
def test_what_is_not_understood_is_refused(run: Run, arguments: list[str]) -> None:
    status, output = run(*arguments)
    assert status != 0
    assert re.search("usage:|--help", output)
    assert run.calls() == []


def test_help_is_no_run(run: Run) -> None:
    status, output = run("--help")
    assert (status, run.calls()) == (0, [])
    for option in ("--fast", "--keep", "--servers"):
        assert option in output


@pytest.mark.slow
def test_kept_servers_of_wheels_answer_until_they_are_ended(run: Run) -> None:
    status, output = run("--keep", "--servers=wheels", "--", "-k", "test_delete_key", PYTHON=sys.executable)
    assert status == 0, output
    assert "2 passed" in output
    urls = dict(re.findall(r"export (AGENTMEM_TEST_\w+)=(.*)", output))
    postgres = RemotePostgres(shlex.split(urls["AGENTMEM_TEST_POSTGRES_URL"])[0])
    redis = RemoteRedis(shlex.split(urls["AGENTMEM_TEST_REDIS_URL"])[0])
    assert postgres.answers()
    assert redis.answers()
    (keeper,) = re.findall(r"^ +kill (\d+)$", output, re.MULTILINE)
    os.kill(int(keeper), signal.SIGTERM)
    assert wait_until(lambda: not postgres.answers() and not redis.answers(), 30)


def test_compose_has_the_two_servers_that_the_script_names(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {name: service["image"] for name, service in services.items()} == {
        "postgres": "postgres:15",
        "redis": "redis:7",
    }
    account = urlsplit(POSTGRES.partition("=")[2])
    assert services["postgres"]["environment"] == {
        "POSTGRES_USER": account.username,
        "POSTGRES_PASSWORD": account.password,
        "POSTGRES_DB": account.path.strip("/"),
    }
    command = services["redis"]["command"]
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert options["--requirepass"] == services["redis"]["environment"]["REDISCLI_AUTH"] == "agentmem"
    assert (options["--appendonly"], options["--appendfsync"], options["--save"]) == ("yes", "everysec", "")


@pytest.mark.parametrize(("name", "outside", "inside"), [("postgres", POSTGRES, 5432), ("redis", REDIS, 6379)])
def test_compose_publishes_on_the_loopback_alone(compose: dict[str, Any], name: str, outside: str, inside: int) -> None:
    port = urlsplit(outside.partition("=")[2]).port
    assert compose["services"][name]["ports"] == [f"127.0.0.1:{port}:{inside}"]


def test_compose_has_health_checks_and_a_network_of_its_own(compose: dict[str, Any]) -> None:
    (network,) = compose["networks"]
    assert network != "default"
    for service in compose["services"].values():
        assert service["networks"] == [network]
        health = service["healthcheck"]
        assert health["test"][0] == "CMD-SHELL"
        assert health["test"][1].startswith(("pg_isready ", "redis-cli ping "))
        assert {"interval", "timeout", "retries"} < health.keys()
    # What `docker-compose` before version 2 does not know.
    assert compose.keys() == {"services", "networks"}
