"""Patterns: R3."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.errors import InvalidPattern
from agentmem.keys import ANY, MAX_PATTERN_BYTES, ONE, Pattern, Token, escape

ALPHABET = "ab/\\*?[]^_%.{}\né\U0001f600"
KEYS = st.text(st.sampled_from(ALPHABET), max_size=8)
TEXTS = st.lists(
    st.sampled_from([*"ab/*?[]^_%.{}\né\U0001f600", "\\*", "\\?", "\\\\", "\\a"]), min_size=1, max_size=7
).map("".join)


def model(pattern: str, key: str) -> bool:
    """The definition of R3, tried out character by character."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        return any(model(rest, key[start:]) for start in range(len(key) + 1))
    if first == "?":
        return key != "" and model(rest, key[1:])
    if first == "\\":
        first, rest = rest[0], rest[1:]
    return key[:1] == first and model(rest, key[1:])


@given(TEXTS, KEYS)
def test_r03_matching_agrees_with_the_definition(text: str, key: str) -> None:
    assert Pattern.parse(text).matches(key) == model(text, key)


@given(st.text(st.sampled_from("ab*?"), min_size=1, max_size=8), st.text(st.sampled_from("ab"), max_size=8))
def test_r03_dense_wildcards_agree_with_the_definition(text: str, key: str) -> None:
    assert Pattern.parse(text).matches(key) == model(text, key)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("*", "", True),
        ("*", "a/b", True),
        ("a*", "a/b/c", True),
        ("a/?", "a/b", True),
        ("a/?", "a/", False),
        ("a/?", "a/bc", False),
        ("?", "é", True),
        ("?", "\U0001f600", True),
        ("?", "e\u0301", False),
        ("?", "\n", True),
        ("a*z", "a\nz", True),
        ("john_doe", "john-doe", False),
        ("a%", "abc", False),
        ("x[1]", "x1", False),
        ("x[1]", "x[1]", True),
        ("[ab]", "a", False),
        ("{a,b}", "a", False),
        ("^a", "a", False),
        ("a.c", "abc", False),
        ("A", "a", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("\\?", "?", True),
        ("\\\\", "\\", True),
        ("\\a", "a", True),
        ("a\\\\*", "a\\b", True),
        ("ab", "abc", False),
        ("ab\n", "ab", False),
        ("ab", "ab\n", False),
        ("*b", "ab\n", False),
    ],
)
def test_r03_cases(text: str, key: str, expected: bool) -> None:
    assert Pattern.parse(text).matches(key) is expected


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("*", (ANY,)),
        ("***", (ANY,)),
        ("ab*?c", ("ab", ANY, ONE, "c")),
        ("a\\*b", ("a*b",)),
        ("?*?*", (ONE, ANY, ONE, ANY)),
        ("\\\\", ("\\",)),
    ],
)
def test_r03_tokens_join_literals_and_collapse_runs(text: str, tokens: tuple[Token, ...]) -> None:
    assert Pattern.parse(text).tokens == tokens


@pytest.mark.parametrize(
    ("text", "prefix", "is_literal", "is_prefix"),
    [
        ("*", "", False, True),
        ("a/b", "a/b", True, False),
        ("a/*", "a/", False, True),
        ("a/**", "a/", False, True),
        ("a\\*/*", "a*/", False, True),
        ("a/?", "a/", False, False),
        ("a*b", "a", False, False),
        ("*a", "", False, False),
        ("?", "", False, False),
        ("?*", "", False, False),
        ("**a*", "", False, False),
    ],
)
def test_r03_prefix_and_kinds(text: str, prefix: str, is_literal: bool, is_prefix: bool) -> None:
    pattern = Pattern.parse(text)
    assert (pattern.prefix, pattern.is_literal, pattern.is_prefix) == (prefix, is_literal, is_prefix)


@given(TEXTS, KEYS)
def test_r03_every_key_that_matches_begins_with_the_prefix(text: str, key: str) -> None:
    pattern = Pattern.parse(text)
    assert key.startswith(pattern.prefix) or not pattern.matches(key)


@given(KEYS.filter(bool), KEYS)
def test_r03_escape_matches_its_text_and_nothing_else(text: str, other: str) -> None:
    pattern = Pattern.parse(escape(text))
    assert pattern.is_literal
    assert pattern.matches(text)
    assert pattern.matches(other) == (other == text)


@given(KEYS, KEYS)
def test_r03_under_takes_the_prefix_literally(prefix: str, key: str) -> None:
    pattern = Pattern.under(prefix)
    assert pattern.is_prefix
    assert pattern.prefix == prefix
    assert pattern.matches(key) == key.startswith(prefix)
    assert pattern == Pattern.parse(pattern.text)
    assert pattern.tokens == Pattern.parse(pattern.text).tokens


@given(TEXTS, KEYS, KEYS)
def test_r03_prefixed_matches_the_remainder(text: str, prefix: str, key: str) -> None:
    pattern = Pattern.parse(text).prefixed(prefix)
    assert pattern.matches(prefix + key) == model(text, key)
    assert not pattern.matches(key) or key.startswith(prefix)
    assert pattern.tokens == Pattern.parse(pattern.text).tokens
    assert pattern.prefix.startswith(prefix)


def test_r03_prefixed_by_nothing_is_the_same() -> None:
    pattern = Pattern.parse("a*")
    assert pattern.prefixed("") is pattern


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\\", "backslash"),
        ("a\\", "backslash"),
        ("a\\\\\\", "backslash"),
        ("a\0", "NUL"),
        ("\ud800", "surrogate"),
        ("a" * (MAX_PATTERN_BYTES + 1), "4,097 bytes"),
        ("é" * (MAX_PATTERN_BYTES // 2 + 1), "4,098 bytes"),
        (b"a", "bytes"),
        (None, "NoneType"),
    ],
)
def test_r03_what_is_no_pattern_is_refused_with_the_reason(text: Any, reason: str) -> None:
    with pytest.raises(InvalidPattern, match=reason) as caught:
        Pattern.parse(text)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 250


def test_r03_the_longest_pattern_works() -> None:
    assert Pattern.parse("a*" * (MAX_PATTERN_BYTES // 2)).matches("a" * (MAX_PATTERN_BYTES // 2))


def test_r03_no_pattern_backtracks_exponentially() -> None:
    began = time.perf_counter()
    assert not Pattern.parse("*a" * 30 + "*b").matches("a" * 1024)
    assert not Pattern.parse("*a?" * 30 + "b").matches("a" * 1024)
    assert not Pattern.parse("?*" * 200 + "b").matches("a" * 1024)
    assert time.perf_counter() - began < 30  # an exponential search would outlive the universe


def test_r03_patterns_are_values() -> None:
    assert Pattern.parse("a*") == Pattern.parse("a*")
    assert len({Pattern.parse("a*"), Pattern.parse("a*"), Pattern.parse("a?")}) == 2
    again = copy.deepcopy(Pattern.parse("a\\*?*"))
    assert again == Pattern.parse("a\\*?*")
    assert again.matches("a*bc")
    with pytest.raises(AttributeError):
        again.text = "b"  # type: ignore[misc]  # that is the point
