"""What contenders do in a round: each function returns how many operations it did."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from benchmarks.contenders import Contender
from benchmarks.workload import BATCH, PAGE, key, value

STORED = 10_000
AT_ONCE = 200
VALUES = {at: {key(index): value(index) for index in range(at, at + BATCH)} for at in range(0, STORED, BATCH)}
"""The stored values in batches."""

_turn = count(1)
Work = Callable[[Contender, Any], int]


class Operation(NamedTuple):
    """One row of the tables.

    Attributes:
        method: of Contender, for those that lack it.
        prepare: makes what is needed from an index on; that takes its time, too, which is not measured.
        work: does it some times, with what was prepared.
    """

    method: str
    prepare: Callable[[int], Any]
    work: Work


def fresh(at: int, number: int = BATCH) -> dict[str, Any]:
    """Values that nobody has put before: SQLite writes nothing where nothing changes."""
    turn = next(_turn)
    return {key: {**value, "turn": turn} for key, value in list(VALUES[at].items())[:number]}


def _new(_: int) -> dict[str, Any]:
    """Values at keys behind all that are stored."""
    start = STORED + next(_turn) * BATCH
    return {key(start + index): value(index) for index in range(BATCH)}


def same(at: int) -> int:
    """Nothing to prepare."""
    return at


def _get(contender: Contender, keys: list[str]) -> int:
    for name in keys[:AT_ONCE]:
        contender.get(name)
    return AT_ONCE


def put(contender: Contender, values: dict[str, Any]) -> int:
    """One by one: so many that each round of SQLite's has its checkpoints."""
    for name, each in values.items():
        contender.put(name, each)
    return len(values)


def _get_many(contender: Contender, keys: list[str]) -> int:
    found = contender.get_many(keys)
    assert found == BATCH, found
    return BATCH


def _put_many(contender: Contender, values: dict[str, Any]) -> int:
    contender.put_many(values)
    return len(values)


def _search(contender: Contender, at: int) -> int:
    for number in range(20):
        found = contender.search(key((at + number * 100) % STORED)[:-2])
        assert found == PAGE, found
    return 20


def _increment(contender: Contender, _: int) -> int:
    for number in range(BATCH):
        contender.increment(f"{number % 10}")
    return BATCH


def _compare_and_set(contender: Contender, values: dict[str, Any]) -> int:
    for name, each in values.items():
        contender.compare_and_set(name, each)
    return len(values)


def _transaction(contender: Contender, groups: list[dict[str, Any]]) -> int:
    for group in groups:
        contender.transaction(group)
    return len(groups)


def _keys(at: int) -> list[str]:
    return list(VALUES[at])


def some(at: int) -> dict[str, Any]:
    """As `fresh`, fewer."""
    return fresh(at, AT_ONCE)


def _groups_of_5(at: int) -> list[dict[str, Any]]:
    pairs = list(fresh(at).items())
    return [dict(pairs[start : start + 5]) for start in range(0, len(pairs), 5)]


#: Those with a target for one thread.
OPERATIONS: dict[str, Operation] = {
    "get": Operation("get", _keys, _get),
    "put": Operation("put", fresh, put),
    "get_many 1000": Operation("get_many", _keys, _get_many),
    "put_many 1000": Operation("put_many", fresh, _put_many),
    "search_50": Operation("search", same, _search),
}
#: What is put for the first time; the store grows by it.
FIRST_PUTS: dict[str, Operation] = {
    "put, new key": Operation("put", _new, put),
    "put_many 1000, new keys": Operation("put_many", _new, _put_many),
}
MORE: dict[str, Operation] = {
    "increment": Operation("increment", same, _increment),
    "compare-and-set": Operation("compare_and_set", fresh, _compare_and_set),
    "transaction of 5": Operation("transaction", _groups_of_5, _transaction),
}
