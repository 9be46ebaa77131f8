"""GLOB and LIKE mean what `Pattern.matches` says (R3), and keys come in the order of code points (R2)."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem.keys import Pattern
from agentmem.sql import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

#: What either matcher, a collation, UTF-16 or a careless escape would take for something else.
CHARACTERS = (
    "aAbzZ09 _%*?[]{}^-!.\\/:'\"|#~()+$&,;=@<>\n\t\r\x01\x1f\x7f\x80\xa0éÉß\u0131\u0130\u0301\u07ff\u0800\u200b\u2028"
    "\ud7ff\ue000\ufeff\ufffd\uffff\U00010000😀\U0010ffff"
)
KEYS = sorted(
    {
        *CHARACTERS,
        *(f"a{c}b" for c in CHARACTERS),
        *(f"{c}{c}" for c in CHARACTERS),
        *(
            "abc",
            "a/b/c",
            "a/b",
            "a//b",
            "[abc]",
            "[a]",
            "a]",
            "[!a]",
            "a-z",
            "\\a",
            "a\\",
            "**",
            "%%",
            "e\u0301",
            "a" * 1024,
        ),
    }
)
PATTERNS = [
    "*", "?", "??", "???", "a*", "*b", "a*b", "a?b", "*?*", "?*?",
    "[*", "*]", "[abc]", "[a]", "[!a]", "[^a]", "a]", "[]", "{a,b}", r"\[a\]",
    "%", "_", "a%", "a_b", "%*", "*%*", "*_*", "*'*", '*"*', "*:*", "*;*", "*--*",
    r"\*", r"\?", r"a\*b", r"a\?b", r"\\", r"*\\*", r"a\\*", r"\a\b",
    "a/*", "a/?", "a/*/*", "*/*", "a//*", "A*", "\n*", "*\n*", "?\n", "*\x01*", "*\x7f",
    "é*", "É*", "*é*", "e\u0301", "?\u0301", "😀*", "*😀", "\uffff*", "\U0010ffff*", "\ud7ff*",
    "a" * 1024, "a" * 1023 + "?", "a*" * 500,
]  # fmt: skip

partition_names = (f"example {number}" for number in itertools.count())


@pytest.fixture(scope="module")
def stores(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Memory, Memory]]:
    """SQLite and PostgreSQL, with KEYS in the default partition."""
    url = postgres_server.new_database()
    migrations.upgrade(url)
    sqlite_url = f"sqlite:///{tmp_path_factory.mktemp('patterns') / 'memory.db'}"
    with agentmem.connect(sqlite_url) as sqlite, agentmem.connect(url) as postgres:
        for memory in (sqlite, postgres):
            memory.put_many(dict.fromkeys(KEYS, 0))
        yield sqlite, postgres
    postgres_server.drop_database(url)


def assert_agreement(memory: Memory, pattern: str, stored: list[str]) -> None:
    """Assert that a search, forwards and backwards, a count and a removal see what the pattern matches."""
    parsed = Pattern.parse(pattern)
    expected = [key for key in stored if parsed.matches(key)]
    assert [entry.key for entry in memory.search(pattern, limit=1000)] == expected
    assert [entry.key for entry in memory.search(pattern, limit=1000, descending=True)] == expected[::-1]
    assert memory.count(pattern) == len(expected)


@pytest.mark.parametrize("pattern", PATTERNS, ids=ascii)
def test_patterns_of_every_kind(stores: tuple[Memory, Memory], pattern: str) -> None:
    for memory in stores:
        assert_agreement(memory, pattern, KEYS)


def test_each_character_is_literal_or_one(stores: tuple[Memory, Memory]) -> None:
    for memory, character in itertools.product(stores, CHARACTERS):
        assert memory.count(f"a\\{character}b") == 1
        assert memory.count(f"\\{character}\\{character}") == 1


def test_keys_come_by_code_point(stores: tuple[Memory, Memory]) -> None:
    for memory in stores:
        assert list(memory.keys()) == KEYS
        page, walked = memory.search(limit=7, descending=True), []
        while True:
            walked += [entry.key for entry in page]
            if page.cursor is None:
                break
            page = memory.search(limit=7, descending=True, cursor=page.cursor)
        assert walked == KEYS[::-1]


@pytest.mark.parametrize(
    "prefix",
    ["", "a", "[", "%", "\\", "*", "é", "\ud7ff", "\uffff", "😀", "\U0010ffff", "a\U0010ffff", "\x01"],
    ids=ascii,
)
def test_a_prefix_is_a_range(stores: tuple[Memory, Memory], prefix: str) -> None:
    for memory in stores:
        assert list(memory.keys(prefix)) == [key for key in KEYS if key.startswith(prefix)]


def test_a_removal_removes_what_a_search_finds(stores: tuple[Memory, Memory]) -> None:
    for memory, pattern in itertools.product(stores, ["a?b", "[*", "*\\**", "*_*", "*😀*", "??"]):
        own = memory.partition(next(partition_names))
        own.put_many(dict.fromkeys(KEYS, 0))
        matched = {entry.key for entry in own.search(pattern, limit=1000)}
        assert own.delete_matching(pattern) == len(matched)
        assert set(own.keys()) == set(KEYS) - matched


few = st.sampled_from("aAb*?[]%_\\/é😀\n^")
keys = st.text(few, min_size=1, max_size=8)
patterns = st.one_of(
    st.text(few, min_size=1, max_size=8),
    st.lists(
        st.sampled_from(["*", "?", "a", "b", "[", "]", "\\*", "\\\\", "%", "_", "é", "😀"]), min_size=1, max_size=8
    ).map("".join),
).filter(lambda text: (len(text) - len(text.rstrip("\\"))) % 2 == 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=st.sets(keys, min_size=1, max_size=12), wanted=st.lists(patterns, min_size=1, max_size=8))
def test_random_patterns_mean_the_same(stores: tuple[Memory, Memory], stored: set[str], wanted: list[str]) -> None:
    for memory in stores:
        own = memory.partition(next(partition_names))
        own.put_many(dict.fromkeys(stored, 0))
        for pattern in wanted:
            assert_agreement(own, pattern, sorted(stored))


@pytest.mark.parametrize(
    "pattern", ["*a" * 500 + "b", "*a?" * 500 + "b*", "*?" * 500 + "b", "*a*" * 700 + "b"], ids=["a", "b", "c", "d"]
)
def test_no_pattern_takes_for_ever(stores: tuple[Memory, Memory], pattern: str) -> None:
    """A matcher that backtracks would need longer than the age of the universe for one of these."""
    begin = time.monotonic()
    for memory in stores:
        assert memory.count(pattern) == 0
    assert time.monotonic() - begin < 20
