"""Filters (`where`, rule R25): from what a caller writes to a tree, and back from its canonical text.

U+0000 counts as U+0001 in every comparison: PostgreSQL's jsonb cannot hold it, and a filter must mean the same on
every backend. What is stored and returned keeps its U+0000.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

from agentmem import values
from agentmem.errors import InvalidFilter, InvalidValue, ValueTooLarge
from agentmem.evaluation import compiled, filter_view, matches
from agentmem.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Filter,
    In,
    Not,
    Operator,
    Or,
    Root,
    operand_tree,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_OPERANDS",
    "MAX_OPERAND_BYTES",
    "And",
    "Compare",
    "Exists",
    "Field",
    "Filter",
    "In",
    "Not",
    "Or",
    "compiled",
    "filter_view",
    "loads",
    "matches",
    "parse",
]

MAX_NODES: Final = 1000
MAX_DEPTH: Final = 32
"""How deep `$and`, `$or` and `$not` may nest; a filter without them has depth 1."""
MAX_OPERANDS: Final = 10_000
"""How many operands `$in` and `$nin` take."""
MAX_OPERAND_BYTES: Final = 1024 * 1024
"""How long an operand's JSON text, or a step of a path, may be."""
_MAX_INDEX: Final = 2**31 - 1

_COMPARISONS: Final[frozenset[str]] = frozenset(get_args(Operator))
_ORDERINGS: Final = frozenset({"gt", "gte", "lt", "lte"})
_ENTRY_ROOTS: Final[frozenset[str]] = frozenset(get_args(Root)) - {"value"}
_NEGATIONS: Final = {"$ne": "$eq", "$nin": "$in"}


