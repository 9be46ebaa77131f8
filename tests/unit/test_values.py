"""The JSON codec: R6 to R10."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentmem import values
from agentmem.errors import CorruptEntry, InvalidValue, ValueTooLarge

MIB = 1024 * 1024
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
HUGE = st.builds(lambda sign, digits: sign * 10**digits + 7, st.sampled_from([1, -1]), st.integers(19, 3999))
SCALARS = st.none() | st.booleans() | st.integers() | HUGE | FLOATS | TEXT
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5))


def encode(value: Any) -> str:
    return values.encode(value, max_bytes=MIB)


def exactly(value: Any) -> Any:
    """A form in which equal means: same types, same bits, same order of keys."""
    if type(value) is float:
        return struct.pack(">d", value)
    if type(value) is dict:
        return ["dict", [(key, exactly(item)) for key, item in value.items()]]
    if type(value) is list:
        return ["list", [exactly(item) for item in value]]
    return type(value).__name__, value


@given(TREES)
@example([-0.0, 0.0, 5e-324, 1e22, 1e23, 1.7976931348623157e308, 0.1, 1e16, 123456789012345680.0])
@example([2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**4000 - 1, -(10**4000) + 1])
@example({"b": 1, "a": 2, "\0": "\0\\u0000\\", "": None, "\u2028": "\x7f\ud7ff\ue000\U0010ffff"})
def test_r06_what_is_put_is_what_is_got(value: Any) -> None:
    text = encode(value)
    assert exactly(values.decode(text, "k")) == exactly(value)
    assert exactly(values.decode(text.encode(), "k")) == exactly(value)
    assert exactly(json.loads(text)) == exactly(value)


@given(FLOATS)
def test_r06_floats_keep_every_bit(number: float) -> None:
    assert exactly(values.decode(encode(number), "k")) == exactly(number)
    assert exactly(values.decode(encode([number, 2**64]), "k")) == exactly([number, 2**64])


def test_r06_what_is_read_is_a_copy() -> None:
    value = {"a": [1]}
    text = encode(value)
    values.decode(text, "k")["a"].append(2)
    assert values.decode(text, "k") == value == {"a": [1]}


def test_r07_tuples_become_lists() -> None:
    assert values.decode(encode((1, (), {"a": (2, 2**70)})), "k") == [1, [], {"a": [2, 2**70]}]


def test_r08_the_limit_counts_bytes_of_the_text() -> None:
    assert values.encode("é" * 4, max_bytes=10) == '"éééé"'
    with pytest.raises(ValueTooLarge, match="the value is 12 bytes, the limit is 11 bytes") as caught:
        values.encode("é" * 5, max_bytes=11)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (12, 11)
    with pytest.raises(ValueTooLarge):
        values.encode([2**64] * 10, max_bytes=100)


def test_r07_errors_begin_at_the_root_that_was_named() -> None:
    with pytest.raises(InvalidValue) as caught:
        values.encode([1, {2}], max_bytes=MIB, root="items")
    assert caught.value.path == "items[1]"


def test_r08_metadata_is_an_object_of_16_kib() -> None:
    assert values.encode_metadata(None) is None
    assert values.encode_metadata({}) is None
    assert values.encode_metadata({"owner": "é"}) == '{"owner":"é"}'
    assert values.encode_metadata({"a": "x" * (16 * 1024 - 8)})
    with pytest.raises(ValueTooLarge, match="the metadata is 16,385 bytes, the limit is 16,384 bytes"):
        values.encode_metadata({"a": "x" * (16 * 1024 - 7)})


@pytest.mark.parametrize("bad", [[], "a", 1, False, [("a", 1)], OrderedDict(), MappingProxyType({})])
def test_r08_other_metadata_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        values.encode_metadata(bad)
    assert caught.value.path == "metadata"


def test_r08_metadata_names_the_path_of_its_offender() -> None:
    with pytest.raises(InvalidValue) as caught:
        values.encode_metadata({"a": {1: 2}})
    assert caught.value.path == "metadata.a"


def test_r08_metadata_comes_back_as_a_new_dict() -> None:
    assert values.decode_metadata(None, "k") == {}
    assert values.decode_metadata('{"a":[1]}', "k") == {"a": [1]}
    for text in ("[]", "1", "null", "{", ""):
        with pytest.raises(CorruptEntry) as caught:
            values.decode_metadata(text, "k")
        assert caught.value.key == "k"


def test_r09_null_is_a_value() -> None:
    assert encode(None) == "null"
    assert values.decode("null", "k") is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        " ",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "[1,]",
        "{'a':1}",
        "{1:2}",
        '"\\ud800"',
        '"\ud800"',
        '"\n"',
        "01",
        "1 2",
        "\ufeff1",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\x80\x04K\x01.",
        "1" * 5000,
        "[" * 5000,
        "[" * 2000 + "]" * 2000,
        5,
    ],
)
def test_r10_what_cannot_be_decoded_is_corrupt(body: Any) -> None:
    with pytest.raises(CorruptEntry, match=r"the entry 'a/b' cannot be decoded: .+") as caught:
        values.decode(body, "a/b")
    assert caught.value.key == "a/b"
    assert body is None or caught.value.__cause__ is not None


def test_r10_a_callers_deep_stack_does_not_make_an_entry_corrupt() -> None:
    text = "[" * 100 + "]" * 100

    def descend() -> None:
        values.decode(text, "k")
        descend()

    with pytest.raises(RecursionError):
        descend()


class Celsius:
    """A codec whose objects are strings of degrees."""

    def to_json(self, value: Any) -> Any:
        if value == "cold":
            raise LookupError("too cold")
        if value == "hot":
            raise InvalidValue("value.degrees", "too hot")
        return {"degrees": value}

    def from_json(self, tree: Any) -> Any:
        return tree["degrees"]


def test_r07_a_codec_translates_both_ways() -> None:
    text = values.encode("12", max_bytes=MIB, codec=Celsius())
    assert text == '{"degrees":"12"}'
    assert values.decode(text, "k", Celsius()) == "12"
    with pytest.raises(InvalidValue) as caught:
        values.encode({1}, max_bytes=MIB, codec=Celsius())
    assert caught.value.path == "value.degrees"


def test_r07_a_codecs_errors_are_translated() -> None:
    with pytest.raises(InvalidValue, match="value: the codec refuses it: too cold") as refused:
        values.encode("cold", max_bytes=MIB, codec=Celsius())
    assert isinstance(refused.value.__cause__, LookupError)
    with pytest.raises(InvalidValue, match=r"^value\.degrees: too hot$"):
        values.encode("hot", max_bytes=MIB, codec=Celsius())
    with pytest.raises(CorruptEntry, match="the codec refuses it") as corrupt:
        values.decode("{}", "k", Celsius())
    assert isinstance(corrupt.value.__cause__, KeyError)
