"""Filters, evaluated as plainly as can be: the second opinion on R25 for the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_ABSENT = object()


def holds(where: Mapping[Any, Any], value: Any, metadata: dict[str, Any]) -> bool:
    """Whether an entry with this value and metadata matches."""
    return all(_holds(name, condition, value, metadata) for name, condition in where.items())


def _holds(name: Any, condition: Any, value: Any, metadata: dict[str, Any]) -> bool:
    if name == "$and":
        return all(holds(part, value, metadata) for part in condition)
    if name == "$or":
        return any(holds(part, value, metadata) for part in condition)
    if name == "$not":
        return not holds(condition, value, metadata)
    found = _find(name, value, metadata)
    if isinstance(condition, Mapping) and any(str(key).startswith("$") for key in condition):
        return all(_operator(sign, found, operand) for sign, operand in condition.items())
    return _equal(found, condition)


def _find(name: Any, value: Any, metadata: dict[str, Any]) -> Any:
    if isinstance(name, str) and name.startswith("@metadata."):
        name, value = name.removeprefix("@metadata."), metadata
    for step in name if isinstance(name, tuple) else name.split("."):
        in_object = isinstance(step, str) and type(value) is dict and step in value
        in_list = isinstance(step, int) and type(value) is list and step < len(value)
        if not (in_object or in_list):
            return _ABSENT
        value = value[step]
    return value


def _operator(sign: str, found: Any, operand: Any) -> bool:
    if sign == "$not":
        return not all(_operator(inner, found, each) for inner, each in operand.items())
    if sign in ("$ne", "$nin"):
        return not _operator("$eq" if sign == "$ne" else "$in", found, operand)
    if sign == "$exists":
        return (found is not _ABSENT) is operand
    if sign == "$in":
        return any(_equal(found, each) for each in operand)
    if sign == "$eq":
        return _equal(found, operand)
    if sign == "$contains":
        if type(found) is str:
            return type(operand) is str and operand in found
        return type(found) is list and any(_equal(each, operand) for each in found)
    if sign == "$startswith":
        return type(found) is str and found.startswith(operand)
    return _ordered(sign, found, operand)


def _ordered(sign: str, found: Any, operand: Any) -> bool:
    if _is_number(found) and _is_number(operand):
        found, operand = _decimal(found), _decimal(operand)
    elif not (type(found) is str and type(operand) is str):
        return False
    answers = {"$gt": found > operand, "$gte": found >= operand, "$lt": found < operand, "$lte": found <= operand}
    return bool(answers[sign])


def _equal(one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return _decimal(one) == _decimal(other)
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(_equal, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _decimal(number: float) -> Decimal:
    """The number that its JSON text means."""
    return Decimal(repr(number))