def parse(where: Mapping[Any, Any] | None) -> Filter | None:
    """Read a `where`.

    Returns:
        The tree; None where every entry matches (None or an empty mapping).

    Raises:
        InvalidFilter: not a mapping, an unknown operator or field, an operand that an operator does not take, or
            more than MAX_NODES, MAX_DEPTH or MAX_OPERANDS. The text names the place.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise InvalidFilter(f"where: a filter is a mapping, not {type(where).__name__}")
    return _Parser().filter(where, "where", 1) if where else None


class _Parser:
    """Reads one `where` and counts its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def filter(self, where: object, place: str, depth: int) -> Filter:
        if not isinstance(where, Mapping):
            raise InvalidFilter(f"{place}: a filter is a mapping, not {type(where).__name__}")
        _check_depth(place, depth)
        return self._all([self._entry(name, condition, place, depth) for name, condition in where.items()])

    def _entry(self, name: object, condition: object, place: str, depth: int) -> Filter:
        place = f"{place}[{values.shown(name)}]"
        if name in ("$and", "$or"):
            parts = self._parts(condition, place, depth)
            return self._all(parts) if name == "$and" else self._node(Or(tuple(parts)))
        if name == "$not":
            return self._node(Not(self.filter(condition, place, depth + 1)))
        return self._condition(_field(name, place), condition, place, depth)

    def _parts(self, parts: object, place: str, depth: int) -> list[Filter]:
        if not isinstance(parts, list | tuple) or not parts:
            raise InvalidFilter(f"{place}: takes a non-empty list of filters")
        return [self.filter(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(parts)]

    def _condition(self, field: Field, condition: object, place: str, depth: int) -> Filter:
        operators = _operators(condition, place)
        if operators is None:
            return self._node(Compare(field, "eq", _operand(field, "eq", condition, place)))
        return self._all([self._operator(field, *each, place, depth) for each in operators.items()])

    def _operator(self, field: Field, name: str, operand: object, place: str, depth: int) -> Filter:
        inner = f"{place}[{values.shown(name)}]"
        if name == "$not":
            _check_depth(inner, depth + 1)
            if not _operators(operand, inner):
                raise InvalidFilter(f"{inner}: takes operators, such as {{'$gt': 1}}")
            return self._node(Not(self._condition(field, operand, inner, depth + 1)))
        if name == "$exists":
            return self._exists(field, operand, inner)
        if name in _NEGATIONS:
            return self._node(Not(self._plain(field, _NEGATIONS[name], operand, inner)))
        return self._plain(field, name, operand, inner)

    def _plain(self, field: Field, name: str, operand: object, place: str) -> Filter:
        if name == "$in":
            return self._node(In(field, _operands(field, operand, place)))
        if name[1:] in _COMPARISONS:
            return self._compare(field, cast("Operator", name[1:]), operand, place)
        raise InvalidFilter(f"{place}: unknown operator")

    def _compare(self, field: Field, op: Operator, operand: object, place: str) -> Filter:
        if op in ("contains", "startswith") and (field.is_time or field.root == "version"):
            raise InvalidFilter(f"{place}: @{field.root} is neither a text nor a list")
        return self._node(Compare(field, op, _operand(field, op, operand, place)))

    def _exists(self, field: Field, operand: object, place: str) -> Filter:
        if not isinstance(operand, bool):
            raise InvalidFilter(f"{place}: takes True or False, not {type(operand).__name__}")
        exists = self._node(Exists(field))
        return exists if operand else self._node(Not(exists))

    def _all(self, parts: list[Filter]) -> Filter:
        return parts[0] if len(parts) == 1 else self._node(And(tuple(parts)))

    def _node(self, node: Filter) -> Filter:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise InvalidFilter(f"where: a filter has at most {MAX_NODES:,} conditions and operators")
        return node


def _check_depth(place: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"{place[:80]}...: a filter nests at most {MAX_DEPTH} levels of $and, $or and $not")


def _operators(condition: object, place: str) -> Mapping[str, Any] | None:
    """Return the condition if it is made of operators, None if it is a plain value."""
    if not isinstance(condition, Mapping):
        return None
    signs = [isinstance(name, str) and name.startswith("$") for name in condition]
    if not any(signs):
        return None
    if not all(signs):
        raise InvalidFilter(f"{place}: operators and fields are mixed; an object to compare with is {{'$eq': ...}}")
    return condition


def _field(name: object, place: str) -> Field:
    if isinstance(name, tuple):
        return Field("value", tuple(_step(step, place) for step in name))
    if not isinstance(name, str):
        raise InvalidFilter(f"{place}: a field is a str or a tuple, not {type(name).__name__}")
    if name.startswith("$"):
        raise InvalidFilter(f"{place}: unknown operator; a field that begins with $ is written as a tuple")
    if not name.startswith("@"):
        return Field("value", _split(name, place))
    root, dot, path = name[1:].partition(".")
    if root not in _ENTRY_ROOTS or (dot and root != "metadata"):
        raise InvalidFilter(f"{place}: unknown field; a field of the value that begins with @ is written as a tuple")
    return Field(cast("Root", root), _split(path, place) if dot else ())


def _split(path: str, place: str) -> tuple[str | int, ...]:
    return tuple(_step(step, place) for step in path.split("."))


def _step(step: object, place: str) -> str | int:
    if isinstance(step, str):
        return str(_json(str.__str__(step), place))
    if type(step) is int and 0 <= step <= _MAX_INDEX:
        return step
    raise InvalidFilter(f"{place}: a step of a path is a str, or an int from 0 to {_MAX_INDEX:,}")


def _operands(field: Field, operands: object, place: str) -> tuple[Any, ...]:
    if not isinstance(operands, list | tuple | AbstractSet):
        raise InvalidFilter(f"{place}: takes a list, tuple or set, not {type(operands).__name__}")
    if len(operands) > MAX_OPERANDS:
        raise InvalidFilter(f"{place}: takes at most {MAX_OPERANDS:,} operands, not {len(operands):,}")
    read = [_operand(field, "eq", operand, f"{place}[{index}]") for index, operand in enumerate(operands)]
    by_text = {json.dumps(operand_tree(operand), sort_keys=True): operand for operand in read}
    return tuple(by_text[text] for text in sorted(by_text))


def _operand(field: Field, op: Operator, operand: object, place: str) -> Any:
    if field.is_time:
        return _time(op, operand, place)
    read = _json(operand, place)
    if op in _ORDERINGS and type(read) not in (int, float, str):
        raise InvalidFilter(f"{place}: only numbers and strings have an order, not {type(operand).__name__}")
    if op == "startswith" and type(read) is not str:
        raise InvalidFilter(f"{place}: takes a str, not {type(operand).__name__}")
    return read


def _json(operand: object, place: str) -> Any:
    """Return the operand as a stored value would come back, so that it is checked, a copy, and without U+0000."""
    try:
        text = values.encode(operand, max_bytes=MAX_OPERAND_BYTES, root=place)
    except (InvalidValue, ValueTooLarge) as error:
        raise InvalidFilter(str(error)) from error
    return values.decode(filter_view(text), place)


def _time(op: Operator, operand: object, place: str) -> datetime | None:
    if operand is None and op not in _ORDERINGS:
        return None
    if not isinstance(operand, datetime | str):
        raise InvalidFilter(f"{place}: takes a datetime or ISO-8601 text, not {type(operand).__name__}")
    try:
        moment = datetime.fromisoformat(operand) if isinstance(operand, str) else operand
        if moment.utcoffset() is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidFilter(f"{place}: {error}") from error
    raise InvalidFilter(f"{place}: {operand} has no offset from UTC; use an aware datetime")


def loads(text: str) -> Filter:
    """Rebuild a filter from its `text`.

    Raises:
        InvalidFilter: it is not the text of a filter.
    """
    try:
        return _rebuilt(json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InvalidFilter(f"not the text of a filter: {error}") from error


def _rebuilt(tree: Any) -> Filter:
    op, *rest = tree
    if op in ("and", "or"):
        parts = tuple(_rebuilt(part) for part in rest[0])
        return And(parts) if op == "and" else Or(parts)
    if op == "not":
        return Not(_rebuilt(rest[0]))
    root, *path = rest[0]
    field = Field(root, tuple(path))
    if op == "exists":
        return Exists(field)
    if op == "in":
        return In(field, tuple(_rebuilt_operand(field, operand) for operand in rest[1]))
    if op in _COMPARISONS:
        return Compare(field, op, _rebuilt_operand(field, rest[1]))
    raise ValueError(f"unknown node {op!r}")


def _rebuilt_operand(field: Field, operand: Any) -> Any:
    return datetime.fromisoformat(operand) if field.is_time and operand is not None else operand
