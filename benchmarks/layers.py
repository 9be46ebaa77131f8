"""Where the time of a call goes: the raw driver, our repository with everything ready for it, and the whole call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from agentmem.commands import PutCommand
from agentmem.keys import Pattern
from agentmem.repository import Query
from benchmarks.contenders import AgentMem, Contender
from benchmarks.operations import OPERATIONS, Operation, fresh
from benchmarks.rounds import Rates, measure
from benchmarks.workload import PAGE

REPOSITORY = "repository"

Ready = tuple[dict[str, Any], dict[str, PutCommand]]
"""The same puts as values, and as what crosses the waist."""


class Repository(Contender):
    """agentmem's repository alone: no argument is looked at, nothing encoded or decoded, no entry made."""

    name = REPOSITORY

    def __init__(self, ours: AgentMem) -> None:
        gateway = ours.memory._gateway
        self._repository, self._partition = gateway.repository, gateway.scope.partition

    def get(self, key: str) -> Any:
        return self._repository.fetch_one(self._partition, key)

    def put(self, key: str, value: Any) -> None:
        assert value.key == key, key
        self._repository.apply(self._partition, (value,))

    def get_many(self, keys: list[str]) -> int:
        return len(self._repository.fetch(self._partition, keys))

    def put_many(self, mapping: dict[str, Any]) -> None:
        self._repository.apply(self._partition, list(mapping.values()))

    def search(self, prefix: str) -> int:
        return len(self._repository.scan(self._partition, Query(Pattern.under(prefix)), limit=PAGE).records)

    def close(self) -> None:
        """It is the other contender's."""


def measured(made: Sequence[Contender], rounds: int) -> Rates:
    """Operations per second of the raw driver, the repository and the whole call, which take turns."""
    ours = next(each for each in made if isinstance(each, AgentMem))
    return measure([made[0], Repository(ours), ours], rounds, {**OPERATIONS, **_PUTS})


def rows(backend: str, rates: Rates) -> Iterator[str]:
    """Markdown: microseconds of each layer."""
    raw = next(iter(next(iter(rates.values()))))
    yield f"| {backend}, microseconds | {raw} | statements, connection, planner | arguments, JSON, entries | in all |"
    yield "|---|---|---|---|---|"
    for name, by in rates.items():
        limit, repository, whole = (1e6 / rate for rate in by.values())
        yield f"| {name} | {limit:.1f} | {repository - limit:+.1f} | {whole - repository:+.1f} | {whole:.1f} |"


def _ready(at: int) -> Ready:
    values = fresh(at)
    return values, {key: PutCommand(key, orjson.dumps(value).decode()) for key, value in values.items()}


def _own(contender: Contender, ready: Ready) -> Mapping[str, Any]:
    return ready[contender.name == REPOSITORY]


def _put(contender: Contender, ready: Ready) -> int:
    return OPERATIONS["put"].work(contender, _own(contender, ready))


def _put_many(contender: Contender, ready: Ready) -> int:
    return OPERATIONS["put_many 1000"].work(contender, _own(contender, ready))


_PUTS = {
    "put": Operation("put", _ready, _put),
    "put_many 1000": Operation("put_many", _ready, _put_many),
}
