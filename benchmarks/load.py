"""`python -m benchmarks.load [sqlite|postgresql|redis …]`: many threads in several processes, for a minute each.

Mixed calls on one store at this machine's own loopback, bounded in number and time. Throughput over time and latencies
are measured by the callers; at the end the store must hold exactly what was confirmed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import agentmem
from benchmarks import charts, load_work
from benchmarks.load_work import Tally
from benchmarks.stores import BACKENDS, places

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

_meeting: list[Any] = []


def _remember(barrier: Any) -> None:
    _meeting.append(barrier)


def _work(url: str, process: int, *, threads: int, seconds: float, most: int) -> Tally:
    meet = partial(_meeting[0].wait, 60)
    return load_work.run(url, process, threads=threads, seconds=seconds, most=most, meet=meet)


def load(url: str, *, processes: int, threads: int, seconds: float, most: int) -> Tally:
    """Run the load and return what happened.

    Args:
        url: of a store that was prepared.
        processes: how many.
        threads: of each process.
        seconds: how long.
        most: calls of all threads together.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    total = Tally()
    share = max(1, most // (processes * threads))
    with ProcessPoolExecutor(processes, context, initializer=_remember, initargs=(barrier,)) as pool:
        work = partial(_work, url, threads=threads, seconds=seconds, most=share)
        futures = [pool.submit(work, number) for number in range(processes)]
        for future in futures:
            total.merge(future.result())
    return total


def measure(backend: str, given: argparse.Namespace) -> dict[str, Any]:
    """Load one backend; the result is plain JSON."""
    with places(backend) as (url, _), agentmem.connect(url, partition=load_work.PARTITION, create="always") as memory:
        load_work.prepare(memory)
        tally = load(url, processes=given.processes, threads=given.threads, seconds=given.seconds, most=given.most)
        return {
            "server_version": memory.stats().server_version,
            "processes": given.processes,
            "threads": given.processes * given.threads,
            "operations": tally.operations,
            "operations_by_second": [tally.by_second[second] for second in range(max(tally.by_second, default=-1) + 1)],
            "milliseconds": latencies(tally),
            "errors": dict(tally.errors),
            "inconsistencies": load_work.inconsistencies(memory, tally),
        }


def latencies(tally: Tally) -> dict[str, dict[str, float]]:
    """How often each call was made, and its latency in milliseconds."""
    return {
        name: {"count": len(each), **{q: round(each.quantile(share) * 1e3, 3) for q, share in QUANTILES.items()}}
        for name, each in tally.latencies.items()
        if len(each)
    }


def table(backend: str, result: dict[str, Any], seconds: float) -> str:
    """Markdown."""
    rate = result["operations"] / seconds
    lines = [f"| {backend}, {result['threads']} threads, {rate:,.0f}/s | calls | p50 ms | p95 ms | p99 ms |"]
    lines.append("|---|---|---|---|---|")
    for name, each in result["milliseconds"].items():
        cells = " | ".join(f"{each[quantile]:,.2f}" for quantile in QUANTILES)
        lines.append(f"| {name} | {each['count']:,} | {cells} |")
    wrong = result["inconsistencies"] or ["everything that was confirmed is there, and nothing else"]
    return "\n".join([*lines, "", *wrong])


def draw(folder: Path, results: dict[str, dict[str, Any]]) -> None:
    """One chart of the throughput of all, and one of the latencies of each."""
    # The last second is not a whole one.
    rates = {backend: [*enumerate(each["operations_by_second"][:-1])] for backend, each in results.items()}
    points = {backend: [(float(second), float(count)) for second, count in each] for backend, each in rates.items()}
    (folder / "throughput.svg").write_text(charts.lines("Throughput", "calls/s", points, "seconds"))
    for backend, each in results.items():
        bars = {name: {q: by[q] for q in QUANTILES} for name, by in each["milliseconds"].items()}
        drawing = charts.bars(f"Latency on {backend}", "ms", bars, logarithmic=True)
        (folder / f"latency-{backend}.svg").write_text(drawing)


def main() -> int:
    """Run, print a table for each backend; 1 if a store is not as it must be."""
    given = _arguments()
    results: dict[str, dict[str, Any]] = {}
    for backend in given.backends or BACKENDS:
        results[backend] = measure(backend, given)
        print(table(backend, results[backend], given.seconds), end="\n\n", flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        found = {"python": platform.python_version(), "seconds": given.seconds, "results": results}
        (given.out / "load.json").write_text(json.dumps(found, indent=2) + "\n")
        draw(given.out, results)
    return 1 if any(each["inconsistencies"] for each in results.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("backends", nargs="*", help=f"{', '.join(BACKENDS)}; all when none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each backend")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16, help="of each process")
    parser.add_argument("--most", type=int, default=5_000_000, help="calls of all threads together")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write load.json and the charts there")
    given = parser.parse_args()
    if unknown := set(given.backends) - set(BACKENDS):
        parser.error(f"no such backend: {', '.join(sorted(unknown))}")
    if min(given.seconds, given.processes, given.threads, given.most) <= 0:
        parser.error("seconds, processes, threads and the number of calls are above 0")
    return given


if __name__ == "__main__":
    sys.exit(main())
