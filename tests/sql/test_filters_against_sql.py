"""A filter means in SQL what `agentmem.filters.matches` says (R25): random documents and filters, and a nasty table."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem.filters import Filter, matches, parse
from agentmem.keys import Pattern
from agentmem.repository import Query
from agentmem.sql import migrations, sqlite_filters
from agentmem.sql.backend import open_url
from agentmem.sql.postgres import PostgresDialect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.sql.repository import SQLRepository
    from agentmem.testing.servers import PostgresServer

partition_names = (f"example {number}" for number in itertools.count())


class Store(NamedTuple):
    memory: Memory
    repository: SQLRepository


@pytest.fixture(scope="module")
def stores(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """SQLite and PostgreSQL, one of each for all examples: every example has a partition of its own."""
    url = postgres_server.new_database()
    migrations.upgrade(url)
    sqlite = open_url(f"sqlite:///{tmp_path_factory.mktemp('filters') / 'memory.db'}", {})
    with sqlite, open_url(url, {}) as postgres:
        yield (Store(agentmem.connect(sqlite), sqlite), Store(agentmem.connect(postgres), postgres))
    postgres_server.drop_database(url)


# Few names and values, so that they meet; among them the neighbours that a careless comparison takes for equal.
NUMBERS: list[Any] = [
    0, -0.0, 1, 1.0, 2, -1, 9, 10, 0.1, 0.3, 0.1 + 0.2, 1e-7, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63, 2**64,
    float(2**63), -(2**63), 1e22, 10**22, 1e23, 10**23, 99999999999999991611392, 10**400, -(10**400), 1e308, 5e-324,
]  # fmt: skip
TEXTS = [
    "", "a", "A", "ab", "b", "1", "1.0", "true", "null", "é", "e\u0301", "\uffff", "😀", "😀a", "\x00", "\x01",
    "a\x00b", "a\x01b", "a\x00", "\\u0000", "%", "_", "a%", "\\", '"', "'", "{}", "[1]", "\u2028", "\x7f",
]  # fmt: skip
NAMES = ["a", "b", "c", "0", "", "é", "😀", "\x00", "\x01", "a.b", "@a", "$eq", "A", 'q"', "-_9", "a\x00"]

scalars = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from([True, False, None]),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=4),
)
names = st.sampled_from(NAMES)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(names, documents, max_size=5)
metadatas = st.none() | st.dictionaries(names, documents, max_size=3)

steps = st.lists(st.one_of(names, names, st.integers(0, 2)), max_size=3).map(tuple)
plain_fields = st.sampled_from(["a", "b", "a.b", "a.a", "0", "c.0"])
fields = st.one_of(steps, plain_fields, st.sampled_from(["@metadata", "@metadata.a", "@metadata.b.a", "@metadata.0"]))

conditions = st.one_of(
    documents.map(lambda operand: {"$eq": operand}),
    documents.map(lambda operand: {"$ne": operand}),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.sampled_from([*NUMBERS, *TEXTS])).map(
        lambda p: dict([p])
    ),
    st.lists(documents, max_size=4).map(lambda operands: {"$in": operands}),
    st.lists(scalars, max_size=3).map(lambda operands: {"$nin": operands}),
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3).map(lambda operands: {"$in": operands}),
    st.booleans().map(lambda exists: {"$exists": exists}),
    documents.map(lambda operand: {"$contains": operand}),
    st.sampled_from(TEXTS).map(lambda prefix: {"$startswith": prefix}),
)
leaves = st.dictionaries(fields, conditions, min_size=1, max_size=2)
wheres = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def assert_agreement(store: Store, partition: str, where: Filter) -> list[str]:
    """Assert that the store finds what the evaluator says of its own records, and return it."""
    everything = {record.key: record for record in store.repository.scan(partition, query(None), limit=1000).records}
    expected = sorted(key for key, record in everything.items() if matches(where, record))
    found = [record.key for record in store.repository.scan(partition, query(where), limit=1000).records]
    assert found == expected, (store.repository.name, where.text)
    with believed_indexed(store, partition):
        records = store.repository.scan(partition, query(where), limit=1000).records
    assert [record.key for record in records] == expected, (store.repository.name, where.text)
    return found


@contextmanager
def believed_indexed(store: Store, partition: str) -> Iterator[None]:
    """The statements that PostgreSQL gets where there is an index of values (ADR 0020)."""
    dialect = store.repository._dialect
    if isinstance(dialect, PostgresDialect):
        dialect._indexes.note(partition, is_there=True)
        yield
        dialect._indexes.note(partition, is_there=False)
    else:
        yield


def query(where: Filter | None) -> Query:
    return Query(Pattern.under(""), where)


def load(store: Store, values: dict[str, Any], metadata: list[Any] | None = None) -> str:
    partition = next(partition_names)
    metadatas = metadata or [None] * len(values)
    puts = [
        agentmem.Put(key, value, metadata=each) for (key, value), each in zip(values.items(), metadatas, strict=True)
    ]
    store.memory.partition(partition).apply(puts)
    return partition


@MANY
@given(
    values=st.lists(st.tuples(documents | objects, metadatas), min_size=1, max_size=6),
    filters=st.lists(wheres, min_size=1, max_size=6),
)
def test_random_filters_mean_the_same(stores: tuple[Store, Store], values: list[Any], filters: list[Any]) -> None:
    documents_by_key = {f"{index}": value for index, (value, _) in enumerate(values)}
    trees = [tree for where in filters if (tree := parse(where)) is not None]
    partitions = [load(store, documents_by_key, [metadata for _, metadata in values]) for store in stores]
    for tree in trees:
        found = [assert_agreement(*each, tree) for each in zip(stores, partitions, strict=True)]
        assert found[0] == found[1]


@MANY
@given(
    values=st.lists(documents, min_size=1, max_size=8),
    pairs=st.lists(st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), documents), min_size=1, max_size=5),
)
def test_deep_equality_means_the_same(stores: tuple[Store, Store], values: list[Any], pairs: list[Any]) -> None:
    """Documents are compared with one another as well, so that equal ones are certain to occur."""
    pairs = [*pairs, *(("$eq", value) for value in values)]
    by_key = {f"{index}": value for index, value in enumerate(values)}
    partitions = [load(store, by_key) for store in stores]
    for operator, operand in pairs:
        tree = parse({(): {operator: operand}})
        assert tree is not None
        found = [assert_agreement(*each, tree) for each in zip(stores, partitions, strict=True)]
        assert found[0] == found[1]


@MANY
@given(
    values=st.lists(
        st.sampled_from(NUMBERS) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(), min_size=2
    )
)
def test_numbers_have_one_order(stores: tuple[Store, Store], values: list[Any]) -> None:
    by_key = {f"{index}": value for index, value in enumerate(values)}
    partitions = [load(store, by_key) for store in stores]
    for operator, operand in itertools.product(["$gt", "$gte", "$lt", "$lte", "$eq"], values[:3]):
        tree = parse({(): {operator: operand}})
        assert tree is not None
        found = [assert_agreement(*each, tree) for each in zip(stores, partitions, strict=True)]
        assert found[0] == found[1]


@pytest.mark.parametrize("field", ["@created_at", "@updated_at", "@expires_at", "@version"])
def test_fields_of_the_entry_mean_the_same(stores: tuple[Store, Store], field: str) -> None:
    for store in stores:
        partition = next(partition_names)
        memory = store.memory.partition(partition)
        entries = [memory.put(f"{n}", n, ttl=None if n % 3 == 0 else 1000 + n) for n in range(9)]
        memory.put("0", "rewritten")
        operands: list[Any] = [value for each in entries if (value := getattr(each, field[1:])) is not None]
        for operator, operand in itertools.product(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"], operands[1:4]):
            tree = parse({field: {operator: operand}})
            assert tree is not None
            assert_agreement(store, partition, tree)
        conditions_of_field: list[dict[str, Any]] = [
            {"$in": operands[:4]},
            {"$exists": True},
            {"$exists": False},
            {"$in": []},
            {"$nin": operands[:1]},
        ]
        for condition in conditions_of_field:
            tree = parse({field: condition})
            assert tree is not None
            assert_agreement(store, partition, tree)


@pytest.mark.parametrize("operand", [None, True, "1", 1.5, -(10**400), 10**400, 1e300, [1], {"a": 1}])
def test_an_operand_that_no_version_equals(stores: tuple[Store, Store], operand: Any) -> None:
    tree = parse({"@version": operand})
    assert tree is not None
    for store in stores:
        partition = load(store, {"key": 1})
        assert assert_agreement(store, partition, tree) == []


NASTY: dict[str, tuple[Any, Any, bool]] = {
    "9 is below 10": ({"n": 9}, {"n": {"$lt": 10}}, True),
    "text is no number": ({"n": "9"}, {"n": {"$lt": 10}}, False),
    "true is not 1": ({"n": True}, {"n": 1}, False),
    "1 is not true": ({"n": 1}, {"n": True}, False),
    "1 is 1.0": ({"n": 1}, {"n": 1.0}, True),
    "-0.0 is 0": ({"n": -0.0}, {"n": 0}, True),
    "0.1 + 0.2 is not 0.3": ({"n": 0.1 + 0.2}, {"n": 0.3}, False),
    "0.1 + 0.2 is itself": ({"n": 0.1 + 0.2}, {"n": 0.1 + 0.2}, True),
    "0.1 + 0.2 is above 0.3": ({"n": 0.1 + 0.2}, {"n": {"$gt": 0.3}}, True),
    "1e22 is 10 ** 22": ({"n": 1e22}, {"n": 10**22}, True),
    "1e23 is 10 ** 23": ({"n": 1e23}, {"n": 10**23}, True),
    "1e23 is not its binary value": ({"n": 1e23}, {"n": 99999999999999991611392}, False),
    "neighbours above 2 ** 53": ({"n": 2**53 + 1}, {"n": 2**53}, False),
    "neighbours above 2 ** 63": ({"n": 2**63}, {"n": {"$gt": 2**63 - 1}}, True),
    "neighbours above 2 ** 64": ({"n": 2**64 + 1}, {"n": 2**64}, False),
    "an integer of 4,000 digits": ({"n": 10**3999}, {"n": {"$gt": 10**3998}}, True),
    "the smallest float": ({"n": 5e-324}, {"n": {"$gt": 0}}, True),
    "the smallest float equals itself": ({"n": 5e-324}, {"n": 5e-324}, True),
    "null is not missing": ({"a": None}, {"a": {"$exists": True}}, True),
    "missing is not null": ({}, {"a": None}, False),
    "$ne holds for a missing field": ({}, {"a": {"$ne": 1}}, True),
    "$nin holds for a missing field": ({}, {"a": {"$nin": [None]}}, True),
    "$not of a comparison of unlike types": ({"a": "x"}, {"a": {"$not": {"$gt": 1}}}, True),
    "an index is no key": ({"a": {"0": 1}}, {("a", 0): 1}, False),
    "a key is no index": ({"a": [1]}, {("a", "0"): 1}, False),
    "a scalar has no element 0": ({"a": 1}, {("a", 0): 1}, False),
    "a text has no element 0": ({"a": "x"}, {("a", 0): {"$exists": True}}, False),
    "an element beyond the end": ({"a": [1]}, {("a", 1): {"$exists": True}}, False),
    "the greatest index": ({"a": [1]}, {("a", 2**31 - 1): {"$exists": False}}, True),
    "an element of an element": ([[1, [2, 3]]], {(0, 1, 1): 3}, True),
    "a mixed path": ({"a": [{"b.c": [{"d": 1}]}]}, {("a", 0, "b.c", 0, "d"): {"$gte": 1}}, True),
    "a name that needs quoting in a path": ({'q"\\$.*': [1]}, {('q"\\$.*', 0): 1}, True),
    "an empty name": ({"": [1]}, {("", 0): 1}, True),
    "a name beyond the BMP": ({"😀": [{"é": 1}]}, {("😀", 0, "é"): 1}, True),
    "a name with U+0000": ({"a\x00": [1]}, {("a\x00", 0): 1}, True),
    "a name with U+0001 counts as with U+0000": ({"a\x00": 1}, {("a\x01",): 1}, True),
    "the document itself": ("x", {(): "x"}, True),
    "the document itself is a list": ([1, 2], {(): {"$contains": 2}}, True),
    "an empty list is not an empty object": ({"a": []}, {"a": {"$eq": {}}}, False),
    "objects whatever their order": ({"a": {"x": 1, "y": [1.0]}}, {"a": {"$eq": {"y": [1], "x": 1}}}, True),
    "lists in their order": ({"a": [1, 2]}, {"a": [2, 1]}, False),
    "a list is not its only element": ({"a": [1]}, {"a": 1}, False),
    "an element is not its list": ({"a": 1}, {"a": {"$contains": 1}}, False),
    "contains does not look into lists of lists": ({"a": [[1]]}, {"a": {"$contains": 1}}, False),
    "contains a list": ({"a": [[1]]}, {"a": {"$contains": [1.0]}}, True),
    "contains is no containment": ({"a": [{"x": 1, "y": 2}]}, {"a": {"$contains": {"x": 1}}}, False),
    "contains null": ({"a": [None]}, {"a": {"$contains": None}}, True),
    "contains true, not 1": ({"a": [1]}, {"a": {"$contains": True}}, False),
    "an object contains nothing": ({"a": {"x": 1}}, {"a": {"$contains": "x"}}, False),
    "text contains the empty text": ({"a": ""}, {"a": {"$contains": ""}}, True),
    "text contains %": ({"a": "50%"}, {"a": {"$contains": "%"}}, True),
    "text contains no _": ({"a": "50%"}, {"a": {"$contains": "_"}}, False),
    "startswith is case-sensitive": ({"a": "Abc"}, {"a": {"$startswith": "a"}}, False),
    "startswith beyond the BMP": ({"a": "😀x"}, {"a": {"$startswith": "😀"}}, True),
    "startswith of a number": ({"a": 12}, {"a": {"$startswith": "1"}}, False),
    "code points, not UTF-16": ({"a": "😀"}, {"a": {"$gt": "\uffff"}}, True),
    "code points, not a locale": ({"a": "Z"}, {"a": {"$lt": "a"}}, True),
    "composed is not decomposed": ({"a": "é"}, {"a": "e\u0301"}, False),
    "text after U+0000": ({"a": "x\x00y"}, {"a": {"$contains": "y"}}, True),
    "text with U+0000 is not its beginning": ({"a": "x\x00y"}, {"a": "x"}, False),
    "text with U+0000 is above its beginning": ({"a": "x\x00"}, {"a": {"$gt": "x"}}, True),
    "U+0000 is U+0001": ({"a": "x\x00y"}, {"a": "x\x01y"}, True),
    "an escaped backslash before u0000": ({"a": "\\u0000"}, {"a": "\\u0000"}, True),
    "an escaped backslash is no U+0000": ({"a": "\\u0000"}, {"a": "\x00"}, False),
    "a backslash and a U+0000": ({"a": "\\\x00"}, {"a": "\\\x01"}, True),
    "$in of unlike types": ({"a": 1}, {"a": {"$in": ["1", True, None, [1]]}}, False),
    "$in of a list": ({"a": [1]}, {"a": {"$in": [[1.0]]}}, True),
    "$in of nothing": ({"a": 1}, {"a": {"$in": []}}, False),
    "$nin of nothing": ({"a": 1}, {"a": {"$nin": []}}, True),
    "$in of 10,000": ({"a": "7777"}, {"a": {"$in": [str(n) for n in range(10_000)]}}, True),
    "no metadata is an empty object": ({}, {"@metadata": {"$eq": {}}}, True),
    "a field of no metadata": ({}, {"@metadata.owner": {"$exists": False}}, True),
    "a field that begins with @": ({"@version": "x"}, {("@version",): "x"}, True),
    "a field that begins with $": ({"$gt": "x"}, {("$gt",): "x"}, True),
    "a dotted name is a path": ({"a.b": 1}, {"a.b": 1}, False),
    "a colon and a percent sign": ({":f0 %(f1)s": ":x"}, {":f0 %(f1)s": ":x"}, True),
    "never expires": ({}, {"@expires_at": None}, True),
}


@pytest.mark.parametrize(("value", "where", "expected"), NASTY.values(), ids=NASTY)
def test_nasty_cases(stores: tuple[Store, Store], value: Any, where: Any, expected: bool) -> None:
    for store in stores:
        memory = store.memory.partition(next(partition_names))
        memory.put("key", value)
        assert [entry.key for entry in memory.search(where=where)] == (["key"] if expected else [])
        assert memory.count(where={"$not": where}) == (0 if expected else 1)
        assert memory.delete_matching("*", where=where) == int(expected)


LARGE: dict[str, Any] = {
    "1,000 conditions": {"$and": [{f"a{n}": {"$ne": n}} for n in range(499)]},
    "1,000 plain conditions": {f"a{n}": {"$exists": False} for n in range(499)},
    "998 equalities": {"$or": [{"a": n} for n in range(998)]},
    "998 equalities of metadata": {"$or": [{"@metadata.owner": n} for n in range(998)]},
    "32 levels": {"$not": {"$not": {"$or": [{"$and": [{"a": {"$not": {"$not": {"$eq": 0}}}}]}]}}},
    "a path of 128 steps": {("a",) * 128: {"$exists": False}},
    "a path of 128 indexes": {(0,) * 128: {"$exists": False}},
    "a path that is longer than any value is deep": {("a",) * 100_000: {"$exists": False}},
    "an index path that is longer than any value is deep": {("a", 0) * 50_000: {"$exists": False}},
}


@pytest.mark.parametrize("where", LARGE.values(), ids=LARGE)
def test_large_filters(stores: tuple[Store, Store], where: Any) -> None:
    """Whatever the parser lets through, the databases take: no limit of theirs shows."""
    for store in stores:
        partition = next(partition_names)
        memory = store.memory.partition(partition)
        memory.put("key", {"a": 0}, metadata={"owner": 997})
        assert [entry.key for entry in memory.search(where=where)] == ["key"]
        with believed_indexed(store, partition):
            assert [entry.key for entry in memory.search(where=where)] == ["key"]


@pytest.mark.parametrize("name", ["a", 0], ids=["objects", "lists"])
def test_the_deepest_value_is_reached(stores: tuple[Store, Store], name: Any) -> None:
    value: Any = 1
    for _ in range(128):
        value = {"a": value} if name == "a" else [value]
    for store in stores:
        memory = store.memory.partition(next(partition_names))
        memory.put("deep", value)
        assert memory.count(where={(name,) * 128: {"$gte": 1}}) == 1
        assert memory.count(where={(name,) * 127: {"$eq": {"a": 1} if name == "a" else [1]}}) == 1
        assert memory.count(where={(name,) * 129: {"$exists": True}}) == 0


# SQLite's prefilter (ADR 0007)


@MANY
@given(values=st.lists(documents | objects, min_size=1, max_size=6), filters=st.lists(wheres, min_size=1, max_size=6))
def test_the_prefilter_never_loses_a_match(stores: tuple[Store, Store], values: list[Any], filters: list[Any]) -> None:
    store = stores[0]
    partition = load(store, {f"{index}": value for index, value in enumerate(values)})
    records = store.repository.scan(partition, query(None), limit=100).records
    for tree in filter(None, map(parse, filters)):
        expected = {record.key for record in records if matches(tree, record)}
        assert expected <= prefiltered(store, partition, tree), tree.text


def prefiltered(store: Store, partition: str, where: Filter) -> set[str]:
    condition, parameters = sqlite_filters.prefilter(where)
    with store.repository.engine.connect() as connection:
        sql = f"SELECT key FROM memory_entries WHERE partition = :partition AND {condition or '1'}"
        cursor = connection.connection.cursor()
        return {key for (key,) in cursor.execute(sql, {"partition": partition, **parameters}).fetchall()}


@pytest.mark.parametrize(
    ("where", "passed"),
    [
        ({"n": 50}, {"50"}),
        ({"n": {"$gte": 90}}, {f"{n}" for n in range(90, 100)}),
        ({"n": {"$lt": 3}}, {"0", "1", "2", "3"}),
        ({"s": "text 7"}, {"7"}),
        ({"s": {"$startswith": "text 9"}}, {"9", *(f"{n}" for n in range(90, 100))}),
        ({"s": {"$in": ["text 1", "text 2"]}}, {"1", "2"}),
        ({"n": {"$gt": 10}, "s": "text 5"}, set()),
    ],
)
def test_the_prefilter_narrows_down(stores: tuple[Store, Store], where: Any, passed: set[str]) -> None:
    """It is of use, too: what is plain is decided by SQLite alone, give or take a bound."""
    store = stores[0]
    partition = load(store, {f"{n}": {"n": n, "s": f"text {n}"} for n in range(100)})
    tree = parse(where)
    assert tree is not None
    assert prefiltered(store, partition, tree) == passed


def test_the_prefilter_does_not_trip_over_foreign_text(stores: tuple[Store, Store]) -> None:
    """A body that is no JSON has no fields, and is no reason to lose the others (R10)."""
    store = stores[0]
    partition = load(store, {"good": {"a": "x"}, "bad": {"a": "x"}})
    with store.repository.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE memory_entries SET body = '{{' WHERE key = 'bad' AND partition = '{partition}'"
        )
    memory = store.memory.partition(partition)
    assert [entry.key for entry in memory.search(where={"a": "x"})] == ["good"]
    assert [entry.key for entry in memory.search(where={"$not": {"a": "y"}})] == ["bad", "good"]
