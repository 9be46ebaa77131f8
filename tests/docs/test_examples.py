"""Every example runs, on each backend, and says what it is there to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    "claims.py": ["each task was done once", "the dead worker's task was done by"],
    "typed_plan.py": ["steps done: 3", "refused: "],
    "host_application.py": ["order 1 was summarised: two books", "order 2 has no summary yet"],
}


def test_every_example_is_run_here() -> None:
    assert sorted(path.name for path in (ROOT / "examples").glob("*.py")) == sorted(EXAMPLES)


@pytest.mark.parametrize("store", ["sqlite_url", "postgres_url"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(store)
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / name), url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_env(), timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in EXAMPLES[name]:
        assert expected in done.stdout


def _env() -> dict[str, str]:
    import os

    return {**{k: v for k, v in os.environ.items() if not k.startswith("AGENTMEM_")}, "PYTHONPATH": str(ROOT)}
