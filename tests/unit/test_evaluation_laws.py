"""What filters mean, as laws: R25."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from agentmem import values
from agentmem.entries import Record
from agentmem.filters import loads, matches, parse
from agentmem.moments import microseconds

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)


def holds(where: Any, value: Any) -> bool:
    tree = parse(where)
    assert tree is not None
    record = Record(
        "k", values.encode(value, max_bytes=1024 * 1024), 7, microseconds(NOW), microseconds(NOW), None, None
    )
    answer = matches(tree, record)
    assert matches(loads(tree.text), record) is answer
    return answer


EDGES = [
    0,
    -0.0,
    1,
    1.0,
    2**53,
    2**53 + 1,
    float(2**53),
    10**23,
    1e23,
    99999999999999991611392,
    2**64,
    1e308,
    10**308,
    5e-324,
    0.1,
    10**22,
    1e22,
]
NUMBERS = st.sampled_from(EDGES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NEAR = NUMBERS.flatmap(
    lambda number: st.tuples(st.just(number), st.just(int(Decimal(repr(number)))) | st.just(int(number)) | NUMBERS)
)


@given(NEAR)
@example((1e23, 10**23))
def test_r25_numbers_have_the_order_of_their_decimals(pair: tuple[Any, Any]) -> None:
    for found, operand in (pair, pair[::-1]):
        one, other = Decimal(repr(found)), Decimal(repr(operand))
        assert holds({"a": operand}, {"a": found}) == (one == other)
        assert holds({"a": {"$gt": operand}}, {"a": found}) == (one > other)
        assert holds({"a": {"$gte": operand}}, {"a": found}) == (one >= other)
        assert holds({"a": {"$lt": operand}}, {"a": found}) == (one < other)
        assert holds({"a": {"$lte": operand}}, {"a": found}) == (one <= other)
        assert holds({"a": {"$in": [operand, "x"]}}, {"a": found}) == (one == other)
        assert holds({"a": {"$contains": operand}}, {"a": [found]}) == (one == other)
        assert holds({"a": [operand]}, {"a": [found]}) == (one == other)


SMALL = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 10**23, 1e23, "", "a", "ab", "\0", "\x01"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
VALUES = st.dictionaries(st.sampled_from("ab"), SMALL, max_size=2) | SMALL
ORDERINGS = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
FIELDS = st.sampled_from(["a", "b", "a.b", (), ("a", 0)])
CONDITIONS = st.one_of(
    st.builds(lambda op, operand: {op: operand}, st.sampled_from(["$eq", "$ne", "$contains"]), SMALL),
    st.builds(lambda op, operand: {op: operand}, ORDERINGS, st.sampled_from([0, 1.0, 1e23, "", "a"])),
    st.builds(lambda operands: {"$in": operands}, st.lists(SMALL, max_size=3)),
    st.builds(lambda operand: {"$exists": operand}, st.booleans()),
)
LEAVES = st.builds(lambda field, condition: {field: condition}, FIELDS, CONDITIONS)


@given(VALUES, LEAVES, LEAVES)
def test_r25_the_laws_of_de_morgan(value: Any, one: Any, other: Any) -> None:
    both, either = holds({"$and": [one, other]}, value), holds({"$or": [one, other]}, value)
    assert both == (holds(one, value) and holds(other, value))
    assert either == (holds(one, value) or holds(other, value))
    assert holds({"$not": {"$and": [one, other]}}, value) == holds({"$or": [{"$not": one}, {"$not": other}]}, value)
    assert holds({"$not": {"$or": [one, other]}}, value) == holds({"$and": [{"$not": one}, {"$not": other}]}, value)


@given(VALUES, FIELDS, SMALL, st.lists(SMALL, max_size=3))
def test_r25_negations_and_in(value: Any, field: Any, operand: Any, more: list[Any]) -> None:
    operands = [operand, *more]
    assert holds({field: {"$ne": operand}}, value) is not holds({field: {"$eq": operand}}, value)
    assert holds({field: {"$nin": operands}}, value) is not holds({field: {"$in": operands}}, value)
    assert holds({field: {"$in": operands}}, value) == any(holds({field: {"$eq": each}}, value) for each in operands)
    assert holds({field: {"$exists": False}}, value) is not holds({field: {"$exists": True}}, value)
    assert not holds({field: {"$eq": operand}}, value) or holds({field: {"$exists": True}}, value)


def plain(value: Any) -> Any:
    """A form that is equal where R25 says equal, built without the evaluator."""
    if isinstance(value, dict):
        return "dict", frozenset((key.replace("\0", "\x01"), plain(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(plain, value))
    if isinstance(value, str):
        return value.replace("\0", "\x01")
    return ("number", Decimal(repr(value))) if type(value) in (int, float) else ("other", repr(value))


@given(SMALL, SMALL)
def test_r25_equality_in_depth(one: Any, other: Any) -> None:
    expected = plain(one) == plain(other)
    assert holds({(): {"$eq": other}}, one) == expected
    assert holds({(): {"$eq": one}}, other) == expected
    assert holds({(): {"$contains": {"$": other}}}, [0, {"$": one}]) == expected


@given(st.text(max_size=4), st.text(max_size=4))
def test_r25_texts_have_the_order_of_their_code_points(one: str, other: str) -> None:
    found, operand = one.replace("\0", "\x01"), other.replace("\0", "\x01")
    assert holds({(): {"$gt": other}}, one) == (found.encode("utf-32-be") > operand.encode("utf-32-be"))
    assert holds({(): {"$contains": other}}, one) == (operand in found)
    assert holds({(): {"$startswith": other}}, one) == found.startswith(operand)
