"""Every example runs, on each backend that it is for, and says what it is there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORES = ("sqlite_url", "postgres_url", "redis_url")
SQL = STORES[:2]
EXAMPLES = {
    "claims.py": (STORES, ["each task was done once", "the dead worker's task was done by"]),
    "typed_plan.py": (STORES, ["steps done: 3", "refused: "]),
    "host_application.py": (SQL, ["order 1 was summarised: two books", "order 2 has no summary yet"]),
    "host_redis.py": (
        ["redis_client_url"],
        ["30 pages remembered, counter 30\n", "still answers: True, its jobs are done: True"],
    ),
}
RUNS = [pytest.param(name, store, id=f"{name}-{store}") for name, (stores, _) in EXAMPLES.items() for store in stores]


def test_every_example_is_run_here() -> None:
    assert sorted(path.name for path in (ROOT / "examples").glob("*.py")) == sorted(EXAMPLES)


@pytest.mark.parametrize(("name", "store"), RUNS)
def test_an_example_runs(name: str, store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(store)
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / name), url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_env(), timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in EXAMPLES[name][1]:
        assert expected in done.stdout


def _env() -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("AGENTMEM_")}, "PYTHONPATH": str(ROOT)}
