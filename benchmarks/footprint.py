"""Resident memory while very many entries pass through: loaded, walked, exported, imported, removed.

A child process does it and nothing else, on Linux, whose kernel keeps the peak of a process and forgets it on request.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import agentmem
from agentmem import Memory, transfer
from benchmarks.stores import places
from benchmarks.workload import key, value

LIMIT_MB = 200
_DIFFERENT = 1000
_ROOT = Path(__file__).resolve().parents[1]

#: Seconds and peak MB by step.
Steps = dict[str, dict[str, float]]


def measure(backend: str, entries: int) -> dict[str, Any]:
    """What the steps take with so many entries, on fresh stores; plain JSON."""
    with places(backend) as (source, target):
        return {"entries": entries, "steps": child(source, target, entries)}


def child(source: str, target: str, entries: int) -> Steps:
    """The steps between two empty stores, by their URLs."""
    command = [sys.executable, "-m", "benchmarks.footprint", source, target, str(entries)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: Steps = json.loads(done.stdout)
    return found


def pass_through(source: Memory, target: Memory, entries: int, file: Path) -> Steps:
    """Do the steps, each of which returns how many entries it has seen."""

    def load() -> int:
        values = [value(number) for number in range(_DIFFERENT)]
        return source.load((key(number), values[number % _DIFFERENT]) for number in range(entries))

    def export() -> int:
        with file.open("w", encoding="utf-8") as lines:
            return transfer.export_lines(source, lines)

    def import_() -> int:
        with file.open(encoding="utf-8") as lines:
            return transfer.import_lines(lines, target)

    steps: dict[str, Callable[[], int]] = {
        "load": load,
        "keys": lambda: sum(1 for _ in source.keys("")),
        "items": lambda: sum(1 for entry in source.items() if entry.value),
        "export": export,
        "import": import_,
        "check": lambda: entries + len(target.check()),
        "clear": target.clear,
    }
    return {name: peak_of(step, entries) for name, step in steps.items()}


def peak_of(step: Callable[[], int], entries: int) -> dict[str, float]:
    """Seconds and peak MB of one step in this process."""
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    seen = step()
    seconds = time.perf_counter() - started
    if seen != entries:
        raise RuntimeError(f"{seen:,} entries of {entries:,}")
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return {"seconds": seconds, "peak_mb": int(peak.split()[1]) * 1024 / 1e6}


def rows(backend: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Markdown."""
    yield f"| {backend}, {found['entries']:,} entries | seconds | peak of resident memory, MB | target |"
    yield "|---|---|---|---|"
    for name, by in found["steps"].items():
        yield f"| {name} | {by['seconds']:.1f} | {by['peak_mb']:.0f} | below {LIMIT_MB} |"


def _main(source_url: str, target_url: str, entries: str) -> None:
    with (
        agentmem.connect(source_url, create="always") as source,
        agentmem.connect(target_url, create="always") as target,
        tempfile.TemporaryDirectory() as folder,
    ):
        print(json.dumps(pass_through(source, target, int(entries), Path(folder) / "entries.jsonl")))


if __name__ == "__main__":
    _main(*sys.argv[1:])
