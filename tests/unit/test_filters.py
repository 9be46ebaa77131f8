"""Filters, from what a caller writes to the tree and its text: R25."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import re
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import filters
from agentmem.errors import InvalidFilter
from agentmem.filters import And, Compare, Exists, Field, In, Not, Or, loads, parse

UTC_2024 = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
A = Field("value", ("a",))


@pytest.mark.parametrize("where", [None, {}, MappingProxyType({})])
def test_r25_an_empty_filter_matches_all(where: Any) -> None:
    assert parse(where) is None


@pytest.mark.parametrize("plain", [1, 1.5, "x", True, None, [], [1, {"$gt": 1}], {}, {"b": 1}])
def test_r25_a_plain_value_is_eq(plain: Any) -> None:
    assert parse({"a": plain}) == parse({"a": {"$eq": plain}}) == Compare(A, "eq", plain)


@pytest.mark.parametrize(
    ("condition", "tree"),
    [
        ({"$ne": 1}, Not(Compare(A, "eq", 1))),
        ({"$gt": 1}, Compare(A, "gt", 1)),
        ({"$gte": 1.5}, Compare(A, "gte", 1.5)),
        ({"$lt": "x"}, Compare(A, "lt", "x")),
        ({"$lte": 2**70}, Compare(A, "lte", 2**70)),
        ({"$in": [2, 1, 2]}, In(A, (1, 2))),
        ({"$in": []}, In(A, ())),
        ({"$nin": (1,)}, Not(In(A, (1,)))),
        ({"$exists": True}, Exists(A)),
        ({"$exists": False}, Not(Exists(A))),
        ({"$contains": {"b": 1}}, Compare(A, "contains", {"b": 1})),
        ({"$startswith": ""}, Compare(A, "startswith", "")),
        ({"$gt": 1, "$lt": 2}, And((Compare(A, "gt", 1), Compare(A, "lt", 2)))),
        ({"$not": {"$gt": 1}}, Not(Compare(A, "gt", 1))),
        ({"$not": {"$not": {"$ne": 1}}}, Not(Not(Not(Compare(A, "eq", 1))))),
        ({"$eq": {"$gt": 1}}, Compare(A, "eq", {"$gt": 1})),
        ({"$eq": (1, 2)}, Compare(A, "eq", [1, 2])),
    ],
)
def test_r25_operators(condition: Any, tree: filters.Filter) -> None:
    assert parse({"a": condition}) == tree


@pytest.mark.parametrize(
    ("where", "tree"),
    [
        ({"a": 1, "b": 2}, And((Compare(A, "eq", 1), Compare(Field("value", ("b",)), "eq", 2)))),
        ({"$and": [{"a": 1}]}, Compare(A, "eq", 1)),
        ({"$and": [{"a": 1}, {}]}, And((Compare(A, "eq", 1), And(())))),
        ({"$or": [{"a": 1}]}, Or((Compare(A, "eq", 1),))),
        ({"$or": ({"a": 1}, {"a": 2})}, Or((Compare(A, "eq", 1), Compare(A, "eq", 2)))),
        ({"$not": {"a": 1}}, Not(Compare(A, "eq", 1))),
        ({"$not": {}}, Not(And(()))),
    ],
)
def test_r25_combinations(where: Any, tree: filters.Filter) -> None:
    assert parse(where) == tree


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("a", Field("value", ("a",))),
        ("a.b", Field("value", ("a", "b"))),
        ("a.0", Field("value", ("a", "0"))),
        ("", Field("value", ("",))),
        ("a..b", Field("value", ("a", "", "b"))),
        (("a.b", 0), Field("value", ("a.b", 0))),
        ((), Field("value")),
        (("@version",), Field("value", ("@version",))),
        (("$or",), Field("value", ("$or",))),
        (("a\0",), Field("value", ("a\x01",))),
        ("@version", Field("version")),
        ("@metadata", Field("metadata")),
        ("@metadata.owner.name", Field("metadata", ("owner", "name"))),
    ],
)
def test_r25_fields(name: Any, field: Field) -> None:
    assert parse({name: 1}) == Compare(field, "eq", 1)


@pytest.mark.parametrize("name", ["@updated_at", "@created_at", "@expires_at"])
@pytest.mark.parametrize(
    "operand",
    [
        UTC_2024,
        "2024-01-01T00:00:00Z",
        "2024-01-01T05:30+05:30",
        dt.datetime(2023, 12, 31, 19, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
    ],
)
def test_r25_times_are_aware_datetimes_or_iso_text(name: str, operand: Any) -> None:
    tree = parse({name: {"$gte": operand}})
    assert isinstance(tree, Compare)
    assert tree.operand == UTC_2024
    assert tree.operand.tzinfo is dt.UTC
    assert tree == parse({name: {"$gte": UTC_2024}})


def test_r25_never_expires_is_null() -> None:
    field = Field("expires_at")
    assert parse({"@expires_at": None}) == Compare(field, "eq", None)
    assert parse({"@expires_at": {"$in": [None, UTC_2024]}}) == In(field, (UTC_2024, None))


UNORDERED: list[Any] = [None, True, [], {}, (1,)]


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ([], r"where: a filter is a mapping, not list"),
        ("a", r"where: a filter is a mapping, not str"),
        ({1: 2}, r"where\[1\]: a field is a str or a tuple, not int"),
        ({None: 2}, r"not NoneType"),
        ({10**5000: 2}, r"where\[<int>\]"),
        ({"$foo": 1}, r"where\['\$foo'\]: unknown operator"),
        ({"a": {"$foo": 1}}, r"where\['a'\]\['\$foo'\]: unknown operator"),
        ({"a": {"$": 1}}, r"unknown operator"),
        ({"a": {"$and": []}}, r"unknown operator"),
        ({"a": {"$gt": 1, "b": 2}}, r"where\['a'\]: operators and fields are mixed"),
        ({"a": {"$gt": 1, 5: 2}}, r"mixed"),
        ({"$and": []}, r"where\['\$and'\]: takes a non-empty list"),
        ({"$or": {}}, r"non-empty list"),
        ({"$or": {"a": 1}}, r"non-empty list"),
        ({"$or": [1]}, r"where\['\$or'\]\[0\]: a filter is a mapping, not int"),
        ({"$not": None}, r"a filter is a mapping, not NoneType"),
        ({"$not": [{"a": 1}]}, r"a filter is a mapping, not list"),
        ({"a": {"$not": 5}}, r"takes operators"),
        ({"a": {"$not": {}}}, r"takes operators"),
        ({"a": {"$not": {"b": 1}}}, r"takes operators"),
        ({"a": {"$exists": 1}}, r"takes True or False, not int"),
        ({"a": {"$exists": None}}, r"takes True or False"),
        ({"a": {"$in": 1}}, r"takes a list, tuple or set, not int"),
        ({"a": {"$in": "abc"}}, r"not str"),
        ({"a": {"$nin": {"b": 1}}}, r"\['a'\]\['\$nin'\]: takes"),
        ({"a": {"$startswith": 1}}, r"takes a str, not int"),
        ({"a": {"$startswith": None}}, r"takes a str"),
        *[
            ({"a": {op: bad}}, r"only numbers and strings have an order")
            for op in ("$gt", "$gte", "$lt", "$lte")
            for bad in UNORDERED
        ],
        ({"@foo": 1}, r"unknown field"),
        ({"@": 1}, r"unknown field"),
        ({"@value": 1}, r"unknown field"),
        ({"@version.x": 1}, r"unknown field"),
        ({"@updated_at.year": 1}, r"unknown field"),
        ({"@Version": 1}, r"unknown field"),
        ({"@metadatax": 1}, r"unknown field"),
        ({("a", -1): 1}, r"a step of a path is a str, or an int from 0"),
        ({("a", True): 1}, r"a step of a path"),
        ({("a", 1.0): 1}, r"a step of a path"),
        ({("a", 2**31): 1}, r"a step of a path"),
        ({("a", None): 1}, r"a step of a path"),
        ({"\ud800": 1}, r"surrogate"),
    ],
)
def test_r25_malformed_filters_are_refused_with_their_place(where: Any, reason: str) -> None:
    with pytest.raises(InvalidFilter, match=reason) as caught:
        parse(where)
    assert isinstance(caught.value, ValueError)


class Status(enum.StrEnum):
    OK = "ok"


@pytest.mark.parametrize(
    "bad",
    [
        float("nan"),
        float("inf"),
        {1},
        b"x",
        object(),
        dt.datetime.now(dt.UTC),
        Status.OK,
        "\ud800",
        10**4000,
        [{"b": {2: 1}}],
        "x" * (1024 * 1024),
    ],
    ids=lambda bad: type(bad).__name__,
)
@pytest.mark.parametrize("operator", ["$eq", "$ne", "$contains", "$in"])
def test_r25_operands_are_validated_like_values(bad: Any, operator: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(f"where['a']['{operator}']")):
        parse({"a": {operator: [bad] if operator == "$in" else bad}})


@pytest.mark.parametrize("name", ["@updated_at", "@created_at", "@expires_at"])
@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (UTC_2024.replace(tzinfo=None), "has no offset"),
        ("2024-01-01T00:00:00", "has no offset"),
        ("2024-01-01", "has no offset"),
        ("yesterday", "Invalid isoformat"),
        (1704067200, "takes a datetime or ISO-8601 text, not int"),
        (dt.date(2024, 1, 1), "not date"),
        ({"$in": [UTC_2024, True]}, r"\[1\]: takes a datetime"),
        ({"$gt": None}, "not NoneType"),
        ({"$contains": "2024"}, "neither a text nor a list"),
        ({"$startswith": "2024"}, "neither a text nor a list"),
        (dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))), "out of range"),
    ],
)
def test_r25_what_is_no_time_is_refused(name: str, condition: Any, reason: str) -> None:
    with pytest.raises(InvalidFilter, match=reason):
        parse({name: condition})


def test_r25_a_version_is_neither_text_nor_list() -> None:
    with pytest.raises(InvalidFilter, match="neither"):
        parse({"@version": {"$contains": 1}})
    assert parse({"@version": {"$gt": 1}}) == Compare(Field("version"), "gt", 1)


def test_r25_limits_of_nodes_depth_and_operands() -> None:
    assert parse({"$or": [{"a": 1}] * 999})
    with pytest.raises(InvalidFilter, match="at most 1,000"):
        parse({"$or": [{"a": 1}] * 1000})
    assert parse({"a": {"$in": list(range(10_000))}})
    with pytest.raises(InvalidFilter, match="at most 10,000 operands, not 10,001"):
        parse({"a": {"$nin": list(range(10_001))}})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"$not": inner},
        lambda inner: {"$and": [inner]},
        lambda inner: {"$or": [inner, inner]} if len(str(inner)) < 50 else {"$or": [inner]},
    ],
)
def test_r25_a_filter_nests_at_most_32_levels(wrap: Any) -> None:
    where: Any = {"a": {"$gt": 1}}
    for _ in range(31):
        where = wrap(where)
    assert parse(where)
    with pytest.raises(InvalidFilter, match="at most 32 levels"):
        parse(wrap(where))


def test_r25_a_filter_that_contains_itself_is_refused() -> None:
    where: dict[str, Any] = {}
    where["$not"] = where
    condition: dict[str, Any] = {}
    condition["$not"] = condition
    for cycle in (where, {"a": condition}):
        with pytest.raises(InvalidFilter, match="at most 32 levels"):
            parse(cycle)


def test_r25_nul_counts_as_u0001_in_operands() -> None:
    assert parse({"a\0b": "\0"}) == parse({"a\x01b": "\x01"})
    assert parse({"a": {"\0": ["\0"]}}) == parse({"a": {"\x01": ["\x01"]}})
    assert parse({"a": "\\u0000"}) != parse({"a": "\\u0001"})


def test_r25_operands_are_copies() -> None:
    operand = [1]
    tree = parse({"a": operand})
    operand.append(2)
    assert tree == parse({"a": [1]})


def test_r25_in_ignores_order_and_repetition() -> None:
    one = parse({"a": {"$in": [3, "b", None, {"x": 1, "y": 2}, 3]}})
    other = parse({"a": {"$in": ({"y": 2, "x": 1}, None, 3, "b")}})
    assert one == other
    assert parse({"a": {"$in": {1, 2}}}) == parse({"a": {"$in": frozenset({2, 1})}})


def test_r25_filters_are_told_apart_as_json_tells_values_apart() -> None:
    distinct = [parse({"a": operand}) for operand in (1, True, "1", [1], None, {"a": 1}, 0, False, "")]
    assert len(set(distinct)) == len(distinct)
    assert parse({"a": {"x": 1, "y": 2}}) == parse({"a": {"y": 2, "x": 1}})
    assert parse({"a": 1}) != "x"
    assert copy.deepcopy(distinct) == distinct


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ORDERED = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    st.none() | st.booleans() | ORDERED,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
FIELDS = st.sampled_from(["a", "a.b", "@version", "@metadata", "@metadata.x", "", ("a", 0), ()]) | st.tuples(
    TEXT, st.integers(0, 9)
)
CONDITIONS = st.one_of(
    st.builds(lambda operand: {"$eq": operand}, JSON),
    st.builds(lambda op, operand: {op: operand}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED),
    st.builds(lambda op, operand: {op: operand}, st.sampled_from(["$in", "$nin"]), st.lists(JSON, max_size=3)),
    st.builds(lambda operand: {"$exists": operand}, st.booleans()),
)
TIMES = st.builds(
    lambda name, op, moment: {name: {op: moment}},
    st.sampled_from(["@updated_at", "@created_at", "@expires_at"]),
    st.sampled_from(["$eq", "$gt", "$lte"]),
    st.datetimes(timezones=st.just(dt.UTC)),
)
WHERES = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, max_size=3) | TIMES,
    lambda inner: st.one_of(
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(
            lambda op, parts: {op: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
        ),
    ),
    max_leaves=8,
)


@given(WHERES)
def test_r25_the_text_rebuilds_the_filter(where: Any) -> None:
    tree = parse(where)
    if tree is not None:
        again = loads(tree.text)
        assert again == tree
        assert hash(again) == hash(tree)
        assert loads(again.text).text == tree.text


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "1", "null", '["and"]', '["foo",["value"],1]', '["eq",["value"]]', '["and",1]', "[" * 5000]
)
def test_r25_a_text_of_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter, match="not the text of a filter"):
        loads(text)
