"""R29 as a table: calls with a bad argument, and the error that each must raise before any I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem import errors
from agentmem.operations import Append, Check, Delete, Increment, Merge, Put, Touch
from agentmem.testing.contract import refused
from agentmem.ttl import UNSET

if TYPE_CHECKING:
    from agentmem.memory import Memory

Call = Callable[["Memory", Any], Any]


class Row(NamedTuple):
    """One bad argument in one call."""

    kind: str
    name: str
    error: type[errors.AgentMemError]
    call: Callable[[Memory], Any]


KEY_CALLS: dict[str, Call] = {
    "get": lambda m, key: m.get(key),
    "entry": lambda m, key: m.entry(key),
    "exists": lambda m, key: m.exists(key),
    "put": lambda m, key: m.put(key, 1),
    "delete": lambda m, key: m.delete(key),
    "pop": lambda m, key: m.pop(key),
    "increment": lambda m, key: m.increment(key),
    "append": lambda m, key: m.append(key, 1),
    "merge": lambda m, key: m.merge(key, {"a": 1}),
    "update": lambda m, key: m.update(key, lambda value: value, default=1),
    "touch": lambda m, key: m.touch(key, 60),
    "get_many": lambda m, key: m.get_many(["text", key]),
    "delete_many": lambda m, key: m.delete_many(["text", key]),
    "put_many": lambda m, key: m.put_many({"text": 1, key: 2}),
    "load": lambda m, key: m.load([("new", 1), (key, 2)]),
    "tx.get": lambda m, key: m.run(lambda tx: tx.get(key)),
    "tx.put": lambda m, key: m.run(lambda tx: tx.put(key, 1)),
} | {
    f"apply {kind.__name__}": lambda m, key, kind=kind, rest=rest: m.apply([Put("text", 1), kind(key, *rest)])
    for kind, rest in (
        (Put, (1,)),
        (Delete, ()),
        (Increment, ()),
        (Append, (1,)),
        (Merge, ({},)),
        (Touch, (60,)),
        (Check, (None,)),
    )
}

VALUE_CALLS: dict[str, Call] = {
    "put": lambda m, value: m.put("text", value),
    "put_many": lambda m, value: m.put_many({"text": 1, "new": value}),
    "load": lambda m, value: m.load([("text", 1), ("new", value)]),
    "append": lambda m, value: m.append("list", 1, value),
    "merge": lambda m, value: m.merge("object", {"a": {"b": value}}),
    "update's default": lambda m, value: m.update("new", lambda old: old, default=value),
    "apply": lambda m, value: m.apply([Put("text", 1), Put("new", value)]),
    "tx.put": lambda m, value: m.run(lambda tx: tx.put("text", value)),
}


TTL_CALLS: dict[str, Call] = {
    "put": lambda m, ttl: m.put("text", 1, ttl=ttl),
    "put_many": lambda m, ttl: m.put_many({"text": 1}, ttl=ttl),
    "load": lambda m, ttl: m.load([("text", 1)], ttl=ttl),
    "load of nothing": lambda m, ttl: m.load([], ttl=ttl),
    "increment": lambda m, ttl: m.increment("number", ttl=ttl),
    "touch": lambda m, ttl: m.touch("text", ttl),
    "apply Put": lambda m, ttl: m.apply([Put("new", 1), Put("text", 1, ttl=ttl)]),
    "apply Touch": lambda m, ttl: m.apply([Put("new", 1), Touch("text", ttl)]),
    "apply Increment": lambda m, ttl: m.apply([Put("new", 1), Increment("number", ttl=ttl)]),
    "a policy": lambda m, ttl: m.partition("other", default_ttl=ttl),
}

PATTERN_CALLS: dict[str, Call] = {
    "search": lambda m, pattern: m.search(pattern),
    "count": lambda m, pattern: m.count(pattern),
    "delete_matching": lambda m, pattern: m.delete_matching(pattern),
}

PREFIX_CALLS: dict[str, Call] = {
    "keys": lambda m, prefix: m.keys(prefix),
    "items": lambda m, prefix: m.items(prefix),
    "children": lambda m, prefix: m.children(prefix),
    "scoped": lambda m, prefix: m.scoped(prefix),
}

FILTER_CALLS: dict[str, Call] = {
    "search": lambda m, where: m.search(where=where),
    "count": lambda m, where: m.count(where=where),
    "delete_matching": lambda m, where: m.delete_matching("*", where=where),
}


#: What stands alone: (kind, name, error, call).
OTHERS: list[tuple[str, str, type[errors.AgentMemError], Callable[[Memory], Any]]] = [
    ("size", "a value", errors.ValueTooLarge, lambda m: m.put("text", "x" * 2**20)),
    ("size", "a value of a batch", errors.ValueTooLarge, lambda m: m.put_many({"text": 1, "b": "x" * 2**20})),
    ("size", "an item", errors.ValueTooLarge, lambda m: m.append("list", "x" * 2**20)),
    ("size", "a patch", errors.ValueTooLarge, lambda m: m.merge("object", {"a": "x" * 2**20})),
    ("size", "metadata", errors.ValueTooLarge, lambda m: m.put("text", 1, metadata={"a": "x" * 2**14})),
    ("merge", "a list", errors.InvalidValue, lambda m: m.merge("object", [1])),  # type: ignore[arg-type]
    ("merge", "None", errors.InvalidValue, lambda m: m.merge("object", None)),  # type: ignore[arg-type]
    ("merge", "text", errors.InvalidValue, lambda m: m.apply([Merge("object", "a")])),  # type: ignore[arg-type]
    ("append", "no items", errors.InvalidArgument, lambda m: m.append("list")),
    ("append", "no items in a batch", errors.InvalidArgument, lambda m: m.apply([Put("text", 1), Append("list")])),
    ("touch", "no TTL", errors.InvalidTTL, lambda m: m.touch("text", UNSET)),  # type: ignore[arg-type]
    ("several", "get_many of text", errors.InvalidArgument, lambda m: m.get_many("text")),
    ("several", "get_many of a number", errors.InvalidArgument, lambda m: m.get_many(5)),  # type: ignore[arg-type]
    ("several", "delete_many of text", errors.InvalidArgument, lambda m: m.delete_many("text")),
    ("several", "put_many of pairs", errors.InvalidArgument, lambda m: m.put_many([("text", 1)])),  # type: ignore[arg-type]
    ("several", "put_many of None", errors.InvalidArgument, lambda m: m.put_many(None)),  # type: ignore[arg-type]
    ("several", "load of text", errors.InvalidArgument, lambda m: m.load("ab")),  # type: ignore[arg-type]
    ("several", "load of keys", errors.InvalidArgument, lambda m: m.load(["ab", "cd"])),  # type: ignore[list-item]
    ("several", "load of None", errors.InvalidArgument, lambda m: m.load(None)),  # type: ignore[arg-type]
    ("several", "apply of text", errors.InvalidArgument, lambda m: m.apply("text")),  # type: ignore[arg-type]
    ("several", "apply of pairs", errors.InvalidArgument, lambda m: m.apply([Put("text", 1), ("put", 1)])),  # type: ignore[list-item]
    ("several", "apply of an operation", errors.InvalidArgument, lambda m: m.apply(Put("text", 1))),  # type: ignore[arg-type]
    ("search", "order", errors.InvalidArgument, lambda m: m.search(order="size")),  # type: ignore[arg-type]
    ("search", "order None", errors.InvalidArgument, lambda m: m.search(order=None)),  # type: ignore[arg-type]
    ("search", "descending", errors.InvalidArgument, lambda m: m.search(descending="no")),  # type: ignore[arg-type]
    ("policy", "namespace", errors.InvalidKey, lambda m: m.partition("other", namespace="a\x00")),
    ("policy", "namespace 5", errors.InvalidKey, lambda m: m.partition("other", namespace=5)),  # type: ignore[arg-type]
    ("policy", "description", errors.InvalidArgument, lambda m: m.partition("other", description="\x00")),
    ("policy", "unknown", errors.ConfigurationError, lambda m: m.partition("other", ttl=5)),
    ("scoped", "empty", errors.InvalidKey, lambda m: m.scoped("")),
    ("version", "with if_absent", errors.InvalidArgument, lambda m: m.put("text", 1, if_version=1, if_absent=True)),
    ("version", "if_absent text", errors.InvalidArgument, lambda m: m.put("text", 1, if_absent="no")),  # type: ignore[arg-type]
    ("version", "if_absent 1", errors.InvalidArgument, lambda m: m.put("text", 1, if_absent=1)),  # type: ignore[arg-type]
]

WHOLE_CALLS: dict[str, Call] = {
    "search limit": lambda m, n: m.search(limit=n),
    "keys limit": lambda m, n: m.keys(limit=n),
    "append limit": lambda m, n: m.append("list", 1, limit=n),
    "apply Append limit": lambda m, n: m.apply([Put("text", 1), Append("list", 1, limit=n)]),
    "children depth": lambda m, n: m.children(depth=n),
    "purge batch": lambda m, n: m.purge_expired(batch=n),
    "update attempts": lambda m, n: m.update("text", lambda value: value, default=1, attempts=n),
    "run attempts": lambda m, n: m.run(lambda tx: tx.put("text", 1), attempts=n),
    "put if_version": lambda m, n: m.put("text", 1, if_version=n),
    "delete if_version": lambda m, n: m.delete("text", if_version=n),
    "apply Delete if_version": lambda m, n: m.apply([Put("new", 1), Delete("text", if_version=n)]),
    "apply Check": lambda m, n: m.apply([Put("new", 1), Check("text", n)]),
    "put_many chunk": lambda m, n: m.put_many({"text": 1}, chunk=n),
    "load chunk": lambda m, n: m.load({"text": 1}, chunk=n),
}


NUMBER_CALLS: dict[str, Call] = {
    "by": lambda m, n: m.increment("number", n),
    "initial": lambda m, n: m.increment("new", initial=n),
    "apply by": lambda m, n: m.apply([Put("text", 1), Increment("number", n)]),
    "apply initial": lambda m, n: m.apply([Put("text", 1), Increment("new", initial=n)]),
}


def _product(
    kind: str, error: type[errors.AgentMemError], arguments: dict[str, Any], calls: dict[str, Call]
) -> Iterator[Row]:
    for name, call in calls.items():
        for label, argument in arguments.items():
            yield Row(kind, f"{name}: {label}", error, lambda m, call=call, argument=argument: call(m, argument))  # type: ignore[misc]


ROWS: list[Row] = [
    *_product("key", errors.InvalidKey, refused.KEYS, KEY_CALLS),
    *_product("value", errors.InvalidValue, refused.VALUES, VALUE_CALLS),
    *_product(
        "metadata", errors.InvalidValue, refused.METADATA, {"put": lambda m, data: m.put("text", 1, metadata=data)}
    ),
    *_product("ttl", errors.InvalidTTL, refused.TTLS, TTL_CALLS),
    *_product("pattern", errors.InvalidPattern, refused.PATTERNS, PATTERN_CALLS),
    *_product("prefix", errors.InvalidKey, refused.PREFIXES, PREFIX_CALLS),
    *_product("filter", errors.InvalidFilter, refused.FILTERS, FILTER_CALLS),
    *_product("cursor", errors.InvalidCursor, refused.CURSORS, {"search": lambda m, cursor: m.search(cursor=cursor)}),
    *_product(
        "name",
        errors.InvalidKey,
        refused.NAMES,
        {"partition": lambda m, name: m.partition(name), "drop": lambda m, name: m.drop_partition(name)},
    ),
    *_product("whole", errors.InvalidArgument, refused.WHOLES, WHOLE_CALLS),
    *_product(
        "seconds", errors.InvalidArgument, refused.SECONDS, {"purge": lambda m, s: m.purge_expired(max_seconds=s)}
    ),
    *_product("number", errors.InvalidArgument, refused.NUMBERS, NUMBER_CALLS),
    *(Row(*other) for other in OTHERS),
]
KINDS = tuple(dict.fromkeys(row.kind for row in ROWS))
