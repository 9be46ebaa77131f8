"""Whatever a caller writes is a value to the database: in keys, names, patterns, filters, values, metadata, cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import Append, Check, Delete, Increment, Merge, Put, Touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory

ATTACKS = [
    "'; DROP TABLE memory_entries; --",
    "' OR '1'='1",
    '" OR ""="',
    "x' UNION SELECT body FROM memory_entries --",
    "\\'; DELETE FROM partitions; --",
    "%(key)s",
    "%s %% %b %(partition)s",
    ":key :partition :low :f0 :now",
    "\\:key",
    "?1 ?",
    "$1 $$ DROP TABLE partitions $$",
    "{entries} {partitions} {0} {}",
    "}}{{",
    "E'\\\\' --",
    "/* */ -- \n ;",
    "`memory_entries`",
    "[memory_entries]",
    "\u2019; DROP TABLE memory_entries; --",
    "a\x1a\x08b",
    "%25%27 ${jndi:ldap://x} <script>",
    "*') OR 1=1 --",
    "\\N",
    "\t1\t2\n\\.\n",
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """One store for all attacks."""
    if request.param == "sqlite":
        with agentmem.connect(f"sqlite:///{tmp_path_factory.mktemp('injection') / 'memory.db'}") as memory:
            yield memory
        return
    server = request.getfixturevalue("postgres_server")
    url = server.new_database()
    with agentmem.connect(url, create="always") as memory:
        yield memory
    server.drop_database(url)


@pytest.fixture
def guarded(store: Memory) -> Memory:
    """A handle beside whose partition lies another that nothing may reach."""
    memory = store
    for partition in memory.partitions():
        memory.drop_partition(partition.name)
    memory.partition("other").put_many({"secret": "s", "key": 1})
    return memory


def assert_unharmed(memory: Memory) -> None:
    assert {entry.key: entry.value for entry in memory.partition("other").items()} == {"secret": "s", "key": 1}
    assert memory.check() == []


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_text_in_keys_values_and_metadata(guarded: Memory, text: str) -> None:
    memory, bystander = guarded, guarded.put("bystander", 1)
    entry = memory.put(text, {text: text}, metadata={text: text}, ttl=60)
    assert (entry.key, entry.value, entry.metadata) == (text, {text: text}, {text: text})
    assert memory.entry(text) == entry
    assert memory.exists(text)
    assert memory.put(text, text, if_version=entry.version).value == text
    assert memory.get_many([text, "absent"]) == {text: text}
    assert memory.put_many({text: [text], text + "2": text})[text].value == [text]
    assert memory.append(text, text) == 2
    assert memory.increment(text + "3") == 1
    assert memory.merge(text + "4", {text: text}).value == {text: text}
    operations: list[Any] = [
        Put(text, 1),
        Increment(text),
        Touch(text, 60),
        Delete(text + "2"),
        Append(text + "5", text),
        Merge(text + "6", {text: 1}),
    ]
    assert len(memory.apply([*operations, Check("absent" + text, None)])) == 7
    assert memory.pop(text) == 2
    assert memory.delete_many([text + each for each in "3456"]) == 4
    assert list(memory.items()) == [bystander]
    assert_unharmed(memory)


def test_all_of_them_in_one_batch_by_copy(guarded: Memory) -> None:
    """COPY has a syntax of its own: tabs, backslashes, `\\N` and `\\.`."""
    values: dict[str, Any] = {f"filler/{n}": n for n in range(6_000)}
    values.update({text: {text: [text]} for text in ATTACKS})
    guarded.put_many(values)
    assert guarded.get_many(ATTACKS) == {text: {text: [text]} for text in ATTACKS}
    assert guarded.count() == len(values)
    assert_unharmed(guarded)


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_text_in_partitions_and_policies(guarded: Memory, text: str) -> None:
    memory = guarded
    own = memory.partition(text, description=text, namespace=text)
    own.put(text + "/key", 1)
    with pytest.raises(agentmem.NamespaceError):
        own.put("key", 1)
    assert own.count() == own.stats().partitions[text] == 1
    (found,) = (each for each in memory.partitions() if each.name == text)
    assert (found.namespace, found.description) == (text, text)
    assert memory.count() == 0
    assert memory.drop_partition(text) == 1
    assert_unharmed(memory)


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_text_in_patterns_prefixes_and_scopes(guarded: Memory, text: str) -> None:
    memory = guarded
    memory.put_many({text: 1, f"a{text}b": 2, "bystander": 3})
    literal = text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
    assert [entry.key for entry in memory.search(literal)] == [text]
    assert [entry.key for entry in memory.search(f"a{literal}*")] == [f"a{text}b"]
    assert memory.count(f"*{literal}*") == 2
    assert list(memory.keys(text)) == [text]
    scoped = memory.scoped(text + "/")
    scoped.put("x", 1)
    assert list(scoped.keys()) == ["x"]
    assert memory.children(text + "/") == [text + "/x"]
    assert scoped.clear() == 1
    assert memory.delete_matching(f"?{literal}?") == 1
    assert set(memory.keys()) == {text, "bystander"}
    assert_unharmed(memory)


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_text_in_filters(guarded: Memory, text: str) -> None:
    memory = guarded
    memory.put("mine", {text: {text: [text]}, "n": 1}, metadata={text: text})
    memory.put("bystander", {"n": 2})
    hits: list[Any] = [
        {(text, text): {"$contains": text}},
        {(text, text, 0): text},
        {(text, text, 0): {"$startswith": text}},
        {(text, text, 0): {"$in": [text, "other"]}},
        {(text, text, 0): {"$gte": text, "$lte": text}},
        {(text,): {"$eq": {text: [text]}}},
        {(text,): {"$exists": True}},
        {"$not": {(text,): {"$exists": False}}},
        {"@metadata": {"$eq": {text: text}}},
    ]
    for where in hits:
        assert [entry.key for entry in memory.search(where=where)] == ["mine"], where
    for where in ({"n": text}, {(text + "x",): text}, {"n": {"$in": [text]}}, {("n", text): 1}, {"@version": text}):
        assert memory.count(where=where) == 0, where
    assert memory.delete_matching("*", where={(text,): {"$exists": True}}) == 1
    assert list(memory.keys()) == ["bystander"]
    assert_unharmed(memory)


@pytest.mark.parametrize("text", ATTACKS, ids=ascii)
def test_text_in_cursors_and_orders(guarded: Memory, text: str) -> None:
    memory = guarded
    memory.put_many({f"{text}{n}": n for n in range(4)})
    for order in ("key", "updated"):
        page = memory.search(limit=1, order=order)
        found = [entry.key for entry in page]
        while page.cursor is not None:
            page = memory.search(limit=1, order=order, cursor=page.cursor)
            found += [entry.key for entry in page]
        assert sorted(found) == sorted(f"{text}{n}" for n in range(4))
    with pytest.raises(agentmem.InvalidCursor):
        memory.search(cursor=text)
    with pytest.raises(agentmem.InvalidArgument):
        memory.search(order=text)  # type: ignore[arg-type]
    assert_unharmed(memory)
