"""What filters mean, entry by entry: R25."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import values
from agentmem.entries import Record
from agentmem.filters import filter_view, loads, matches, parse
from agentmem.moments import microseconds

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(microseconds=1)


def record(value: Any, metadata: dict[str, Any] | None = None, expires_at: dt.datetime | None = None) -> Record:
    body = values.encode(value, max_bytes=1024 * 1024)
    expires_us = None if expires_at is None else microseconds(expires_at)
    return Record("k", body, 7, microseconds(NOW), microseconds(LATER), expires_us, values.encode_metadata(metadata))


def holds(where: Any, value: Any) -> bool:
    tree = parse(where)
    assert tree is not None
    answer = matches(tree, record(value))
    assert matches(loads(tree.text), record(value)) is answer
    return answer


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": -0.0}, {"a": 0}),
        ({"a": None}, {"a": None}),
        ({"a": True}, {"a": True}),
        ({"a": "x"}, {"a": "x"}),
        ({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]}),
        ({"a": {"x": 1, "y": [None]}}, {"a": {"y": [None], "x": 1}}),
        ({"a": {}}, {"a": {}}),
        ({"a": {"b": 9}}, {"a.b": {"$lt": 10}}),
        ({"a": 10**23}, {"a": 1e23}),
        ({"a": 1e23}, {"a": 10**23}),
        ({"a": 2**53 + 1}, {"a": {"$gt": float(2**53)}}),
        ({"a": 10**400}, {"a": {"$gt": 1.7976931348623157e308}}),
        ({"a": "b"}, {"a": {"$gt": "B"}}),
        ({"a": "\U00010000"}, {"a": {"$gt": "\uffff"}}),
        ({"a": ""}, {"a": {"$gte": ""}}),
        ({"a": 5}, {"a": {"$gte": 5, "$lte": 5}}),
        ({"a": 5}, {"a": {"$in": [1, 5.0]}}),
        ({"a": [1]}, {"a": {"$in": [2, [1.0]]}}),
        ({"a": None}, {"a": {"$in": [None]}}),
        ({"a": 5}, {"a": {"$nin": [1, "5", True]}}),
        ({}, {"a": {"$ne": 1}}),
        ({}, {"a": {"$nin": [1]}}),
        ({"a": None}, {"a": {"$exists": True}}),
        ({}, {"a": {"$exists": False}}),
        ({"a": [1, "x", {"b": 1}]}, {"a": {"$contains": {"b": 1.0}}}),
        ({"a": [1, None]}, {"a": {"$contains": None}}),
        ({"a": [10**23]}, {"a": {"$contains": 1e23}}),
        ({"a": ["x"]}, {"a": {"$contains": "x"}}),
        ({"a": "xyz"}, {"a": {"$contains": "y"}}),
        ({"a": "50%_"}, {"a": {"$contains": "%_"}}),
        ({"a": "xyz"}, {"a": {"$startswith": "xy"}}),
        ({"a": "xyz"}, {"a": {"$startswith": ""}}),
        ({"a": 5}, {"a": {"$not": {"$gt": 5}}}),
        ({"a": 5, "b": 6}, {"a": 5, "b": 6}),
        ({"a": 5}, {"$or": [{"b": 1}, {"a": 5}]}),
        ({"a": 5}, {"$and": [{"a": {"$gt": 4}}, {"a": {"$lt": 6}}]}),
        ({"a": 5}, {"$not": {"a": 6}}),
        ({"a": 5}, {"$or": [{"b": 1}, {}]}),
        ({"a": [0, {"b": "x"}]}, {("a", 1, "b"): "x"}),
        ({"a": {"0": "x"}}, {"a.0": "x"}),
        ({"a.b": 1}, {("a.b",): 1}),
        ({"@version": 1}, {("@version",): 1}),
        ([1, 2], {(): [1, 2]}),
        ([1, 2], {(1,): 2}),
        ("text", {(): {"$startswith": "te"}}),
        (None, {(): None}),
        (None, {(): {"$exists": True}}),
        (7, {(): {"$gt": 6.5}}),
        ({"a": "\0"}, {"a": "\x01"}),
        ({"a": "\x01"}, {"a": "\0"}),
        ({"\0": "\\\0\\u0000"}, {("\x01",): "\\\x01\\u0000"}),
    ],
)
def test_r25_holds(value: Any, where: Any) -> None:
    assert holds(where, value)
    assert not holds({"$not": where}, value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": True}, {"a": 1}),
        ({"a": 0}, {"a": False}),
        ({"a": "1"}, {"a": 1}),
        ({"a": 0}, {"a": None}),
        ({}, {"a": None}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}),
        ({"a": {"b": True}}, {"a": {"b": 1}}),
        ({"a": [True]}, {"a": [1]}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": 10}, {"a": {"$lt": 9}}),
        ({"a": "9"}, {"a": {"$gt": 10}}),
        ({"a": 9}, {"a": {"$gt": "10"}}),
        ({"a": True}, {"a": {"$gt": 0}}),
        ({"a": None}, {"a": {"$lte": 0}}),
        ({"a": [5]}, {"a": {"$gt": 1}}),
        ({}, {"a": {"$lt": 1}}),
        ({}, {"a": {"$in": [None]}}),
        ({"a": True}, {"a": {"$in": [1]}}),
        ({"a": 1}, {"a": {"$in": [True, "1", None, [1]]}}),
        ({"a": 1}, {"a": {"$in": []}}),
        ({"a": 5}, {"a": {"$nin": [5.0]}}),
        ({"a": 5}, {"a": {"$ne": 5.0}}),
        ({"a": [True]}, {"a": {"$contains": 1}}),
        ({"a": [["x"]]}, {"a": {"$contains": "x"}}),
        ({"a": {"x": 1}}, {"a": {"$contains": "x"}}),
        ({"a": "1"}, {"a": {"$contains": 1}}),
        ({"a": ["xyz"]}, {"a": {"$contains": "y"}}),
        ({"a": ["xyz"]}, {"a": {"$startswith": "x"}}),
        ({"a": "Xyz"}, {"a": {"$startswith": "x"}}),
        ({"a": 10**23}, {"a": {"$lt": 1e23}}),
        ({"a": 99999999999999991611392}, {"a": 1e23}),
        ({"a": 2**53}, {"a": {"$gt": float(2**53)}}),
        ({"a": [1]}, {("a", "0"): 1}),
        ({"a": {"0": 1}}, {("a", 0): 1}),
        ({"a": "x"}, {("a", 0): "x"}),
        ({"a": [1]}, {("a", 1): {"$exists": True}}),
        ({"a": 1}, {"a.b": {"$exists": True}}),
        ([], {"a": {"$exists": True}}),
        ({"a": "e\u0301"}, {"a": "é"}),
        ({"a": "\\u0000"}, {"a": "\0"}),
        ({"a": 5}, {"$not": {}}),
    ],
)
def test_r25_does_not_hold(value: Any, where: Any) -> None:
    assert not holds(where, value)
    assert holds({"$not": where}, value)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"@version": 7}, True),
        ({"@version": {"$gt": 7}}, False),
        ({"@version": "7"}, False),
        ({"@version": {"$gt": "6"}}, False),
        ({"@version": {"$exists": True}}, True),
        ({"@created_at": NOW}, True),
        ({"@created_at": {"$lt": LATER}}, True),
        ({"@created_at": None}, False),
        ({"@updated_at": {"$gt": "2024-06-01T02:00:00+02:00"}}, True),
        ({"@updated_at": {"$in": [NOW, LATER]}}, True),
        ({"@updated_at": {"$gt": LATER}}, False),
        ({"@expires_at": None}, True),
        ({"@expires_at": {"$exists": True}}, False),
        ({"@expires_at": {"$gt": NOW}}, False),
        ({"@expires_at": {"$in": [None]}}, True),
        ({"@expires_at": {"$ne": NOW}}, True),
        ({"@metadata.owner": "me"}, True),
        ({"@metadata.gone": {"$exists": False}}, True),
        ({"@metadata": {"owner": "me", "n": 1.0}}, True),
        ({"@metadata": {"$exists": True}}, True),
        ({"@metadata": {}}, False),
    ],
)
def test_r25_the_entry_itself(where: Any, expected: bool) -> None:
    tree = parse(where)
    assert tree is not None
    assert matches(tree, record({"version": 8}, {"owner": "me", "n": 1})) is expected


def test_what_a_filter_does_not_mention_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str | None, key: str) -> Any:
        raise AssertionError(text)

    entry = record({"a": 1}, {"owner": "me"})
    trees = [parse(where) for where in ({"@version": 7}, {"@updated_at": LATER}, {"@metadata.owner": "me"})]
    version, updated, owner = (tree for tree in trees if tree is not None)
    monkeypatch.setattr(values, "decode", refuse)
    assert matches(version, entry)
    assert matches(updated, entry)
    with pytest.raises(AssertionError, match="owner"):
        matches(owner, entry)


def test_r25_an_entry_that_expires() -> None:
    for where, expected in (
        ({"@expires_at": None}, False),
        ({"@expires_at": {"$exists": True}}, True),
        ({"@expires_at": {"$lte": LATER}}, True),
    ):
        tree = parse(where)
        assert tree is not None
        assert matches(tree, record(1, expires_at=LATER)) is expected


@pytest.mark.parametrize(
    "where", [{"@metadata": {}}, {"@metadata": {"$exists": True}}, {"@metadata.a": {"$exists": False}}]
)
def test_r25_no_metadata_is_an_empty_object(where: Any) -> None:
    tree = parse(where)
    assert tree is not None
    assert matches(tree, record(1))


@pytest.mark.parametrize("body", [None, "", "{", "NaN", '{"a":1e400}', '"\\ud800"'])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"a": 1}, False),
        ({"a": {"$exists": True}}, False),
        ({(): {"$exists": True}}, False),
        ({"a": {"$ne": 1}}, True),
        ({"$not": {"a": 1}}, True),
        ({"@version": 7}, True),
        ({"a": {"$exists": False}}, True),
    ],
)
def test_r25_a_value_that_cannot_be_decoded_has_no_fields(body: str | None, where: Any, expected: bool) -> None:
    tree = parse(where)
    assert tree is not None
    assert matches(tree, Record("k", body, 7, 0, 0, None, None)) is expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"@metadata": {"$exists": True}}, False),
        ({"@metadata.b": 1}, False),
        ({"@metadata.a": {"$exists": False}}, True),
        ({"$not": {"@metadata.a": {"$in": [1]}}}, True),
        ({(): 1}, True),
    ],
)
def test_r25_metadata_that_cannot_be_decoded_has_no_fields(where: Any, expected: bool) -> None:
    tree = parse(where)
    assert tree is not None
    assert matches(tree, Record("k", "1", 7, 0, 0, None, "[1]")) is expected


@pytest.mark.parametrize(
    ("body", "view"),
    [
        ('"\\u0000"', '"\\u0001"'),
        ('"\\u0000\\u0000"', '"\\u0001\\u0001"'),
        ('"\\\\u0000"', '"\\\\u0000"'),
        ('"\\\\\\u0000"', '"\\\\\\u0001"'),
        ('"\\\\\\\\u0000"', '"\\\\\\\\u0000"'),
        ('"\\"\\u0000\\n"', '"\\"\\u0001\\n"'),
        ('"u0000"', '"u0000"'),
    ],
)
def test_r25_the_view_replaces_only_the_escape(body: str, view: str) -> None:
    assert filter_view(body) == view


BACKSLASHES = st.text(st.sampled_from('\\u0"n\0\x01\n'), max_size=12)


@given(BACKSLASHES)
def test_r25_the_view_is_the_value_with_nul_as_u0001(text: str) -> None:
    assert json.loads(filter_view(values.encode([text], max_bytes=1000))) == [text.replace("\0", "\x01")]
