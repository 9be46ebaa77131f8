"""`python -m benchmarks.compare`: today's ratios to the raw drivers against those of a stored run.

Rates depend on the machine, ratios within one run hardly do. A ratio that fell by more than the tolerance is measured
again, and counts as it was at its best: a busy moment hits now the one and now the other contender.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import rounds
from benchmarks.rounds import Rates
from benchmarks.stores import BACKENDS

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.20
ATTEMPTS = 3

Ratios = dict[str, float]


def ratios(medians: Rates) -> Ratios:
    """agentmem's speed in terms of the raw driver's, by operation."""
    found = {}
    for operation, by in medians.items():
        raw, ours = by.values()
        found[operation] = round(ours / raw, 3)
    return found


def fallen(now: Ratios, before: Mapping[str, float], tolerance: float) -> list[str]:
    """The operations that are slower than the baseline allows, or not measured any more."""
    return [name for name, ratio in before.items() if now.get(name, 0.0) < ratio * (1 - tolerance)]


def best(backend: str, before: Mapping[str, float], tolerance: float, measured: Callable[[], Ratios]) -> Ratios:
    """Measure; and again, where something seems to have fallen."""
    now = measured()
    for _ in range(ATTEMPTS - 1):
        if not fallen(now, before, tolerance):
            break
        print(f"{backend}: measuring again: {', '.join(fallen(now, before, tolerance))}", flush=True)
        again = measured()
        now = {name: max(ratio, again[name]) for name, ratio in now.items()}
    return now


def measure(backend: str, number: int) -> Rates:
    """The raw driver and agentmem, in so many rounds."""
    with rounds.contenders(backend) as made:
        return rounds.measure(made, number)


def _ratios(backend: str, number: int) -> Ratios:
    return ratios(measure(backend, number))


def main(arguments: list[str] | None = None) -> int:
    """Measure and compare; the exit code says whether anything fell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("backends", nargs="*", help=f"{', '.join(BACKENDS)}; all when none is named")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="the part that a ratio may fall by")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="make what is measured now the baseline")
    given = parser.parse_args(arguments)
    before: dict[str, Ratios] = json.loads(given.baseline.read_text()) if given.baseline.exists() else {}
    slower = False
    for backend in given.backends or BACKENDS:
        stored = {} if given.save else before[backend]
        now = best(backend, stored, given.tolerance, partial(_ratios, backend, given.rounds))
        for name in now:
            print(f"{backend} {name}: {now[name]:.2f}" + (f", was {stored[name]:.2f}" if name in stored else ""))
        slower = slower or bool(fallen(now, stored, given.tolerance))
        before[backend] = now if given.save else stored
    if given.save:
        given.baseline.write_text(json.dumps(before, indent=2) + "\n")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
