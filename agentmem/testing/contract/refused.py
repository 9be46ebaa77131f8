"""Arguments that must be refused, by what they are bad at."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from agentmem.testing.contract.values import nested


class Colour(enum.Enum):
    """Something that JSON lacks."""

    RED = "red"


class Number(enum.IntEnum):
    """Something that would come back as a plain int."""

    ONE = 1


@dataclasses.dataclass
class Point:
    """Something that JSON lacks."""

    x: int = 0


def _cycle() -> list[Any]:
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    return cycle


def _deep_filter(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        where = {"$not": where}
    return where


NAN = float("nan")
INFINITY = float("inf")

KEYS: dict[str, Any] = {
    "empty": "",
    "NUL": "a\x00b",
    "a lone surrogate": "a\ud800",
    "1,025 bytes": "x" * 1025,
    "1,026 bytes in 513 characters": "é" * 513,
    "bytes": b"key",
    "a number": 5,
    "None": None,
    "a tuple": ("a", "b"),
}

VALUES: dict[str, Any] = {
    "NaN": NAN,
    "infinity": INFINITY,
    "minus infinity": -INFINITY,
    "NaN inside": {"a": [1, {"b": NAN}]},
    "an int as a key": {1: "a"},
    "None as a key": {None: 1},
    "a bool as a key": {"a": {True: 1}},
    "a tuple as a key": [{(1, 2): 3}],
    "a lone surrogate": "a\ud800",
    "a lone surrogate in a key": {"\udfff": 1},
    "a set": {1, 2},
    "bytes": b"raw",
    "bytearray inside": [bytearray(b"raw")],
    "a cycle": _cycle(),
    "129 levels": nested(129),
    "4,001 digits": 10**4000,
    "minus 4,001 digits": -(10**4000),
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "date": {"day": date(2026, 1, 1)},
    "UUID": uuid.UUID(int=1),
    "Decimal": [Decimal("1.5")],
    "Enum": Colour.RED,
    "IntEnum": Number.ONE,
    "dataclass": Point(),
    "complex": 1j,
    "an object": object(),
    "a function": print,
    "a generator": (number for number in range(3)),
    "a range": range(3),
}

METADATA: dict[str, Any] = {
    "a list": [1],
    "text": "owner",
    "NaN": {"a": NAN},
    "an int as a key": {1: 2},
    "bytes": {"a": b"x"},
}

TTLS: dict[str, Any] = {
    "0": 0,
    "0.0": 0.0,
    "negative": -1,
    "a little below 0": -1e-9,
    "NaN": NAN,
    "infinity": INFINITY,
    "True": True,
    "False": False,
    "text": "60",
    "timedelta(0)": timedelta(0),
    "a negative timedelta": timedelta(seconds=-1),
    "200 years": timedelta(days=73_000),
    "1e300": 1e300,
    "10**30": 10**30,
    "Decimal": Decimal(5),
    "a list": [60],
}

PATTERNS: dict[str, Any] = {
    "a lone backslash": "\\",
    "a backslash at the end": "key/*\\",
    "three of them": "a\\\\\\",
    "empty": "",
    "NUL": "a\x00*",
    "a lone surrogate": "\ud800*",
    "bytes": b"*",
    "None": None,
    "a number": 5,
    "too long": "x" * 5000,
}

PREFIXES: dict[str, Any] = {
    "NUL": "a\x00",
    "a lone surrogate": "\udc00",
    "bytes": b"a",
    "None": None,
    "long": "x" * 1025,
}

FILTERS: dict[str, Any] = {
    "a list": [{"a": 1}],
    "text": "a = 1",
    "a number": 5,
    "an unknown operator": {"a": {"$regex": "x"}},
    "an unknown operator at the top": {"$nor": [{"a": 1}]},
    "an operator without its sign": {"a": {"gt": 1, "$lt": 2}},
    "an empty operator": {"a": {"$": 1}},
    "$and of an object": {"$and": {"a": 1}},
    "$and of nothing": {"$and": []},
    "$or of nothing": {"$or": []},
    "$or of text": {"$or": "ab"},
    "$or of values": {"$or": [1, 2]},
    "$not of a list": {"$not": [{"a": 1}]},
    "$not of a value": {"a": {"$not": 5}},
    "$not of no operator": {"a": {"$not": {}}},
    "$in of a value": {"a": {"$in": 5}},
    "$in of text": {"a": {"$in": "abc"}},
    "$in of an object": {"a": {"$in": {"b": 1}}},
    "$nin of None": {"a": {"$nin": None}},
    "$exists of a number": {"a": {"$exists": 1}},
    "$exists of None": {"a": {"$exists": None}},
    "$gt of None": {"a": {"$gt": None}},
    "$gt of a bool": {"a": {"$gt": True}},
    "$lt of a list": {"a": {"$lt": [1]}},
    "$lte of an object": {"a": {"$lte": {"b": 1}}},
    "$gte of NaN": {"a": {"$gte": NAN}},
    "$startswith of a number": {"a": {"$startswith": 1}},
    "$startswith of None": {"a": {"$startswith": None}},
    "NaN": {"a": NAN},
    "a set": {"a": {1, 2}},
    "bytes": {"a": b"x"},
    "a datetime for a value": {"a": datetime(2026, 1, 1, tzinfo=UTC)},
    "a lone surrogate": {"a": "\ud800"},
    "a lone surrogate in a field": {"\ud800": 1},
    "a number as a field": {5: 1},
    "None as a field": {None: 1},
    "a float in a path": {("a", 1.5): 1},
    "a negative index": {("a", -1): 1},
    "a bool in a path": {("a", True): 1},
    "an unknown field of the entry": {"@owner": 1},
    "a path into a time": {"@updated_at.year": 2026},
    "a number as a time": {"@updated_at": {"$gt": 5}},
    "text that is no time": {"@updated_at": {"$gt": "yesterday"}},
    "a naive datetime": {"@updated_at": {"$gt": datetime(2026, 1, 1)}},  # noqa: DTZ001 - what is refused
    "a naive text": {"@created_at": "2026-01-01T00:00:00"},
    "$gt of None for a time": {"@expires_at": {"$gt": None}},
    "$contains of a time": {"@updated_at": {"$contains": "2026"}},
    "$startswith of a version": {"@version": {"$startswith": "1"}},
    "too deep": _deep_filter(60),
    "too much": {"$or": [{"a": number} for number in range(5000)]},
}

CURSORS: dict[str, Any] = {
    "empty": "",
    "text": "next",
    "not ASCII": "é",
    "a lone surrogate": "\ud800",
    "base64 of nothing meant": "eyJrZXkiOiAiYSJ9",
    "padding": "====",
    "bytes": b"AAAA",
    "a number": 5,
    "True": True,
    "long": "A" * 10_000,
}

NAMES: dict[str, Any] = {
    "empty": "",
    "NUL": "a\x00",
    "a lone surrogate": "\ud800",
    "129 bytes": "x" * 129,
    "130 bytes in 65 characters": "é" * 65,
    "bytes": b"a",
    "None": None,
}

WHOLES: dict[str, Any] = {"0": 0, "negative": -1, "a float": 1.0, "True": True, "text": "1"}

SECONDS: dict[str, Any] = {"0": 0, "negative": -0.5, "NaN": NAN, "infinity": INFINITY, "True": True, "text": "1"}

NUMBERS: dict[str, Any] = {
    "text": "1",
    "None": None,
    "True": True,
    "NaN": NAN,
    "infinity": INFINITY,
    "2**63": 2**63,
    "-2**63 - 1": -(2**63) - 1,
    "Decimal": Decimal(1),
    "complex": 1j,
    "4,001 digits": 10**4000,
}

#: (value, the path that the error must name): R7.
PATHS: list[tuple[Any, str]] = [
    (NAN, "value"),
    ({"steps": [1, 2, 3, {"score": NAN}]}, "value.steps[3].score"),
    ([[[INFINITY]]], "value[0][0][0]"),
    ({"a": {1: 2}}, "value.a"),
    ({"a": [{"b": {1, 2}}]}, "value.a[0].b"),
    ({"with space": [b"x"]}, 'value["with space"][0]'),
    ({"ok": 1, "when": datetime(2026, 1, 1, tzinfo=UTC)}, "value.when"),
    ((1, (2, 3j)), "value[1][1]"),
    ({"deep": 10**4000}, "value.deep"),
]
