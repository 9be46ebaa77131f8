"""`python -m benchmarks.report`: runs the integration tests and writes docs/integration-tests-report.md from what came.

Nothing in the report is written by hand: outcomes, times and figures are those of this one run, whose machine and
servers it names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import agentmem
from agentmem.memory import Memory
from benchmarks import charts
from benchmarks.stores import places
from benchmarks.workload import key, value

OUTPUT = Path("docs/integration-tests-report.md")
LIBRARIES = ("sqlalchemy", "alembic", "psycopg", "redis", "hiredis", "orjson", "msgspec", "pydantic", "pytest")
COMPARED = ("postgresql", "redis")
ENTRIES = 2_000

#: One call each of what an agent does most.
CALLS: dict[str, Callable[[Memory, int], object]] = {
    "get": lambda memory, number: memory.get(key(number)),
    "put": lambda memory, number: memory.put(key(number), value(number)),
    "put with a TTL": lambda memory, number: memory.put(key(number), value(number), ttl=3600),
    "put, put if_version": lambda memory, number: memory.put(
        key(0), number, if_version=memory.put(key(0), number).version
    ),
    "increment": lambda memory, _: memory.increment("counter"),
    "append": lambda memory, number: memory.append("log", number, limit=100),
    "search of 50": lambda memory, number: memory.search(key(number % 20 * 100)[:-2] + "*", limit=50),
    "batch of 10": lambda memory, number: memory.put_many({key(number + each): value(each) for each in range(10)}),
}


@dataclass
class Test:
    """One test of the run."""

    file: str
    group: str
    name: str
    seconds: float
    outcome: str
    figures: list[dict[str, Any]] = field(default_factory=list)
    servers: dict[str, str] = field(default_factory=dict)


def run_tests(servers: str) -> tuple[list[Test], float, float | None]:
    """Run them; return the tests, the seconds of the whole run, and the percentage of covered lines."""
    with tempfile.TemporaryDirectory() as folder:
        xml, coverage = Path(folder) / "junit.xml", Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "pytest", "tests/integration", "-n", "2", "-q", f"--junitxml={xml}"]
        command += [f"--agentmem-servers={servers}", "--cov=agentmem", f"--cov-report=json:{coverage}"]
        command += ["--cov-fail-under=0"]  # that is for all tests together
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}
        started = time.perf_counter()
        subprocess.run(command, check=False, env=environment)
        seconds = time.perf_counter() - started
        return list(read(xml)), seconds, covered_lines(coverage) if coverage.exists() else None


def covered_lines(file: Path) -> float:
    """The percentage in coverage's JSON; its own counts branches too."""
    totals = json.loads(file.read_text())["totals"]
    return float(100 * totals["covered_lines"] / totals["num_statements"])


def read(xml: Path) -> Iterator[Test]:
    """The tests in a JUnit file."""
    for case in ET.parse(xml).iter("testcase"):
        module, _, group = case.attrib["classname"].rpartition(".")
        bad = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
        properties = [(each.attrib["name"], each.attrib["value"]) for each in case.iter("property")]
        yield Test(
            module.rpartition(".")[2] + ".py",
            group,
            case.attrib["name"],
            float(case.attrib["time"]),
            bad,
            [json.loads(text) for name, text in properties if name == "figure"],
            {name: text for name, text in properties if name != "figure"},
        )


def latencies(backend: str) -> dict[str, dict[str, float]]:
    """Milliseconds at the 50th, 95th and 99th percentile of single calls by one thread."""
    found = {}
    with places(backend) as (place, _), agentmem.connect(place, create="always") as memory:
        memory.put_many({key(number): value(number) for number in range(ENTRIES)})
        for name, call in CALLS.items():
            call(memory, 1)
            times = [_timed(call, memory, number) for number in range(300)]
            cuts = statistics.quantiles(times, n=100)
            found[name] = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
    return found


def _timed(call: Callable[[Memory, int], object], memory: Memory, number: int) -> float:
    started = time.perf_counter()
    call(memory, number)
    return (time.perf_counter() - started) * 1000


