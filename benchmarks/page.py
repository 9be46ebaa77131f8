"""docs/performance.md: the tables and charts of one run, with the command that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import beside, charts, footprint, growth, layers, occasions
from benchmarks.contenders import AgentMem
from benchmarks.rounds import Rates

#: Of the raw driver's speed, on an idle machine, with the whole contract on.
TARGETS: dict[str, dict[str, float]] = {
    "sqlite": {"get": 0.40, "put": 0.55, "get_many 1000": 0.50, "put_many 1000": 0.50, "search_50": 0.50},
    "postgresql": {
        "get": 0.80,
        "put": 0.90,
        "get_many 1000": 0.80,
        "put_many 1000": 0.90,
        "search_50": 0.80,
        "get, 8 threads": 0.80,
        "put, 8 threads": 0.90,
    },
    "redis": {
        "get": 0.85,
        "put": 0.70,
        "get_many 1000": 0.50,
        "put_many 1000": 0.40,
        "search_50": 5.00,
        "get, 8 threads": 0.80,
        "put, 8 threads": 0.70,
    },
}
#: In terms of a peer's speed.
PEER_TARGETS: dict[str, dict[str, tuple[float, str]]] = {
    "sqlite": {
        "get": (1, "diskcache"),
        "put": (2, "diskcache"),
        "get, 8 threads": (1, "diskcache"),
        "put, 8 threads": (1, "diskcache"),
    },
}
COMMAND = "make bench ARGS='--all --growth --page docs/performance.md --json benchmarks/performance.json'"

_HEAD = f"""# Performance

Ratios, not rates: every figure was taken in one run on one machine, where the contenders took turns round by round, and
is the median of the rounds. What a figure per second is worth elsewhere nobody knows; what part of the raw driver's
speed is left, with the whole contract on (versions, TTL, checks, typed errors), hardly depends on the machine.

    {COMMAND}

`make bench-compare` fails where a ratio has fallen by more than a fifth since the stored run. Where a target is missed,
the decision records say where the time goes and what would have to be given up: [0015](adr/0015-writes-on-sqlite.md)
for SQLite's writes, [0022](adr/0022-what-a-put-costs-on-postgresql.md) for PostgreSQL's. Client and server were kept on
processors of their own, but for the processes, the rare occasions and growth.
"""


def rate_rows(backend: str, rates: Rates) -> Iterator[str]:
    """Markdown: the raw driver's operations per second, and the others' in terms of it."""
    names = list(dict.fromkeys(who for by in rates.values() for who in by))
    raw, *others = names
    yield f"| {backend} | {raw}/s | {' | '.join(f'{who} / {raw}' for who in others)} | target |"
    yield "|---" * (len(names) + 2) + "|"
    for name, by in rates.items():
        ratios = (f"{by[who] / by[raw]:.2f}" if who in by else "-" for who in others)
        yield f"| {name} | {by[raw]:,.0f} | {' | '.join(ratios)} | {_target(backend, name, by)} |"


def _target(backend: str, name: str, by: Mapping[str, float]) -> str:
    """What is to be reached, and whether it was."""
    raw, ours = next(iter(by.values())), by[AgentMem.name]
    operation = name.partition(", new key")[0]  # a put is one, whether its key is new or not
    factor = TARGETS[backend].get(operation)
    wanted = [] if factor is None else [(f"{factor:.2f}", factor * raw)]
    factor, peer = PEER_TARGETS.get(backend, {}).get(operation, (0, ""))
    if peer in by:
        wanted.append((f"{factor:g} times {peer}", factor * by[peer]))
    return ", ".join(text if ours >= rate else f"**{text}: missed**" for text, rate in wanted)


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
