"""Every bad argument of the handle is refused by its documented error, before any I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentmem import (
    UNSET,
    Append,
    Check,
    Delete,
    Increment,
    InvalidArgument,
    InvalidFilter,
    InvalidKey,
    InvalidPattern,
    InvalidTTL,
    InvalidValue,
    Memory,
    Merge,
    NamespaceError,
    Put,
    Touch,
    ValueTooLarge,
)
from tests.unit.dict_repository import DictRepository

Call = Callable[[Any], Any]

#: By name: a call on `Memory(repository, namespace="ns/")` with a limit of 1,000 bytes, and the error it must raise.
REFUSED: dict[str, tuple[type[Exception], Call]] = {
    "get of a number": (InvalidKey, lambda m: m.get(1)),
    "get of nothing": (InvalidKey, lambda m: m.get("")),
    "entry of None": (InvalidKey, lambda m: m.entry(None)),
    "exists with NUL": (InvalidKey, lambda m: m.exists("a\0")),
    "get_many of text": (InvalidArgument, lambda m: m.get_many("abc")),
    "get_many of a number": (InvalidArgument, lambda m: m.get_many(5)),
    "get_many, last key bad": (InvalidKey, lambda m: m.get_many(["a", ""])),
    "delete_many of text": (InvalidArgument, lambda m: m.delete_many("abc")),
    "delete_many, last key bad": (InvalidKey, lambda m: m.delete_many(["a", "\ud800"])),
    "put with a bad value": (InvalidValue, lambda m: m.put("ns/a", {1, 2})),
    "put too large": (ValueTooLarge, lambda m: m.put("ns/a", "x" * 1000)),
    "put with a bad TTL": (InvalidTTL, lambda m: m.put("ns/a", 1, ttl=0)),
    "put with a TTL that no float can hold": (InvalidTTL, lambda m: m.put("ns/a", 1, ttl=10**5000)),
    "put with a TTL of too many milliseconds for a float": (InvalidTTL, lambda m: m.put("ns/a", 1, ttl=1e306)),
    "put with a TTL as far below": (InvalidTTL, lambda m: m.put("ns/a", 1, ttl=-1e306)),
    "put with bad metadata": (InvalidValue, lambda m: m.put("ns/a", 1, metadata={"a": float("nan")})),
    "put with metadata that is text": (InvalidValue, lambda m: m.put("ns/a", 1, metadata="owner")),
    "put outside": (NamespaceError, lambda m: m.put("a", 1)),
    "put if_version=0": (InvalidArgument, lambda m: m.put("ns/a", 1, if_version=0)),
    "put if_version=True": (InvalidArgument, lambda m: m.put("ns/a", 1, if_version=True)),
    "put if_version='1'": (InvalidArgument, lambda m: m.put("ns/a", 1, if_version="1")),
    "put if_version=2**63": (InvalidArgument, lambda m: m.put("ns/a", 1, if_version=2**63)),
    "search limit=2**63": (InvalidArgument, lambda m: m.search(limit=2**63)),
    "put if_absent=1": (InvalidArgument, lambda m: m.put("ns/a", 1, if_absent=1)),
    "put with both": (InvalidArgument, lambda m: m.put("ns/a", 1, if_version=1, if_absent=True)),
    "put_many of pairs": (InvalidArgument, lambda m: m.put_many([("ns/a", 1)])),
    "put_many, last key bad": (InvalidKey, lambda m: m.put_many({"ns/a": 1, "": 2})),
    "put_many, last key outside": (NamespaceError, lambda m: m.put_many({"ns/a": 1, "b": 2})),
    "put_many, last value bad": (InvalidValue, lambda m: m.put_many({"ns/a": 1, "ns/b": object()}, chunk=1)),
    "put_many chunk=0": (InvalidArgument, lambda m: m.put_many({"ns/a": 1}, chunk=0)),
    "put_many with a bad TTL": (InvalidTTL, lambda m: m.put_many({}, ttl=timedelta(0))),
    "delete if_version": (InvalidArgument, lambda m: m.delete("a", if_version=-1)),
    "increment by True": (InvalidArgument, lambda m: m.increment("ns/n", True)),
    "increment by text": (InvalidArgument, lambda m: m.increment("ns/n", "1")),
    "increment by infinity": (InvalidArgument, lambda m: m.increment("ns/n", float("inf"))),
    "increment by 2**63": (InvalidArgument, lambda m: m.increment("ns/n", 2**63)),
    "increment initial": (InvalidArgument, lambda m: m.increment("ns/n", initial=None)),
    "increment outside": (NamespaceError, lambda m: m.increment("n")),
    "append of nothing": (InvalidArgument, lambda m: m.append("ns/l")),
    "append limit=0": (InvalidArgument, lambda m: m.append("ns/l", 1, limit=0)),
    "append of a set": (InvalidValue, lambda m: m.append("ns/l", 1, {2})),
    "append outside": (NamespaceError, lambda m: m.append("l", 1)),
    "merge of a list": (InvalidValue, lambda m: m.merge("ns/o", [1])),
    "merge outside": (NamespaceError, lambda m: m.merge("o", {})),
    "update outside": (NamespaceError, lambda m: m.update("o", str, default=1)),
    "update attempts=0": (InvalidArgument, lambda m: m.update("ns/o", str, attempts=0)),
    "update with a bad default": (InvalidValue, lambda m: m.update("ns/o", str, default={1})),
    "touch with a bad TTL": (InvalidTTL, lambda m: m.touch("a", -1)),
    "touch without a TTL": (InvalidTTL, lambda m: m.touch("a", UNSET)),
    "apply of a command's name": (InvalidArgument, lambda m: m.apply(["put"])),
    "apply of one operation": (InvalidArgument, lambda m: m.apply(Put("ns/a", 1))),
    "apply, last one bad": (InvalidArgument, lambda m: m.apply([Put("ns/a", 1), Append("ns/l")])),
    "apply Check version 0": (InvalidArgument, lambda m: m.apply([Check("a", 0)])),
    "apply Delete": (InvalidKey, lambda m: m.apply([Delete("")])),
    "apply Increment": (InvalidArgument, lambda m: m.apply([Increment("ns/n", by=False)])),
    "apply Merge": (InvalidValue, lambda m: m.apply([Merge("ns/n", {"a": object()})])),
    "apply Touch": (InvalidTTL, lambda m: m.apply([Touch("a", True)])),
    "run attempts": (InvalidArgument, lambda m: m.run(print, attempts=True)),
    "search for nothing": (InvalidPattern, lambda m: m.search("")),
    "search with a bad end": (InvalidPattern, lambda m: m.search("a\\")),
    "search where": (InvalidFilter, lambda m: m.search(where={"a": {"$near": 1}})),
    "search order": (InvalidArgument, lambda m: m.search(order="created")),
    "search descending": (InvalidArgument, lambda m: m.search(descending="no")),
    "search limit=0": (InvalidArgument, lambda m: m.search(limit=0)),
    "search limit=True": (InvalidArgument, lambda m: m.search(limit=True)),
    "search limit=2.0": (InvalidArgument, lambda m: m.search(limit=2.0)),
    "search limit=None": (InvalidArgument, lambda m: m.search(limit=None)),
    "count where": (InvalidFilter, lambda m: m.count(where=[1])),
    "delete_matching": (InvalidPattern, lambda m: m.delete_matching(None)),
    "keys, at the call": (InvalidKey, lambda m: m.keys(None)),
    "keys limit, at the call": (InvalidArgument, lambda m: m.keys(limit=0)),
    "items, at the call": (InvalidKey, lambda m: m.items("\0")),
    "children depth": (InvalidArgument, lambda m: m.children(depth=0)),
    "children prefix": (InvalidKey, lambda m: m.children(7)),
    "purge_expired batch": (InvalidArgument, lambda m: m.purge_expired(batch=0)),
    "purge_expired max_seconds": (InvalidArgument, lambda m: m.purge_expired(max_seconds=-1)),
    "partition name": (InvalidKey, lambda m: m.partition("x" * 129)),
    "partition policy's TTL": (InvalidTTL, lambda m: m.partition("x", default_ttl="1h")),
    "partition policy's namespace": (InvalidKey, lambda m: m.partition("x", namespace=5)),
    "partition policy's description": (InvalidArgument, lambda m: m.partition("x", description="a\0")),
    "partition policy's description, no text": (InvalidArgument, lambda m: m.partition("x", description=5)),
    "partition policy's description, surrogate": (InvalidArgument, lambda m: m.partition("x", description="\udc00")),
    "drop_partition name": (InvalidKey, lambda m: m.drop_partition("")),
    "scoped to nothing": (InvalidKey, lambda m: m.scoped("")),
    "scoped to a number": (InvalidKey, lambda m: m.scoped(1)),
}


@pytest.mark.parametrize(("error", "call"), REFUSED.values(), ids=REFUSED)
def test_refused_by_its_error_before_any_io(error: type[Exception], call: Call) -> None:
    repository = DictRepository(max_value_bytes=1000)
    with pytest.raises(error):
        call(Memory(repository, namespace="ns/"))
    assert not repository.calls


@pytest.mark.parametrize("bad", [{"partition": ""}, {"partition": 5}, {"namespace": "\0"}, {"codec": object()}])
def test_a_handle_refuses_bad_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Memory(DictRepository(), **bad)


def test_r07_an_error_in_put_many_names_the_key() -> None:
    with pytest.raises(InvalidValue) as caught:
        Memory(DictRepository()).scoped("a/").put_many({"good": 1, "bad": {"x": {1}}})
    assert caught.value.path == "value.x"
    assert caught.value.__notes__ == ["This was the value for the key 'bad'."]


def test_r01_a_key_that_only_the_prefix_makes_too_long_shows_no_prefix() -> None:
    scoped = Memory(DictRepository()).scoped("secret" * 100)
    with pytest.raises(InvalidKey, match="1,024") as caught:
        scoped.get("k" * 500)
    assert "secret" not in str(caught.value)


class Colour(enum.StrEnum):
    RED = "red"


def test_r01_a_key_of_a_subclass_of_str_is_that_text() -> None:
    memory = Memory(DictRepository())
    memory.put(Colour.RED, 1)
    assert list(memory.keys()) == ["red"]
    assert memory.get_many([Colour.RED]) == {"red": 1}
