"""What SQLite's JSON functions can rule out before the evaluator decides (ADR 0007).

A prefilter may let through too much and never too little: SQLite before 3.43 rounds some decimal texts to a neighbour,
knows no integer beyond 64 bits and ends a string at U+0000, so numbers get a margin and other doubts no prefilter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

from agentmem.entries import Record
from agentmem.filters import And, Compare, Field, Filter, In, loads, matches

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_MOST_CONDITIONS = 100
"""SQLite takes no expression that is deeper than 1,000, and each AND adds a level."""
_EXACT_BELOW = 2**53
_MARGIN = 1e-9
_OPERATORS = {"gt": ">=", "gte": ">=", "lt": "<=", "lte": "<="}

_parsed = lru_cache(maxsize=64)(loads)


def decide(where: str, record: Record) -> bool:
    """Whether an entry matches the filter of this canonical text."""
    return matches(_parsed(where), record)


def prefilter(where: Filter) -> tuple[str, dict[str, Any]]:
    """A condition that every matching entry meets, or "" for none, and its parameters."""
    parameters: dict[str, Any] = {}
    parts = where.parts[:_MOST_CONDITIONS] if isinstance(where, And) else (where,)
    conditions = [condition for part in parts if (condition := _condition(part, parameters))]
    # json_extract raises on a text that is no JSON; CASE alone guarantees that it is not asked.
    return " AND ".join(f"CASE WHEN json_valid(body) THEN {each} ELSE 0 END" for each in conditions), parameters


def _condition(part: Filter, parameters: dict[str, Any]) -> str | None:
    if not isinstance(part, Compare | In) or part.field.root != "value":
        return None
    path = _path(part.field)
    if path is None:
        return None
    number = len(parameters)
    extract = f"json_extract(body, :path{number})"
    found = _membership(part) if isinstance(part, In) else _comparison(part)
    if found is None:
        return None
    template, values = found
    parameters[f"path{number}"] = path
    parameters.update({f"{name}{number}": value for name, value in values.items()})
    return template.format(x=extract, n=number)


def _path(field: Field) -> str | None:
    steps = [f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in field.path]
    plain = all(isinstance(step, int) or _PLAIN_NAME.match(step) for step in field.path)
    return "$" + "".join(steps) if plain else None


def _membership(part: In) -> tuple[str, dict[str, Any]] | None:
    if not all(_is_plain_text(operand) for operand in part.operands):
        return None
    return "{x} IN (SELECT value FROM json_each(:o{n}))", {"o": orjson.dumps(part.operands).decode()}


def _comparison(part: Compare) -> tuple[str, dict[str, Any]] | None:
    operand = part.operand
    if _is_plain_text(operand):
        if part.op == "startswith":
            return "substr({x}, 1, length(:o{n})) = :o{n}", {"o": operand}
        operator = "=" if part.op == "eq" else _OPERATORS.get(part.op)
        return None if operator is None else (f"{{x}} {operator} :o{{n}}", {"o": operand})
    if isinstance(operand, bool) and part.op == "eq":
        return "{x} = :o{n}", {"o": int(operand)}
    if isinstance(operand, int | float) and abs(operand) < _EXACT_BELOW:
        return _near(part.op, float(operand))
    return None


def _near(op: str, operand: float) -> tuple[str, dict[str, Any]] | None:
    margin = max(abs(operand) * _MARGIN, 1e-300)
    low, high = operand - margin, operand + margin
    if op == "eq":
        return "{x} BETWEEN :low{n} AND :high{n}", {"low": low, "high": high}
    if op in ("gt", "gte"):
        return "{x} >= :low{n}", {"low": low}
    return ("{x} <= :high{n}", {"high": high}) if op in ("lt", "lte") else None


def _is_plain_text(operand: Any) -> bool:
    # U+0001 in an operand also stands for a stored U+0000 (ADR 0008).
    return isinstance(operand, str) and "\x01" not in operand