def document(tests: list[Test], seconds: float, covered: float | None, by_backend: dict[str, Any], name: str) -> str:
    """The report in Markdown."""
    failed = [test for test in tests if test.outcome != "passed"]
    parts = [
        "# Report on the integration tests",
        f"Written by `make report` from one run on {time.strftime('%Y-%m-%d', time.gmtime())}; not by hand.",
        f"**{len(tests) - len(failed)} of {len(tests)} tests passed** in {seconds:.0f} s, two at a time. They reach "
        + (f"{covered:.0f} % of the package's lines by themselves." if covered is not None else "(not measured)."),
        "## Where it ran",
        _place(tests),
        "## Tests",
        *(f"Not passed: `{test.group}::{test.name}` ({test.outcome})" for test in failed),
        _by_class(tests),
        "## Speed against the targets",
        "Measured inside of the tests, with other tests beside them. The factor is how many times the target was met.",
        _targets(tests),
        "## Latency of single calls",
        f"One thread, {ENTRIES:,} entries of about 270 bytes, loopback; milliseconds.",
        _latency_table(by_backend),
        f"![Latency at the median, PostgreSQL against Redis]({name}-latency.svg)",
        f"![Time by class]({name}-time.svg)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _place(tests: list[Test]) -> str:
    servers = sorted({f"{product} {which}" for test in tests for product, which in test.servers.items()})
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    lines = [f"Servers: {', '.join(servers)}", f"Python {platform.python_version()}, {machine}"]
    lines.append(", ".join([f"agentmem {agentmem.__version__}", *(f"{each} {version(each)}" for each in LIBRARIES)]))
    return "\n".join(f"- {line}" for line in lines)


def _by_class(tests: list[Test]) -> str:
    lines = ["| class | tests | passed | seconds |", "|---|---|---|---|"]
    for name, each in grouped(tests).items():
        passed = sum(test.outcome == "passed" for test in each)
        lines.append(f"| {name} | {len(each)} | {passed} | {sum(test.seconds for test in each):.2f} |")
    return "\n".join(lines)


def grouped(tests: list[Test]) -> dict[str, list[Test]]:
    """By class, in the order of the files."""
    found: dict[str, list[Test]] = {}
    for test in sorted(tests, key=lambda test: (test.file, test.group)):
        found.setdefault(test.group, []).append(test)
    return found


def _targets(tests: list[Test]) -> str:
    lines = ["| server | what | measured | target | factor |", "|---|---|---|---|---|"]
    for test in sorted(tests, key=lambda test: (test.file, test.name)):
        for figure in test.figures:
            if figure["at_least_per_second"] is not None:
                target, got = figure["at_least_per_second"], figure["per_second"]
                shown = f"{got:,.0f} per second | more than {target:,.0f} per second | {got / target:,.1f}"
            elif figure["at_most_seconds"] is not None:
                target, got = figure["at_most_seconds"], figure["seconds"]
                shown = f"{got:.3f} s | less than {target:g} s | {target / got:,.1f}"
            else:
                continue
            lines.append(f"| {', '.join(test.servers)} | {figure['what']} | {shown} |")
    return "\n".join(lines)


def _latency_table(by_backend: dict[str, Any]) -> str:
    cuts = ("p50", "p95", "p99")
    heads = [f"{backend} {cut}" for backend in by_backend for cut in cuts]
    lines = [f"| call | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for call in CALLS:
        figures = [f"{by_backend[backend][call][cut]:.3f}" for backend in by_backend for cut in cuts]
        lines.append(f"| {call} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> int:
    """Run, measure, write; the exit code says whether every test passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--servers", default="auto", help="as --agentmem-servers of pytest")
    given = parser.parse_args()
    tests, seconds, covered = run_tests(given.servers)
    by_backend = {backend: latencies(backend) for backend in COMPARED}
    given.output.write_text(document(tests, seconds, covered, by_backend, given.output.stem), encoding="utf-8")
    medians = {call: {backend: by_backend[backend][call]["p50"] for backend in by_backend} for call in CALLS}
    times = {name: {"seconds": sum(test.seconds for test in each)} for name, each in grouped(tests).items()}
    drawings = {
        "latency": charts.bars("Latency at the median", "milliseconds", medians),
        "time": charts.bars("Time by class", "seconds", times),
    }
    for name, drawing in drawings.items():
        given.output.with_name(f"{given.output.stem}-{name}.svg").write_text(drawing, encoding="utf-8")
    print(f"{given.output}: {len(tests)} tests")
    return 0 if tests and all(test.outcome == "passed" for test in tests) else 1


if __name__ == "__main__":
    sys.exit(main())
