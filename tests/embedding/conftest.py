"""Stores on each backend, for hosts of several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_URLS = {"sqlite": "sqlite_url", "postgresql": "postgres_schema_url", "redis": "redis_url"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store that processes can share, on each backend."""
    return str(request.getfixturevalue(_URLS[request.param]))


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., str]:
    """Run a host's program in an interpreter of its own and return what it printed; any word of complaint fails."""

    def run(program: str, *arguments: str) -> str:
        path = tmp_path / "host.py"
        path.write_text(program)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run
