"""What the state machine draws from: few keys, so that they meet, and nasty ones, so that they are confused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from agentmem.testing.model import DEAD, LONG
from agentmem.ttl import UNSET

PARTITIONS = ("other", "{x}:*", "d", "é")

_NASTY = (
    "a",
    "a/b",
    "a/b/c",
    "a*",
    "a?",
    "a\\",
    "{x}:a",
    "[a]/b",
    "%_",
    "a_b",
    "é",
    "e\u0301",
    "😀",
    " ",
    "/",
    "\uffff",
)
_ALPHABET = "/:{}*?%_\\[]ée\u0301😀 ab"
_words = st.sampled_from(_NASTY) | st.text(_ALPHABET, min_size=1, max_size=3)


class Place(NamedTuple):
    """Which handle a rule uses: a partition, and perhaps a scope in it."""

    partition: str
    prefix: str


class World(NamedTuple):
    """What one run is about: few keys in few places, or its rules would never meet."""

    keys: tuple[str, ...]
    places: tuple[Place, ...]


def _world(words: list[str], length: int, other: str) -> World:
    prefix = words[0][:length]
    # The same entry by its name in the scope and outside of it.
    keys = (*words, prefix + words[-1])
    return World(keys, (Place("default", ""), Place("default", ""), Place("default", prefix), Place(other, "")))


worlds = st.builds(
    _world,
    st.lists(_words, min_size=2, max_size=4, unique=True),
    st.integers(1, 3),
    st.sampled_from(PARTITIONS),
)

#: Drawn from the world of the machine that runs.
keys = st.runner().flatmap(lambda machine: st.sampled_from(machine.world.keys))
places = st.runner().flatmap(lambda machine: st.sampled_from(machine.world.places))
partitions = places.map(lambda place: place.partition)
key_lists = st.lists(keys, max_size=4)
prefixes = st.just("") | keys | keys.map(lambda key: key[:1]) | keys.map(lambda key: key.rpartition("/")[0])
patterns = st.one_of(
    st.sampled_from(("*", "*", "?*", "a*", "*b", "?", "??", "a?b", "a/*", "*/*", "\\*", "a\\\\", "*\\*", "*\\?")),
    st.sampled_from(("{*", "[a]*", "*é*", "e?", "%*", "a_*", "\uffff", "*\u0301")),
    keys.map(lambda key: re.sub(r"([*?\\])", r"\\\1", key)),
    keys.map(lambda key: re.sub(r"([*?\\])", r"\\\1", key[:-1]) + "?"),
)

numbers = st.sampled_from((0, 1, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1.0, 1e22, 1e308)) | st.integers(
    -9, 9
)
texts = st.sampled_from(
    ("", "a", "b", "ab", "A", "é", "e\u0301", "\x00", "a\x00b", "10", "9", "😀", "\uffff", "%", "a_b")
)
scalars = st.none() | st.booleans() | numbers | texts
names = st.sampled_from(("a", "b", "a.b", "", "é", "$x", "@y"))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
lists = st.lists(scalars, max_size=3)
objects = st.dictionaries(names, values, max_size=3)
metadata = st.none() | st.dictionaries(st.sampled_from(("owner", "n")), scalars, max_size=2)

#: DEAD is rare: each costs a wait.
ttls = st.sampled_from((UNSET, UNSET, UNSET, None, LONG, LONG, LONG, DEAD))
limits = st.none() | st.integers(1, 4)
page_limits = st.integers(1, 5)

# Filters take U+0000 for U+0001, the model does not: their texts do without both.
_plain_texts = st.sampled_from(("", "a", "b", "ab", "A", "é", "e\u0301", "10", "9", "😀", "\uffff", "%", "a_b"))
_operands = st.none() | st.booleans() | numbers | _plain_texts | st.lists(numbers | _plain_texts, max_size=2)
_ordered = numbers | _plain_texts
_fields: st.SearchStrategy[Any] = st.sampled_from(
    (
        "a",
        "b",
        "a.b",
        "é",
        "",
        ("a.b",),
        ("a", "b"),
        ("a", 0),
        (0,),
        (),
        ("$x",),
        ("@y",),
        "@metadata.owner",
        "@metadata.n",
    )
)
_conditions = st.one_of(
    _operands,
    st.fixed_dictionaries({"$eq": _operands}),
    st.fixed_dictionaries({"$ne": _operands}),
    st.fixed_dictionaries({"$in": st.lists(_operands, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(_operands, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$contains": _operands}),
    st.fixed_dictionaries({"$startswith": _plain_texts}),
    *(st.fixed_dictionaries({sign: _ordered}) for sign in ("$gt", "$gte", "$lt", "$lte")),
    st.fixed_dictionaries({"$not": st.fixed_dictionaries({"$gt": _ordered})}),
)
_simple = st.dictionaries(_fields, _conditions, min_size=1, max_size=2)


def _aim(machine: Any) -> st.SearchStrategy[Any]:
    """Filters that look at a value that is stored."""
    stored = [item.value for state in machine.model.partitions.values() for item in state.values()]
    return st.sampled_from(stored).flatmap(_at) if stored else st.none()


def _at(value: Any, path: tuple[str | int, ...] = ()) -> st.SearchStrategy[Any]:
    if isinstance(value, dict | list) and value:
        steps: list[Any] = sorted(value) if isinstance(value, dict) else list(range(len(value)))
        deeper = st.sampled_from(steps).flatmap(lambda step: _at(value[step], (*path, step)))
        return deeper | _compared(path, value)
    return _compared(path, value)


def _compared(path: tuple[str | int, ...], value: Any) -> st.SearchStrategy[Any]:
    near = [value, [value], str(value), bool(value)]
    near += [value + 1, float(value), int(value)] if isinstance(value, int | float) and abs(value) < 2**53 else []
    signs = ["$eq", "$ne", "$contains"]
    signs += ["$gt", "$gte", "$lt", "$lte"] if type(value) in (int, float, str) else []
    conditions = st.tuples(
        st.sampled_from(signs), st.sampled_from([each for each in near if type(each) is type(value)])
    )
    crossed = st.tuples(st.sampled_from(["$eq", "$ne"]), st.sampled_from(near))
    several = st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(st.sampled_from(near), max_size=3))
    exists = st.tuples(st.just("$exists"), st.booleans())
    return (conditions | crossed | several | exists).map(lambda condition: {path: dict([condition])})


filters = (
    st.none()
    | st.runner().flatmap(_aim)
    | st.recursive(
        _simple,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=2)}),
            st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=2)}),
            st.fixed_dictionaries({"$not": inner}),
        ),
        max_leaves=3,
    )
)

#: How a write expects to find its key: a version is drawn from those that the key has had.
expectations = st.sampled_from(("nothing", "nothing", "nothing", "nothing", "absent", "current", "stale"))


class Step(NamedTuple):
    """An operation of a batch, before it is known for which side. A transaction may also hold the step `read`."""

    kind: str
    key: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}
    expectation: str = "nothing"


def steps(
    kind: str,
    arguments: st.SearchStrategy[tuple[Any, ...]] = st.just(()),  # noqa: B008 - strategies are immutable
    expectations: st.SearchStrategy[str] = st.just("nothing"),  # noqa: B008
    **options: st.SearchStrategy[Any],
) -> st.SearchStrategy[Step]:
    """Steps of one kind at any key."""
    drawn = st.tuples(st.just(kind), keys, arguments, st.fixed_dictionaries(options), expectations)
    return drawn.map(lambda parts: Step(*parts))


writes = st.one_of(
    steps("put", st.tuples(values), expectations, ttl=ttls, metadata=metadata),
    steps("put", st.tuples(numbers | lists | objects), expectations, ttl=ttls, metadata=metadata),
    steps("delete", expectations=expectations.filter(lambda expectation: expectation != "absent")),
    steps("increment", by=numbers, initial=numbers, ttl=ttls),
    steps("append", st.lists(values, min_size=1, max_size=3).map(tuple), limit=limits),
    steps("merge", st.tuples(objects)),
    steps("touch", st.tuples(ttls.filter(lambda ttl: ttl is not UNSET))),
)
checks = steps("check", expectations=st.sampled_from(("absent", "current", "stale")))
reads = steps("read")
batches = st.lists(st.one_of(writes, writes, writes, checks), max_size=6)
