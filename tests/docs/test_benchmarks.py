"""The benchmarks run, and write what they found; what they find is for an idle machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_one_round_of_the_benchmarks(backend: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    words = [backend, "--rounds", "1", "--growth", "1000", "--json", str(found)]
    command = [sys.executable, "-W", "error", "-m", "benchmarks", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(found.read_text())[backend]
    for name, by in {**result["operations_per_second"], **result["growth_seconds"]}.items():
        assert f"| {name} | " in done.stdout
        assert all(figure > 0 for figure in by.values())
