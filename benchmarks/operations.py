"""What contenders do in a round: each function returns how many operations it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.contenders import Contender
from benchmarks.workload import BATCH, PAGE, key, value

STORED = 10_000
AT_ONCE = 200
VALUES = {at: {key(index): value(index) for index in range(at, at + BATCH)} for at in range(0, STORED, BATCH)}
"""The stored values in batches; who puts one of them puts the same again."""

Work = Callable[[Contender, int], int]


class Operation(NamedTuple):
    """One row of the tables.

    Attributes:
        method: of Contender, for those that lack it.
        work: does it some times, from an index on.
    """

    method: str
    work: Work


def _get(contender: Contender, at: int) -> int:
    for index in range(at, at + AT_ONCE):
        contender.get(key(index))
    return AT_ONCE


def _put(contender: Contender, at: int) -> int:
    for name, put in list(VALUES[at].items())[:AT_ONCE]:
        contender.put(name, put)
    return AT_ONCE


def _get_many(contender: Contender, at: int) -> int:
    found = contender.get_many(list(VALUES[at]))
    assert found == BATCH, found
    return BATCH


def _put_many(contender: Contender, at: int) -> int:
    contender.put_many(VALUES[at])
    return BATCH


def _search(contender: Contender, at: int) -> int:
    for number in range(20):
        found = contender.search(key((at + number * 100) % STORED)[:-2])
        assert found == PAGE, found
    return 20


def _increment(contender: Contender, _: int) -> int:
    for number in range(AT_ONCE):
        contender.increment(f"{number % 10}")
    return AT_ONCE


def _compare_and_set(contender: Contender, at: int) -> int:
    for name, put in list(VALUES[at].items())[: AT_ONCE // 2]:
        contender.compare_and_set(name, put)
    return AT_ONCE // 2


def _transaction(contender: Contender, at: int) -> int:
    pairs = list(VALUES[at].items())
    for number in range(20):
        contender.transaction(dict(pairs[number * 5 : number * 5 + 5]))
    return 20


#: Those with a target for one thread.
OPERATIONS: dict[str, Operation] = {
    "get": Operation("get", _get),
    "put": Operation("put", _put),
    "get_many 1000": Operation("get_many", _get_many),
    "put_many 1000": Operation("put_many", _put_many),
    "search_50": Operation("search", _search),
}
MORE: dict[str, Operation] = {
    "increment": Operation("increment", _increment),
    "compare-and-set": Operation("compare_and_set", _compare_and_set),
    "transaction of 5": Operation("transaction", _transaction),
}
