"""What is to be reached, with the whole contract on; and whether it was."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contenders import AgentMem

#: Of the raw driver's speed.
OF_RAW: dict[str, dict[str, float]] = {
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
#: Of a peer's speed.
OF_PEERS: dict[str, dict[str, tuple[float, str]]] = {
    "sqlite": {
        "get": (1, "diskcache"),
        "put": (2, "diskcache"),
        "get, 8 threads": (1, "diskcache"),
        "put, 8 threads": (1, "diskcache"),
    },
}
GROWTH = 1.3
"""How many times as long a call may take among a million entries as among ten thousand."""
BESIDE = 3.0
"""How many times as long as at rest the slowest hundredth of puts may take beside a clear or a purge."""


def of_speed(backend: str, name: str, by: Mapping[str, float]) -> str:
    """The cell of a table, for rates by contender, the raw driver's first."""
    raw, ours = next(iter(by.values())), by[AgentMem.name]
    operation = name.partition(", new key")[0]  # a put is one, whether its key is new or not
    factor = OF_RAW[backend].get(operation)
    cells = [] if factor is None else [shown(f"{factor:.2f}", reached=ours >= factor * raw)]
    factor, peer = OF_PEERS.get(backend, {}).get(operation, (0, ""))
    if peer in by:
        cells.append(shown(f"{factor:g} times {peer}", reached=ours >= factor * by[peer]))
    return ", ".join(cells)


def shown(target: str, *, reached: bool) -> str:
    """A target, in bold where it was missed."""
    return target if reached else f"**{target}: missed**"
