"""R1, R2, R5: which keys and names there are, that they stay apart, and how they sort."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

from agentmem.testing.contract.base import Contract

if TYPE_CHECKING:
    from agentmem.memory import Memory

#: Keys that have been confused with one another, or refused, by systems that do this job.
NASTY_KEYS = (
    "a",
    "A",
    " a",
    "a ",
    "a/",
    "/a",
    "//",
    "a//b",
    "a\nb",
    "a\tb",
    "\x01",
    "\x7f",
    "john_doe",
    "john-doe",
    "john%doe",
    "x[1]/a",
    "x1/a",
    "{a}",
    "a:b",
    ":a",
    "a*",
    "a?",
    "a\\",
    "\\*",
    "a^b",
    "a'b",
    'a"b',
    "a;--",
    "$1",
    "%s",
    ":name",
    "é",
    "e\u0301",
    "ß",
    "ss",
    "\u0130",
    "i",
    "ﬁ",
    "😀",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\U0010ffff",
    "null",
    "0",
    "00",
    "@version",
    "__proto__",
)

#: Names of partitions and keys whose joined forms would be equal if a separator were not escaped.
NASTY_NAMES = ("x", "x:", ":x", "x:a", "{x}", "{x", "x}", "x/", "x*", "x?", "x y", "x%", "x_", "X", "é", "e\u0301")


def incompressible(size_bytes: int) -> str:
    """A text of that many bytes in which a page compressor finds nothing to save."""
    digest = hashlib.shake_256(b"agentmem").hexdigest(size_bytes)
    return digest[:size_bytes]


class Keys(Contract):
    """Keys and names are opaque text, compared by bytes and sorted by code point."""

    def test_r01_every_key_is_stored_apart_from_every_other(self, memory: Memory) -> None:
        for number, key in enumerate(NASTY_KEYS):
            memory.put(key, number, if_absent=True)
        assert memory.get_many(NASTY_KEYS) == {key: number for number, key in enumerate(NASTY_KEYS)}
        assert [memory.get(key) for key in NASTY_KEYS] == list(range(len(NASTY_KEYS)))
        assert set(memory.keys()) == set(NASTY_KEYS)
        assert memory.count() == len(NASTY_KEYS)

    def test_r01_every_key_is_deleted_alone(self, memory: Memory) -> None:
        memory.put_many(dict.fromkeys(NASTY_KEYS, 1))
        left = set(NASTY_KEYS)
        for key in NASTY_KEYS:
            assert memory.delete(key)
            left.remove(key)
            assert set(memory.keys()) == left

    def test_r01_composed_and_decomposed_are_two_keys(self, memory: Memory) -> None:
        memory.put("caf\u00e9", "composed")
        assert memory.get("cafe\u0301") is None
        memory.put("cafe\u0301", "decomposed")
        assert (memory.get("caf\u00e9"), memory.get("cafe\u0301")) == ("composed", "decomposed")

    def test_r01_case_is_not_folded(self, memory: Memory) -> None:
        memory.put("Plan", 1)
        assert not memory.exists("plan")
        assert memory.count("plan") == 0
        assert list(memory.keys("pl")) == []

    def test_r01_a_key_of_1024_incompressible_bytes(self, memory: Memory) -> None:
        key = incompressible(1024)
        assert len(key.encode()) == 1024
        memory.put(key, 1)
        memory.put(key[:-1] + "~", 2)
        assert (memory.get(key), memory.get(key[:-1] + "~")) == (1, 2)
        assert [entry.key for entry in memory.search(key[:1000] + "*")] == sorted([key, key[:-1] + "~"])
        assert memory.delete(key)
        assert list(memory.keys()) == [key[:-1] + "~"]

    def test_r01_the_limit_counts_bytes_not_characters(self, memory: Memory) -> None:
        keys = ["é" * 512, "😀" * 256, "\uffff" * 341 + "x"]
        memory.put_many({key: key[0] for key in keys})
        assert memory.get_many(keys) == {key: key[0] for key in keys}
        assert list(memory.keys()) == sorted(keys)

    def test_r02_keys_sort_by_code_point(self, memory: Memory) -> None:
        shuffled = list(NASTY_KEYS)
        random.Random(2).shuffle(shuffled)  # noqa: S311 - an order that is the same in each run
        memory.put_many(dict.fromkeys(shuffled, 0))
        assert list(memory.keys()) == sorted(NASTY_KEYS)
        assert [entry.key for entry in memory.items()] == sorted(NASTY_KEYS)
        assert [entry.key for entry in memory.search(limit=1000)] == sorted(NASTY_KEYS)
        descending = memory.search(descending=True, limit=1000)
        assert [entry.key for entry in descending] == sorted(NASTY_KEYS, reverse=True)

    def test_r02_beyond_the_basic_plane_sorts_last(self, memory: Memory) -> None:
        # UTF-16 would sort the emoji, a surrogate pair there, before U+E000 to U+FFFF.
        memory.put_many({"\uffff": 1, "😀": 2, "\ue000": 3, "z": 4, "\ufffd": 5})
        assert list(memory.keys()) == ["z", "\ue000", "\ufffd", "\uffff", "😀"]

    def test_r02_no_locale_sorts(self, memory: Memory) -> None:
        # Every dictionary order would put a beside A and skip the signs.
        memory.put_many(dict.fromkeys(["b", "B", "a", "A", "a-c", "ab", "_", "-", "é", "f"], 0))
        assert list(memory.keys()) == ["-", "A", "B", "_", "a", "a-c", "ab", "b", "f", "é"]

    def test_r05_names_and_keys_never_collide(self, memory: Memory) -> None:
        handles = {name: memory.partition(name) for name in NASTY_NAMES}
        pairs = [(name, key) for name in NASTY_NAMES for key in (":a", "a", "a:a", "x:a", "}", "{x}:a", "/a", "*")]
        for number, (name, key) in enumerate(pairs):
            handles[name].put(key, number, if_absent=True)
        assert [handles[name].get(key) for name, key in pairs] == list(range(len(pairs)))
        assert {name: handle.count() for name, handle in handles.items()} == dict.fromkeys(NASTY_NAMES, 8)
        assert dict(memory.stats().partitions).items() >= dict.fromkeys(NASTY_NAMES, 8).items()

    def test_r05_pitfall_a_separator_moved_between_name_and_key(self, memory: Memory) -> None:
        memory.partition("x").put(":a", 1)
        assert memory.partition("x:").get("a") is None
        memory.partition("x:").put("a", 2)
        assert (memory.partition("x").get(":a"), memory.partition("x:").get("a")) == (1, 2)

    def test_r05_clear_spares_siblings(self, memory: Memory) -> None:
        handles = {name: memory.partition(name) for name in NASTY_NAMES}
        for handle in handles.values():
            handle.put_many({"a": 1, "b": 2})
        for number, name in enumerate(NASTY_NAMES, 1):
            assert handles[name].clear() == 2
            assert sum(handle.count() for handle in handles.values()) == 2 * (len(NASTY_NAMES) - number)

    def test_r05_the_same_key_in_another_partition_is_another_entry(self, memory: Memory) -> None:
        other = memory.partition("other")
        first = memory.put("key", "here")
        other.put("key", "there", ttl=3600, metadata={"m": 1})
        assert memory.entry("key") == first
        assert other.delete("key")
        assert memory.entry("key") == first
        assert other.increment("key") == 1
        assert memory.get("key") == "here"

    def test_r05_a_name_of_128_bytes(self, memory: Memory) -> None:
        names = [incompressible(128), "é" * 64, "😀" * 32, "a"]
        for name in names:
            memory.partition(name).put("key", name)
        assert [memory.partition(name).get("key") for name in names] == names
        assert {partition.name for partition in memory.partitions()} >= set(names)
