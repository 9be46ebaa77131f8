"""The evaluator of filters (R25): what a `where` means, for every backend that cannot or does not push it down."""

from __future__ import annotations

import operator
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from agentmem import values
from agentmem.errors import CorruptEntry
from agentmem.filter_tree import TIMES, And, Compare, Exists, Field, Filter, In, Not, Or
from agentmem.moments import expiry, from_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from agentmem.entries import Record

    Subject = tuple[Any, ...]
    """What ROOTS name, in their order."""
    Test = Callable[[Any], bool]
    Condition = Callable[[Subject], bool]

ROOTS: Final = ("value", "metadata", "version", "created_at", "updated_at", "expires_at")

_MISSING: Final = object()
_FIRST_INEXACT: Final = 2.0**53
_ESCAPE: Final = re.compile(r"\\(?:u0000|.)", re.DOTALL)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def filter_view(body: str) -> str:
    r"""Return the JSON text as filters see it: with U+0001 in place of U+0000, which PostgreSQL's jsonb cannot hold.

    Only the escape `\u0000` is replaced, not an escaped backslash that stands before `u0000`.
    """
    if "\\u0000" not in body:
        return body
    return _ESCAPE.sub(lambda escape: "\\u0001" if escape[0] == "\\u0000" else escape[0], body)


def matches(where: Filter, record: Record) -> bool:
    """Tell whether an entry matches. A value or metadata that cannot be decoded has no fields: all are missing."""
    return compiled(where)(record)


@lru_cache(maxsize=256)
def compiled(where: Filter) -> Callable[[Record], bool]:
    """Return a function that does what `matches` does, for many records."""
    condition = _condition(where)
    with_value, with_metadata, with_times = (_mentions(where, each) for each in ({"value"}, {"metadata"}, TIMES))

    def test(record: Record) -> bool:
        value = _decoded(values.decode, record.body, record.key) if with_value else None
        metadata = _decoded(values.decode_metadata, record.metadata, record.key) if with_metadata else None
        times = _times(record) if with_times else ()
        return condition((value, metadata, record.version, *times))

    return test


def _times(record: Record) -> tuple[datetime, datetime, datetime | None]:
    return from_microseconds(record.created_us), from_microseconds(record.updated_us), expiry(record.expires_us)


def _decoded(decode: Callable[[str | None, str], Any], text: str | None, key: str) -> Any:
    try:
        return decode(None if text is None else filter_view(text), key)
    except CorruptEntry:
        return _MISSING


def _mentions(where: Filter, roots: Collection[str]) -> bool:
    if isinstance(where, And | Or):
        return any(_mentions(part, roots) for part in where.parts)
    if isinstance(where, Not):
        return _mentions(where.part, roots)
    return isinstance(where, Compare | In | Exists) and where.field.root in roots


def _condition(where: Filter) -> Condition:
    if isinstance(where, And | Or):
        return _combined(where)
    if isinstance(where, Not):
        part = _condition(where.part)
        return lambda subject: not part(subject)
    if isinstance(where, Exists):
        return _at(where.field, _exists(where.field))
    if isinstance(where, In):
        return _at(where.field, _among(where.operands))
    if isinstance(where, Compare):
        return _at(where.field, _comparison(where))
    raise TypeError(f"{type(where).__name__} is no node of a filter")


def _combined(where: And | Or) -> Condition:
    parts = [_condition(part) for part in where.parts]
    if isinstance(where, And):
        return lambda subject: all(part(subject) for part in parts)
    return lambda subject: any(part(subject) for part in parts)


def _at(field: Field, test: Test) -> Condition:
    """Apply a test to what a field addresses, to _MISSING where it addresses nothing."""
    root, path = ROOTS.index(field.root), field.path
    if not path:
        return lambda subject: test(subject[root])

    def condition(subject: Subject) -> bool:
        found = subject[root]
        for step in path:
            if isinstance(step, str):
                found = found.get(step, _MISSING) if type(found) is dict else _MISSING
            else:
                found = found[step] if type(found) is list and step < len(found) else _MISSING
        return test(found)

    return condition


def _exists(field: Field) -> Test:
    absent = None if field.is_time else _MISSING
    return lambda found: found is not absent


def _comparison(where: Compare) -> Test:
    operand = where.operand
    if where.op == "eq":
        return _equals(operand)
    if where.op == "contains":
        return _contains(operand)
    if where.op == "startswith":
        return lambda found: type(found) is str and found.startswith(operand)
    compare = _ORDER[where.op]
    if _is_number(operand):
        bound = exact(operand)
        return lambda found: _is_number(found) and compare(exact(found), bound)
    kind = type(operand)
    return lambda found: type(found) is kind and compare(found, operand)


def _contains(operand: Any) -> Test:
    equals = _equals(operand)
    if type(operand) is not str:
        return lambda found: type(found) is list and any(map(equals, found))
    return lambda found: type(found) in (str, list) and operand in found


def _equals(operand: Any) -> Test:
    if operand is None or type(operand) is bool:
        return lambda found: found is operand
    if _is_number(operand):
        number = exact(operand)
        return lambda found: _is_number(found) and exact(found) == number
    if type(operand) in (list, dict):
        return lambda found: equal(found, operand)
    # Text and times: nothing of another type equals them.
    return lambda found: bool(found == operand)


def _among(operands: tuple[Any, ...]) -> Test:
    # Scalars are looked up by hash, however many there are; True and 1 have one hash, so numbers are kept apart.
    numbers = frozenset(exact(operand) for operand in operands if _is_number(operand))
    scalars = frozenset(operand for operand in operands if _is_hashed(operand))
    deep = [operand for operand in operands if type(operand) in (list, dict)]

    def test(found: Any) -> bool:
        if _is_number(found):
            return exact(found) in numbers
        if type(found) in (list, dict):
            return any(equal(found, operand) for operand in deep)
        return found in scalars

    return test


def _is_hashed(operand: Any) -> bool:
    return not _is_number(operand) and type(operand) not in (list, dict)


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def exact(number: float) -> float:
    """Return a number that compares as the decimal that its JSON text means: 1e23 as the int 10**23.

    The float nearest to 10**23 is 99999999999999991611392 in binary. Below 2**53 every int is a float itself, so
    none lies between a float and its shortest decimal, and Python's own exact comparison says the same.
    """
    if isinstance(number, int) or -_FIRST_INEXACT < number < _FIRST_INEXACT:
        return number
    return int(Decimal(repr(number)))


def equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON trees are equal: 1 equals 1.0, True equals only True, objects whatever their order."""
    if _is_number(one):
        return _is_number(other) and exact(one) == exact(other)
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(equal, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(equal(item, other[key]) for key, item in one.items())
    return bool(one == other)
