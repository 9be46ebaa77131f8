"""docs/performance.md: the tables and charts of one run, with the command that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import beside, charts, footprint, growth, layers, occasions, targets
from benchmarks.rounds import Rates

COMMAND = "make bench ARGS='--all --growth --page docs/performance.md --json benchmarks/performance.json'"

_HEAD = f"""# Performance

Ratios, not rates: every figure was taken in one run on one machine, where the contenders took turns round by round, and
is the median of the rounds. What a figure per second is worth elsewhere nobody knows; what part of the raw driver's
speed is left, with the whole contract on (versions, TTL, checks, typed errors), hardly depends on the machine.

    {COMMAND}

`make bench-compare` fails where a ratio has fallen by more than a fifth since the stored run. Where a target is missed,
the decision records say where the time goes and what would have to be given up: [0015](adr/0015-writes-on-sqlite.md)
for SQLite's writes, [0022](adr/0022-what-a-put-costs-on-postgresql.md) for PostgreSQL's,
[0023](adr/0023-what-grows-with-a-store-on-sqlite.md) for growth on SQLite. Client and server were kept on processors of
their own, but for the processes, the rare occasions and growth.
"""


def rate_rows(backend: str, rates: Rates) -> Iterator[str]:
    """Markdown: the raw driver's operations per second, and the others' in terms of it."""
    names = list(dict.fromkeys(who for by in rates.values() for who in by))
    raw, *others = names
    yield f"| {backend} | {raw}/s | {' | '.join(f'{who} / {raw}' for who in others)} | target |"
    yield "|---" * (len(names) + 2) + "|"
    for name, by in rates.items():
        ratios = (f"{by[who] / by[raw]:.2f}" if who in by else "-" for who in others)
        yield f"| {name} | {by[raw]:,.0f} | {' | '.join(ratios)} | {targets.of_speed(backend, name, by)} |"


def write(found: Mapping[str, Any], path: Path) -> None:
    """Write the page, and its charts beside it."""
    lines = [_HEAD, *_versions(found)]
    for backend, result in found["backends"].items():
        lines += ["", f"## {backend}", "", f"Server: {result['server']}.", ""]
        for part in ("operations_per_second", "first_puts", "by_threads", "by_processes", "by_size"):
            if part in result:
                lines += [*rate_rows(backend, result[part]), ""]
        if "by_layers" in result:
            lines += [*layers.rows(backend, result["by_layers"]), ""]
        if "occasions_seconds" in result:
            lines += [*occasions.rows(backend, result["occasions_seconds"]), ""]
        if "beside_writers" in result:
            lines += [*beside.rows(backend, result["beside_writers"]), ""]
        if "growth_seconds" in result:
            lines += [*growth.rows(backend, result["growth_seconds"]), ""]
        if "footprint" in result:
            lines += [*footprint.rows(backend, result["footprint"]), ""]
        name = f"{path.stem}-{backend}.svg"
        title = f"{backend}, in terms of the raw driver"
        path.with_name(name).write_text(charts.bars(title, "1 = its speed", _ratios(result), logarithmic=True))
        lines.append(f"![{title}]({name})")
    path.write_text("\n".join(lines) + "\n")


def _ratios(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = {}
    for name, by in result["operations_per_second"].items():
        raw = next(iter(by.values()))
        found[name] = {who: rate / raw for who, rate in by.items()}
    return found


def _versions(found: Mapping[str, Any]) -> list[str]:
    libraries = ", ".join(f"{name} {number}" for name, number in found["libraries"].items())
    return [f"Python {found['python']} on {found['machine']}; {libraries}."]
