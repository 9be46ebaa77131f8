"""`python -m benchmarks [sqlite|postgresql|redis …]`: rounds that alternate between contenders, medians, ratios."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import beside, crowds, footprint, growth, layers, occasions, page, peers, sizes
from benchmarks.contenders import AgentMem
from benchmarks.operations import FIRST_PUTS, MORE, OPERATIONS
from benchmarks.rounds import contenders, measure
from benchmarks.stores import BACKENDS

LIBRARIES = (
    *("sqlalchemy", "psycopg", "redis", "hiredis", "orjson", "msgspec"),
    *("langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "diskcache", "py-key-value-aio"),
)


def main() -> None:
    """Run, print the tables of each backend, and write JSON and the page on request."""
    given = _arguments()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": f"{platform.system()}, {platform.machine()}",
        "libraries": _libraries(),
        "backends": {},
    }
    for backend in given.backends or BACKENDS:
        found["backends"][backend] = _backend(backend, given)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    if given.page:
        page.write(found, given.page)


def _backend(backend: str, given: argparse.Namespace) -> dict[str, Any]:
    rounds = given.rounds
    with contenders(backend, with_peers=given.peers) as made:
        ours = next(each for each in made if isinstance(each, AgentMem))
        result: dict[str, Any] = {"server": ours.server_version}
        _show(backend, result, "operations_per_second", measure(made, rounds, {**OPERATIONS, **MORE}))
        if given.all:
            result["by_layers"] = rates = layers.measured(made, rounds)
            print(*layers.rows(backend, rates), sep="\n", end="\n\n", flush=True)
            _show(backend, result, "by_threads", crowds.by_threads(made, rounds))
            _show(backend, result, "by_size", sizes.by_size(made[:2], rounds))
        # At the end: what they add would be in the way of the raw driver's searches on Redis.
        _show(backend, result, "first_puts", measure(made, rounds, FIRST_PUTS))
    for name in peers.missing(backend) if given.peers else ():
        print(f"{backend}: {name} is not installed; the extra `bench` brings it", end="\n\n")
    if given.all:
        _show(backend, result, "by_processes", crowds.by_processes(backend, max(1, rounds // 3)))
        result["occasions_seconds"] = seconds = occasions.measure(backend, given.many, given.rounds)
        print(*occasions.rows(backend, seconds), sep="\n", end="\n\n", flush=True)
        result["beside_writers"] = figures = beside.measure(backend, given.many)
        print(*beside.rows(backend, figures), sep="\n", end="\n\n", flush=True)
    if given.growth:
        result["growth_seconds"] = grown = growth.measure(backend, given.growth)
        print(*growth.rows(backend, grown), sep="\n", end="\n\n", flush=True)
        result["footprint"] = steps = footprint.measure(backend, given.growth)
        print(*footprint.rows(backend, steps), sep="\n", end="\n\n", flush=True)
    return result


def _show(backend: str, result: dict[str, Any], name: str, rates: Any) -> None:
    result[name] = rates
    print(*page.rate_rows(backend, rates), sep="\n", end="\n\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("backends", nargs="*", help=f"{', '.join(BACKENDS)}; all when none is named")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", action="store_true", help="also other libraries, as far as they are installed")
    parser.add_argument("--all", action="store_true", help="also threads, processes, sizes and rare occasions")
    parser.add_argument("--many", type=int, default=occasions.MANY, help="entries for the rare occasions")
    parser.add_argument(
        "--growth",
        type=int,
        nargs="?",
        const=growth.LARGE,
        metavar="ENTRIES",
        help=f"also compare a store of {growth.SMALL:,} entries with one of so many ({growth.LARGE:,}), and pass so "
        "many through one process; on Redis that takes about three minutes and 1.2 GB of memory",
    )
    parser.add_argument("--json", type=Path, help="write the medians and the versions here")
    parser.add_argument("--page", type=Path, help="write tables and charts here, as docs/performance.md")
    given = parser.parse_args()
    unknown = set(given.backends) - set(BACKENDS)
    if unknown:
        parser.error(f"no such backend: {', '.join(sorted(unknown))}")
    return given


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
