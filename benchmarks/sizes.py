"""Values of 100 bytes to 100 KB."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.contenders import Contender
from benchmarks.operations import Operation, same
from benchmarks.rounds import Rates, measure

SIZES = {"100 B": 100, "1 KB": 1_000, "10 KB": 10_000, "100 KB": 100_000}
AT_ONCE = 50


def by_size(made: Sequence[Contender], rounds: int) -> Rates:
    """`put 1 KB` and `get 1 KB` and so on."""
    operations = {}
    for label, size in SIZES.items():
        operations[f"put {label}"] = Operation("put", partial(_value, size), partial(_put, size=size))
        operations[f"get {label}"] = Operation("get", same, partial(_get, size=size))
    return measure(made, rounds, operations)


def _value(size: int, at: int) -> dict[str, object]:
    """Prose, numbers and a little structure, about so many bytes as JSON."""
    line = {"role": "analyst", "text": "all checks of the file have passed", "score": 0.75}
    lines = max(1, size // 72)
    return {"turn": at, "lines": [line] * lines} if lines > 1 else {"turn": at, "text": "x" * (size - 24)}


def _put(contender: Contender, value: dict[str, object], *, size: int) -> int:
    for number in range(AT_ONCE):
        contender.put(f"size/{size}/{number}", value)
    return AT_ONCE


def _get(contender: Contender, _: int, *, size: int) -> int:
    for number in range(AT_ONCE):
        contender.get(f"size/{size}/{number}")
    return AT_ONCE
