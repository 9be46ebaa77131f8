"""Keys, partition names, prefixes and namespaces: R1, R2, R4, R5."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentmem import keys
from agentmem.errors import InvalidArgument, InvalidKey, NamespaceError

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
VALIDATORS = [keys.validate_key, keys.validate_partition, keys.validate_prefix]


class Name(enum.StrEnum):
    RESULT = "aqe/result"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


@pytest.mark.parametrize(
    "key", ["a", "a/b/c", " ", "/", ":", "{x}", "a*?[]\\", "é", "e\u0301", "\U0001f600", "\n\x7f", "\x01"]
)
def test_r01_any_text_is_a_key(key: str) -> None:
    assert keys.validate_key(key) is key


@given(TEXT.filter(bool))
def test_r01_a_valid_key_is_returned_unchanged(key: str) -> None:
    assert keys.validate_key(key) == key


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("a\0b", "NUL at index 1"),
        ("\0", "NUL at index 0"),
        ("a\ud800", "surrogate at index 1"),
        ("\udc00", "surrogate at index 0"),
        (b"a", "bytes"),
        (None, "NoneType"),
        (1, "int"),
        (("a", "b"), "tuple"),
    ],
)
def test_r01_what_is_no_key_is_refused_with_the_reason(key: Any, reason: str) -> None:
    with pytest.raises(InvalidKey, match=reason):
        keys.validate_key(key)


@pytest.mark.parametrize("letter", ["a", "é", "€", "\U0001f600"])
def test_r01_the_limit_counts_bytes_not_characters(letter: str) -> None:
    width = len(letter.encode())
    longest = letter * (keys.MAX_KEY_BYTES // width)
    longest += "x" * (keys.MAX_KEY_BYTES - len(longest.encode()))
    assert keys.validate_key(longest) == longest
    with pytest.raises(InvalidKey, match="1,025 bytes of UTF-8, the limit is 1,024"):
        keys.validate_key(longest + "x")


def test_r01_the_error_is_a_value_error_and_shows_little_of_a_long_key() -> None:
    with pytest.raises(ValueError, match="the limit is") as caught:
        keys.validate_key("secret" * 10_000)
    assert isinstance(caught.value, InvalidArgument)
    assert str(caught.value).count("secret") <= 80 // len("secret")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("validate", VALIDATORS)
@pytest.mark.parametrize("key", [Name.RESULT, Text("aqe/result")])
def test_r01_a_subclass_of_str_becomes_plain(validate: Callable[[object], str], key: str) -> None:
    plain = validate(key)
    assert type(plain) is str
    assert plain == "aqe/result"


def test_r01_composed_and_decomposed_are_two_keys() -> None:
    assert keys.validate_key("é") != keys.validate_key("e\u0301")


def test_r05_a_partition_name_has_at_most_128_bytes() -> None:
    assert keys.validate_partition("é" * 64) == "é" * 64
    with pytest.raises(InvalidKey, match=r"partition name .* is 129 bytes of UTF-8, the limit is 128"):
        keys.validate_partition("é" * 64 + "x")


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", None, 5])
def test_r05_a_partition_name_obeys_the_rules_of_keys(name: Any) -> None:
    with pytest.raises(InvalidKey, match="partition name"):
        keys.validate_partition(name)


def test_r03_a_prefix_may_be_empty_and_is_otherwise_like_a_key() -> None:
    assert keys.validate_prefix("") == ""
    assert keys.validate_prefix("aqe/x[1]*") == "aqe/x[1]*"
    for bad in ("\0", "\ud800", "x" * 1025, None):
        with pytest.raises(InvalidKey, match="prefix"):
            keys.validate_prefix(bad)


@pytest.mark.parametrize(("key", "namespace"), [("aqe/x", "aqe/"), ("aqe/", "aqe/"), ("x", None), ("x", "")])
def test_r04_a_key_in_its_namespace_passes(key: str, namespace: str | None) -> None:
    keys.check_namespace(key, namespace)
    assert namespace is None or key.startswith(namespace)


@pytest.mark.parametrize("key", ["x", "aqe", "Aqe/x", "/aqe/x", "aqe_x"])
def test_r04_a_key_outside_of_its_namespace_is_refused(key: str) -> None:
    with pytest.raises(NamespaceError) as caught:
        keys.check_namespace(key, "aqe/")
    assert isinstance(caught.value, ValueError)
    assert (caught.value.key, caught.value.namespace) == (key, "aqe/")
    assert repr(key) in str(caught.value)
    assert "'aqe/'" in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "bound"),
    [
        ("", None),
        ("a", "b"),
        ("a/", "a0"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\U0010ffff\U0010ffff", None),
        ("\ud7ff", "\ue000"),
        ("a\ud7ff\U0010ffff", "a\ue000"),
        ("\uffff", "\U00010000"),
        ("\x7f", "\x80"),
    ],
)
def test_r02_successor_of_known_prefixes(prefix: str, bound: str | None) -> None:
    assert keys.successor(prefix) == bound


EDGES = st.text(st.sampled_from(["a", "b", "\x01", "\ud7ff", "\ue000", "\uffff", chr(sys.maxunicode)]), max_size=4)


@given(EDGES | TEXT, EDGES | TEXT)
@example("a", "a" + chr(sys.maxunicode) * 3)
def test_r02_the_successor_is_above_exactly_what_begins_with_the_prefix(prefix: str, other: str) -> None:
    bound = keys.successor(prefix)
    for key in (other, prefix + other):
        in_range = prefix <= key and (bound is None or key < bound)
        assert in_range == key.startswith(prefix)


@given(EDGES | TEXT)
def test_r02_the_successor_can_be_encoded_and_sorts_alike_in_bytes(prefix: str) -> None:
    bound = keys.successor(prefix)
    if bound is not None:
        assert bound.encode() > (prefix + chr(sys.maxunicode) * 3).encode()
