"""`python -m benchmarks [sqlite|postgresql …]`: rounds that alternate between contenders, medians, ratios."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from agentmem.testing.servers import find_postgres
from benchmarks.contenders import AgentMem, Contender, RawPostgres, RawSQLite
from benchmarks.workload import BATCH, PAGE, key, value

STORED = 10_000
Operation = Callable[[Contender, int], int]


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
        found = contender.search(key(at + number * 100)[:-2])
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
def contenders(backend: str) -> Iterator[list[Contender]]:
    """The raw driver first, then agentmem, both on the same file system or server."""
    with ExitStack() as stack:
        if backend == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            both: list[Contender] = [RawSQLite(folder / "raw.db"), AgentMem(f"sqlite:///{folder / 'agentmem.db'}")]
        else:
            server = stack.enter_context(find_postgres())
            url = server.new_database()
            both = [RawPostgres(url), AgentMem(url)]
        for contender in both:
            stack.callback(contender.close)
            for mapping in _VALUES.values():
                contender.put_many(mapping)
        yield both


def measure(backend: str, rounds: int) -> dict[str, dict[str, float]]:
    """Operations per second by operation and contender: the median over the rounds."""
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
    return {name: {who: statistics.median(each) for who, each in by.items()} for name, by in rates.items()}


def table(backend: str, medians: dict[str, dict[str, float]]) -> str:
    """Markdown; the last column is what counts."""
    raw, ours = next(iter(medians.values()))
    lines = [f"| {backend} | {raw}/s | {ours}/s | {ours} / {raw} |", "|---|---|---|---|"]
    for name, by in medians.items():
        lines.append(f"| {name} | {by[raw]:,.0f} | {by[ours]:,.0f} | {by[ours] / by[raw]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print a table for each backend, and write JSON on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("backends", nargs="*", help="sqlite, postgresql; both when none is named")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the medians and the versions here")
    given = parser.parse_args()
    unknown = set(given.backends) - {"sqlite", "postgresql"}
    if unknown:
        parser.error(f"no such backend: {', '.join(sorted(unknown))}")
    results = {name: measure(name, given.rounds) for name in given.backends or ["sqlite", "postgresql"]}
    for backend, medians in results.items():
        print(table(backend, medians), end="\n\n")
    if given.json:
        libraries = {name: version(name) for name in ("sqlalchemy", "psycopg", "orjson", "msgspec")}
        found = {"python": platform.python_version(), "libraries": libraries, "operations_per_second": results}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
