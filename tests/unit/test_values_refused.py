"""What JSON cannot hold is refused, by the path of the offender: R7."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import struct
import sys
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from types import MappingProxyType
from typing import Any

import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import values
from agentmem.errors import InvalidValue

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(st.none() | FLOATS | st.text("gx\x7f", max_size=9), st.lists)


def encode(value: Any) -> str:
    return values.encode(value, max_bytes=1024 * 1024)


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 1


class Status(enum.StrEnum):
    OK = "ok"


@dataclasses.dataclass
class Point:
    x: int = 1


class Model(pydantic.BaseModel):
    x: int = 1


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    pass


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # what users have

NOT_JSON = [
    math.nan,
    math.inf,
    -math.inf,
    {1, 2},
    frozenset(),
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    1j,
    object(),
    ...,
    dt.datetime.now(dt.UTC),
    dt.datetime.now(dt.UTC).replace(tzinfo=None),
    dt.date(2024, 1, 1),
    dt.time(1),
    dt.timedelta(1),
    uuid.uuid4(),
    decimal.Decimal(1),
    Colour.RED,
    Level.HIGH,
    Status.OK,
    Point(),
    Model(),
    Point,
    int,
    len,
    range(3),
    Text("a"),
    Number(1),
    Real(1.0),
    Items(),
    OrderedDict(a=1),
    defaultdict(int),
    Pair(1, 2),
    MappingProxyType({}),
    iter([]),
    orjson.Fragment(b"1"),
    "\ud800",
    "a\udfff",
    10**4000,
    -(10**4000),
    compile("1", "", "eval"),
]


@pytest.mark.parametrize("bad", NOT_JSON, ids=lambda bad: type(bad).__name__)
def test_r07_what_json_cannot_hold_is_refused_with_its_path(bad: Any) -> None:
    for value, path in (
        (bad, "value"),
        ([None, bad], "value[1]"),
        ({"steps": [{}, {}, {}, {"score": bad}]}, "value.steps[3].score"),
        ({"a b": (bad,)}, 'value["a b"][0]'),
        ({"a": 2**64, "é": {"": bad}}, 'value.é[""]'),
    ):
        with pytest.raises(InvalidValue) as caught:
            encode(value)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.reason


@pytest.mark.parametrize(
    "key", [1, 1.5, None, True, b"a", (1,), Status.OK, Text("a"), "\ud800", dt.date(2024, 1, 1), uuid.uuid4()]
)
def test_r07_keys_that_are_not_plain_text_are_refused_with_their_path(key: Any) -> None:
    for value, path in (({key: 1}, "value"), ({"a": [{"b": 1, key: 2}]}, "value.a[0]")):
        with pytest.raises(InvalidValue, match="key") as caught:
            encode(value)
        assert caught.value.path == path


def test_r07_a_key_that_cannot_even_be_shown_is_refused_like_others() -> None:
    with pytest.raises(InvalidValue, match="the key <int> is int, not str"):
        encode({10**5000: 1})


def test_r07_mixed_keys_never_merge() -> None:
    with pytest.raises(InvalidValue, match="the key 1 is int, not str"):
        encode({1: "a", "1": "b"})


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        (Status.OK, "Status is an Enum"),
        (OrderedDict(), "OrderedDict would come back as a plain dict"),
        (Pair(1, 2), "Pair would come back as a plain tuple"),
        (uuid.uuid4(), "JSON cannot hold UUID: .*codec"),
        (math.nan, "nan is no JSON number"),
        (10**4000, "at most 4,000 digits"),
        ("x\ud800", "lone surrogate at index 1"),
    ],
)
def test_r07_the_reason_says_what_to_do(bad: Any, hint: str) -> None:
    with pytest.raises(InvalidValue, match=hint):
        encode([bad])


NANS = [
    struct.unpack("<d", bytes.fromhex(bits))[0]
    for bits in ("010000000000f07f", "ffffffffffffffff", "000000000000f8ff", "676767676767f77f", "5d7d22000a0dfeff")
]


@given(TREES, st.sampled_from([math.nan, math.inf, -math.inf, *NANS]))
def test_r07_no_nan_is_taken_for_null(tree: Any, bad: float) -> None:
    for value in ([tree, bad], {"a": bad, "b": [None, tree]}):
        with pytest.raises(InvalidValue, match="no JSON number"):
            encode(value)


@given(st.lists(st.none() | FLOATS | st.sampled_from([-1, 2**31 - 1, "g" * 9, "\U0010ffff\x7f", "g\x7f"])))
def test_r07_what_only_looks_like_nan_is_taken(value: list[Any]) -> None:
    assert values.decode(encode(value), "k") == value


def nested(levels: int, inner: Any, step: str) -> Any:
    for _ in range(levels):
        inner = {"list": [inner], "dict": {"a": inner}, "tuple": (inner,), "wide": [None, inner, "]"]}[step]
    return inner


@pytest.mark.parametrize("step", ["list", "dict", "tuple", "wide"])
@pytest.mark.parametrize("inner", [1, '[{"', "\\", '\\"[[', "x" * 300, None, 2**64, "é["])
def test_r07_128_levels_are_the_limit(step: str, inner: Any) -> None:
    deepest = nested(128, inner, step)
    assert encode(values.decode(encode(deepest), "k")) == encode(deepest)
    with pytest.raises(InvalidValue, match="more than 128 levels") as caught:
        encode(nested(129, inner, step))
    assert caught.value.path.startswith(("value[", "value.a"))


@pytest.mark.parametrize("empty", [[], {}, ()])
def test_r07_an_empty_container_is_a_level(empty: Any) -> None:
    assert encode(nested(127, empty, "list"))
    with pytest.raises(InvalidValue, match="more than 128 levels"):
        encode(nested(128, empty, "list"))


def test_r07_brackets_in_texts_are_no_levels() -> None:
    value = ["[" * 500, '"{' * 500, '\\"[' * 500, "\\" * 501 + "[", {"[" * 300: "]" * 300, '"': '"'}]
    assert values.decode(encode(value), "k") == value
    wide = [[{"a": "]["}] for _ in range(1000)]
    assert values.decode(encode(wide), "k") == wide
    with pytest.raises(InvalidValue, match="more than 128 levels"):
        encode(["]" * 500, nested(128, "]" * 500, "list")])


@pytest.mark.parametrize("levels", [200, 500, 1500, 5000, 100_000])
@pytest.mark.parametrize("step", ["list", "dict"])
def test_r07_very_deep_values_are_refused_like_others(levels: int, step: str) -> None:
    with pytest.raises(InvalidValue, match="more than 128 levels"):
        encode(nested(levels, None, step))


def test_r07_cycles_are_refused_where_they_close() -> None:
    one: list[Any] = []
    one.append(one)
    two: dict[str, Any] = {"list": [1, 2]}
    two["list"].append({"again": two})
    branching: list[Any] = []
    branching.extend([branching, branching])
    for cycle, path in ((one, "value[0]"), (two, "value.list[2].again"), (branching, "value[0]")):
        with pytest.raises(InvalidValue, match="contains itself") as caught:
            encode(cycle)
        assert caught.value.path == path


def test_r07_the_same_object_twice_is_no_cycle() -> None:
    shared = {"a": [2**70]}
    assert values.decode(encode([shared, shared, [shared]]), "k") == [shared, shared, [shared]]


def test_r07_a_long_key_is_cut_in_the_path() -> None:
    with pytest.raises(InvalidValue) as caught:
        encode({"x" * 10_000: {"y z" * 5000: {1}}})
    assert len(str(caught.value)) < 400


def test_r07_a_lowered_limit_of_digits_is_no_other_error() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(InvalidValue, match="640"):
            encode(10**3000)
    finally:
        sys.set_int_max_str_digits(before)
