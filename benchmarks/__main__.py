"""`python -m benchmarks [sqlite|postgresql|redis …]`: rounds that alternate between contenders, medians, ratios."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import growth
from benchmarks.contenders import RAW, AgentMem, Contender
from benchmarks.stores import BACKENDS, places
from benchmarks.workload import BATCH, PAGE, key, value

STORED = 10_000
Operation = Callable[[Contender, int], int]
Rates = dict[str, dict[str, float]]

#: Of the raw driver's speed: on an idle machine it should be reached.
TARGETS = {
    "sqlite": (0.40, 0.55, 0.50, 0.50, 0.50),
    "postgresql": (0.80, 0.90, 0.80, 0.90, 0.80),
    "redis": (0.85, 0.70, 0.50, 0.40, 5.00),
}


def _get(contender: Contender, at: int) -> int:
    for index in range(at, at + 200):
        contender.get(key(index))
    return 200


def _put(contender: Contender, at: int) -> int:
    for index in range(at, at + 200):
        contender.put(key(index), value(index))
    return 200


def _get_many(contender: Contender, at: int) -> int:
    keys = [key(index) for index in range(at, at + BATCH)]
    found = contender.get_many(keys)
    assert found == BATCH, found
    return BATCH


def _put_many(contender: Contender, at: int) -> int:
    contender.put_many(_VALUES[at])
    return BATCH


def _search(contender: Contender, at: int) -> int:
    for number in range(20):
        found = contender.search(key((at + number * 100) % STORED)[:-2])
        assert found == PAGE, found
    return 20


OPERATIONS: dict[str, Operation] = {
    "get": _get,
    "put": _put,
    "get_many 1000": _get_many,
    "put_many 1000": _put_many,
    "search_50": _search,
}
_VALUES = {at: {key(index): value(index) for index in range(at, at + BATCH)} for at in range(0, STORED, BATCH)}


@contextmanager
def contenders(backend: str) -> Iterator[tuple[Contender, AgentMem]]:
    """The raw driver first, then agentmem, both on the same file system or server."""
    with ExitStack() as stack:
        first, second = stack.enter_context(places(backend))
        both: tuple[Contender, AgentMem] = RAW[backend](first), AgentMem(second)
        for contender in both:
            stack.callback(contender.close)
            for mapping in _VALUES.values():
                contender.put_many(mapping)
        yield both


def measure(backend: str, rounds: int) -> tuple[Rates, str]:
    """Operations per second by operation and contender, the median over the rounds; and the server's version."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in OPERATIONS}
    with contenders(backend) as both:
        for number in range(rounds + 1):
            for name, operation in OPERATIONS.items():
                for contender in both:
                    at = number % (STORED // BATCH) * BATCH
                    started = time.perf_counter()
                    done = operation(contender, at)
                    rate = done / (time.perf_counter() - started)
                    if number:  # the first round warms up
                        rates[name].setdefault(contender.name, []).append(rate)
        medians = {name: {who: statistics.median(each) for who, each in by.items()} for name, by in rates.items()}
        return medians, both[1].server_version


def table(backend: str, medians: Rates) -> str:
    """Markdown; the ratio is what counts."""
    raw, ours = next(iter(medians.values()))
    lines = [f"| {backend} | {raw}/s | {ours}/s | {ours} / {raw} | target |", "|---|---|---|---|---|"]
    for (name, by), target in zip(medians.items(), TARGETS[backend], strict=True):
        lines.append(f"| {name} | {by[raw]:,.0f} | {by[ours]:,.0f} | {by[ours] / by[raw]:.2f} | {target:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the tables of each backend, and write JSON on request."""
    given = _arguments()
    found: dict[str, Any] = {"python": platform.python_version(), "libraries": _libraries()}
    for backend in given.backends or BACKENDS:
        medians, server = measure(backend, given.rounds)
        print(table(backend, medians), end="\n\n", flush=True)
        result: dict[str, Any] = {"server": server, "operations_per_second": medians}
        if given.growth:
            result["growth_seconds"] = grown = growth.measure(backend, given.growth)
            print(*growth.rows(backend, grown), sep="\n", end="\n\n", flush=True)
        found[backend] = result
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("backends", nargs="*", help=f"{', '.join(BACKENDS)}; all when none is named")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--growth",
        type=int,
        nargs="?",
        const=growth.LARGE,
        metavar="ENTRIES",
        help=f"also compare a store of {growth.SMALL:,} entries with one of so many ({growth.LARGE:,}); on Redis that "
        "takes about a minute and 0.6 GB of memory",
    )
    parser.add_argument("--json", type=Path, help="write the medians and the versions here")
    given = parser.parse_args()
    unknown = set(given.backends) - set(BACKENDS)
    if unknown:
        parser.error(f"no such backend: {', '.join(sorted(unknown))}")
    return given


def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("sqlalchemy", "psycopg", "redis", "hiredis", "orjson", "msgspec")}


if __name__ == "__main__":
    main()
