""".ci/containers: what fails in the lane fails the run, and an engine that cannot be had does not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agentmem.testing.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]

# Programs in the place of the real ones. The engine answers where the file `engine` lies.
PROGRAMS = {
    "docker": '[ -e "$FOLDER/engine" ] && case "$*" in info | "compose version") ;; *) exit 1 ;; esac',
    "make": 'echo "$* ${TESTCONTAINERS_RYUK_DISABLED:-}" >>"$FOLDER/log"; [ "$*" != "$FAILS" ]',
    "id": 'echo "${USER_ID:-0}"',
}


class Lane:
    """The script among programs of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in PROGRAMS.items():
            self.program(name, text)

    def program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def run(self, images: str | None = None, **env: str) -> tuple[int, str]:
        there = self.folder / "images"
        if images is not None:
            self.program(there.name, images)
        names = {"PATH": f"{self.folder}:{os.environ['PATH']}", "FOLDER": str(self.folder), "FAILS": ""}
        names |= {"AGENTMEM_IMAGES": str(there), "TMPDIR": str(self.folder), **env}
        command = [ROOT / ".ci" / "containers"]
        done = subprocess.run(command, env=names, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    @property
    def made(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def test_both_run_where_an_engine_answers(lane: Lane) -> None:
    (lane.folder / "engine").touch()
    assert lane.run() == (0, "")
    assert lane.made == ["test-containers ", "test-compose "]


def test_no_engine_fails_nothing(lane: Lane) -> None:
    assert lane.run() == (0, "The container lane did not run: no Docker engine answers\n")
    assert lane.made == []


@pytest.mark.parametrize("target", ["test-containers", "test-compose"])
def test_a_test_that_fails_does(lane: Lane, target: str) -> None:
    (lane.folder / "engine").touch()
    assert lane.run(FAILS=target)[0] != 0
    assert lane.made[-1].startswith(target)


@pytest.mark.parametrize(
    ("images", "reason"), [("echo no space left; exit 3", "no space left"), ("exec sleep 30", "longer than 1 s")]
)
def test_an_engine_that_does_not_start_fails_nothing(lane: Lane, images: str, reason: str) -> None:
    status, said = lane.run(images, AGENTMEM_IMAGES_SECONDS="1")
    assert (status, lane.made) == (0, [])
    assert said.startswith("The container lane did not run: ")
    assert reason in said


def test_nobody_but_root_starts_one(lane: Lane) -> None:
    status, said = lane.run("touch $FOLDER/engine", USER_ID="1000")
    assert (status, lane.made) == (0, [])
    assert "only root could start one" in said


def test_an_engine_that_was_started_ends_with_the_lane(lane: Lane) -> None:
    engine = 'touch "$FOLDER/engine"; nohup sleep 60 >/dev/null 2>&1 & echo $! >"$FOLDER/pid"'
    assert lane.run(engine) == (0, "")
    assert lane.made == ["test-containers true", "test-compose true"]
    pid = int((lane.folder / "pid").read_text())
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10)
