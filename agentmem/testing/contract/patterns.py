"""R3: what a pattern matches. The same meaning for search, count and delete_matching; prefixes are always literal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.keys import NASTY_KEYS

if TYPE_CHECKING:
    from agentmem.memory import Memory

#: Signs that mean something to LIKE, to a glob, to a regular expression or to a query parameter.
LITERAL_SIGNS = tuple("_%[]{}^.+()|$#-!~'\"`:;,@&=<> ")

PATTERNS = (
    "*",
    "**",
    "?",
    "??",
    "?*",
    "*?*",
    "a*",
    "*a",
    "*a*",
    "a?b",
    "a??",
    "*/*",
    "x[1]*",
    "x[1]/?",
    "x?/a",
    "john_doe",
    "john?doe",
    "john%*",
    "{*}",
    "*:*",
    "\\*",
    "a\\*",
    "a\\?",
    "a\\\\",
    "\\\\\\*",
    "\\a",
    "*\\*",
    "[a-z]*",
    "^*",
    "*$",
    "e?",
    "*\u0301",
    "\\😀",
    "[!a]",
    "absent",
    "*absent*",
)


def matches(pattern: str, key: str) -> bool:
    """The contract's sentence on patterns, as a regular expression."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    translated = {"*": ".*", "?": "."}
    expression = "".join(translated.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.fullmatch(expression, key, re.DOTALL) is not None


def found(memory: Memory, pattern: str) -> list[str]:
    """The keys of a search, in its order."""
    return [entry.key for entry in memory.search(pattern, limit=1000)]


class Patterns(Contract):
    r"""`*`, `?` and `\` have a meaning, everything else is literal."""

    @pytest.fixture
    def nasty(self, memory: Memory) -> Memory:
        """The memory with one entry at each nasty key."""
        memory.put_many(dict.fromkeys(NASTY_KEYS, 0))
        return memory

    def test_r03_every_pattern_finds_what_the_sentence_says(self, nasty: Memory) -> None:
        expected = {pattern: sorted(k for k in NASTY_KEYS if matches(pattern, k)) for pattern in PATTERNS}
        assert {pattern: found(nasty, pattern) for pattern in PATTERNS} == expected

    def test_r03_count_agrees_with_search(self, nasty: Memory) -> None:
        expected = {pattern: sum(matches(pattern, k) for k in NASTY_KEYS) for pattern in PATTERNS}
        assert {pattern: nasty.count(pattern) for pattern in PATTERNS} == expected

    def test_r03_every_key_escaped_finds_itself_alone(self, nasty: Memory) -> None:
        escaped = {key: re.sub(r"([*?\\])", r"\\\1", key) for key in NASTY_KEYS}
        assert {key: found(nasty, pattern) for key, pattern in escaped.items()} == {key: [key] for key in NASTY_KEYS}

    def test_r03_delete_matching_removes_what_search_finds(self, memory: Memory) -> None:
        for pattern in PATTERNS:
            memory.put_many(dict.fromkeys(NASTY_KEYS, 0))
            doomed = {key for key in NASTY_KEYS if matches(pattern, key)}
            assert memory.delete_matching(pattern) == len(doomed), pattern
            assert set(memory.keys()) == set(NASTY_KEYS) - doomed, pattern

    @pytest.mark.parametrize("sign", LITERAL_SIGNS)
    def test_r03_a_sign_is_literal(self, memory: Memory, sign: str) -> None:
        memory.put_many(dict.fromkeys([f"a{sign}b", "aXb", "ab", "aXXb", "a", "b"], 0))
        assert found(memory, f"a{sign}b") == [f"a{sign}b"]
        assert found(memory, f"a{sign}*") == [f"a{sign}b"]
        assert found(memory, f"*{sign}?") == [f"a{sign}b"]
        assert list(memory.keys(f"a{sign}")) == [f"a{sign}b"]

    def test_r03_pitfall_john_doe_does_not_read_john_dash_doe(self, memory: Memory) -> None:
        memory.put_many({"users/john_doe/mail": 1, "users/john-doe/mail": 2})
        assert found(memory, "users/john_doe/*") == ["users/john_doe/mail"]
        assert list(memory.keys("users/john_doe/")) == ["users/john_doe/mail"]
        assert memory.delete_matching("users/john_doe/*") == 1
        assert memory.get("users/john-doe/mail") == 2

    def test_r03_pitfall_a_class_in_a_prefix_is_literal(self, memory: Memory) -> None:
        memory.put_many({"aqe/x[1]/a": 1, "aqe/x1/a": 2, "aqe/x[1]/b": 3})
        assert list(memory.keys("aqe/x[1]/")) == ["aqe/x[1]/a", "aqe/x[1]/b"]
        assert found(memory, "aqe/x[1]/*") == ["aqe/x[1]/a", "aqe/x[1]/b"]
        assert memory.children("aqe/x[1]/") == ["aqe/x[1]/a", "aqe/x[1]/b"]

    def test_r03_pitfall_a_level_is_no_prefix_of_a_longer_name(self, memory: Memory) -> None:
        memory.put_many({"foo/a": 1, "foobar/a": 2})
        assert list(memory.keys("foo/")) == ["foo/a"]
        assert memory.scoped("foo/").count() == 1

    def test_r03_star_crosses_levels_and_lines(self, memory: Memory) -> None:
        memory.put_many({"a/b/c/d": 1, "a\nb": 2, "a": 3})
        assert found(memory, "a*") == ["a", "a\nb", "a/b/c/d"]
        assert found(memory, "a*d") == ["a/b/c/d"]
        assert found(memory, "a?b") == ["a\nb"]

    def test_r03_question_mark_is_one_character_not_one_byte(self, memory: Memory) -> None:
        memory.put_many(dict.fromkeys(["ab", "aéb", "a😀b", "a\uffffb", "ae\u0301b", "a/b", "aééb"], 0))
        assert found(memory, "a?b") == sorted(["aéb", "a😀b", "a\uffffb", "a/b"])
        assert found(memory, "a??b") == sorted(["ae\u0301b", "aééb"])

    def test_r03_prefixes_are_literal(self, memory: Memory) -> None:
        keys = ["a*b", "a?b", "a\\b", "a_b", "a%b", "aXb"]
        memory.put_many(dict.fromkeys(keys, 0))
        for key in keys:
            assert list(memory.keys(key[:2])) == [key]
            assert [entry.key for entry in memory.items(key[:2])] == [key]
            assert memory.children(key[:2]) == [key]

    def test_r03_patterns_fold_no_case(self, memory: Memory) -> None:
        memory.put_many({"Plan/A": 1, "plan/a": 2, "ÉA": 3, "éa": 4})
        assert found(memory, "plan/*") == ["plan/a"]
        assert found(memory, "*A") == ["Plan/A", "ÉA"]
        assert list(memory.keys("É")) == ["ÉA"]

    def test_r03_many_stars_do_not_take_for_ever(self, memory: Memory) -> None:
        memory.put_many({"a" * 1000: 1, "a" * 999 + "b": 2})
        assert found(memory, "*a" * 8 + "*b") == ["a" * 999 + "b"]
        assert memory.count("a*" * 12 + "c") == 0
