"""A scoped handle neither sees nor touches what lies outside, whatever method is called, and never shows its prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from agentmem import (
    Check,
    CorruptEntry,
    CounterOverflow,
    Delete,
    InvalidCursor,
    InvalidKey,
    InvalidOperation,
    Memory,
    NamespaceError,
    PermissionDenied,
    Put,
    VersionConflict,
)
from agentmem.errors import AgentMemError
from agentmem.repository import Policy
from tests.unit.dict_repository import DictRepository
from tests.unit.test_memory_closed import public_methods

OUTSIDE = ("n", "secret", "secret/", "secret0", "secret0/n", "z/n")


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    memory = Memory(repository)
    memory.put_many(dict.fromkeys(OUTSIDE, 0))
    memory.put_many({"secret/n": 1, "secret/l": [1], "secret/o": {"a": 1}, "secret/d/x": 1, "secret/d/y": 1})
    return memory


@pytest.fixture
def scoped(memory: Memory) -> Memory:
    return memory.scoped("secret/")


INSIDE = ["d/x", "d/y", "l", "n", "o"]


def _run_pop(scoped: Memory) -> Any:
    return scoped.run(lambda tx: tx.pop("n"))


def _fenced(scoped: Memory) -> Any:
    with scoped.lease("lock", 60) as lease:
        return scoped.fenced(lease).put("n", 2).key, scoped.fenced(lease).increment("n")


def _transaction(scoped: Memory) -> Any:
    with scoped.transaction() as tx:
        found = tx.get("n"), tx.exists("secret0"), tx.get_many(["n", "z/n"])
        tx.put("n", 2)
    return *found, [result.key for result in tx.results]


#: By method: a call, and what it answers.
ANSWERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "get": (lambda s: s.get("n"), 1),
    "get outside": (lambda s: s.get("z/n"), None),
    "entry": (lambda s: s.entry("n").key, "n"),
    "exists": (lambda s: s.exists("secret0"), False),
    "get_many": (lambda s: s.get_many(["n", "z/n", "secret/n"]), {"n": 1}),
    "search": (lambda s: [e.key for e in s.search()], INSIDE),
    "search by time": (lambda s: [e.key for e in s.search(order="updated")], INSIDE),
    "search backwards": (lambda s: [e.key for e in s.search("**", descending=True)], INSIDE[::-1]),
    "search by pattern": (lambda s: [e.key for e in s.search("?")], ["l", "n", "o"]),
    "keys": (lambda s: list(s.keys()), INSIDE),
    "keys under": (lambda s: list(s.keys("d/")), ["d/x", "d/y"]),
    "items": (lambda s: [e.key for e in s.items()], INSIDE),
    "children": (lambda s: s.children(), ["d/", "l", "n", "o"]),
    "children below": (lambda s: s.children("d/"), ["d/x", "d/y"]),
    "count": (lambda s: (s.count(), s.count("*n"), s.count("z*")), (5, 1, 0)),
    "put": (lambda s: s.put("n", 2).key, "n"),
    "load": (
        lambda s: (s.load([("n", 1), ("n", 2), ("p", 3)], chunk=2), s.get_many(["n", "p"])),
        (3, {"n": 2, "p": 3}),
    ),
    "put_many": (lambda s: {k: e.key for k, e in s.put_many({"n": 1, "p": 2}).items()}, {"n": "n", "p": "p"}),
    "delete": (lambda s: (s.delete("n"), s.delete("secret0")), (True, False)),
    "delete_many": (lambda s: s.delete_many(["n", "n", "secret", "z/n"]), 1),
    "pop": (lambda s: s.pop("n"), 1),
    "increment": (lambda s: s.increment("n"), 2),
    "append": (lambda s: s.append("l", 2), 2),
    "merge": (lambda s: s.merge("o", {"b": 2}).key, "o"),
    "update": (lambda s: s.update("n", lambda n: n + 1).key, "n"),
    "touch": (lambda s: (s.touch("n", 60), s.touch("z/n", 60)), (True, False)),
    "apply": (lambda s: [r.key for r in s.apply([Put("n", 1), Delete("z/n"), Check("q", None)])], ["n", "z/n", "q"]),
    "transaction": (_transaction, (1, False, {"n": 1}, ["n"])),
    "run": (_run_pop, 1),
    "delete_matching": (lambda s: s.delete_matching("*"), 5),
    "clear": (lambda s: s.clear(), 5),
    "stats": (lambda s: (s.stats().entries, dict(s.stats().partitions)), (5, {"default": 5})),
    "scoped": (lambda s: list(s.scoped("d/").keys()), ["x", "y"]),
    "typed": (lambda s: s.typed(int).get("n"), 1),
    "ping": (lambda s: s.ping(), None),
    "close": (lambda s: s.close(), None),
    "lease": (
        lambda s: (s.lease("lock", 60).acquire(), s.exists("lock"), s.lease("lock", 60).acquire()),
        (True, True, False),
    ),
    "fenced": (_fenced, ("n", 3)),
    "session": (lambda s: (s.session("s").append("a"), [m.value for m in s.session("s").messages()]), (1, ["a"])),
    "queue": (lambda s: (s.queue("q").put(1).created, [job.value for job in s.queue("q").claim()]), (True, [1])),
    "queues": (lambda s: (s.queue("q").put(1).created, s.queues()), (True, ["q"])),
    "fleet": (lambda s: [list(s.fleet("f").alive()) for _ in [s.fleet("f").register("a")]], [["a"]]),
    "watch": (lambda s: sorted(change.key for change in s.watch().look()), INSIDE),
    "sessions": (lambda s: (s.session("s").append("a"), [info.id for info in s.sessions()]), (1, ["s"])),
}
BEYOND: dict[str, Callable[[Memory], Any]] = {
    "partition": lambda s: s.partition("other"),
    "partitions": lambda s: s.partitions(),
    "drop_partition": lambda s: s.drop_partition("default"),
    "check": lambda s: s.check(),
    "purge_expired": lambda s: s.purge_expired(),
}


def test_the_tables_name_every_public_method() -> None:
    # using() needs a host's database: tests/sql/test_using.py. The dict has no Q-tables: contract/learning_names.py.
    assert {name.split()[0] for name in (*ANSWERS, *BEYOND)} == public_methods(Memory) - {"using", "qtable", "qtables"}


@pytest.mark.parametrize(("call", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_a_scope_answers_of_the_inside_alone(
    memory: Memory, scoped: Memory, call: Callable[[Memory], Any], answer: Any
) -> None:
    before = [memory.entry(key) for key in OUTSIDE]
    assert call(scoped) == answer
    assert [memory.entry(key) for key in OUTSIDE] == before


@pytest.mark.parametrize("call", BEYOND.values(), ids=BEYOND)
def test_a_scope_refuses_what_reaches_beyond(
    repository: DictRepository, scoped: Memory, call: Callable[[Memory], Any]
) -> None:
    repository.calls.clear()
    for handle in (scoped, scoped.scoped("d/")):
        with pytest.raises(PermissionDenied) as caught:
            call(handle)
        assert "secret" not in str(caught.value)
    assert not repository.calls


def _corrupt(repository: DictRepository, scoped: Memory) -> Any:
    repository.spoil("secret/n")
    return scoped.get("n")


def _outside(repository: DictRepository, scoped: Memory) -> Any:
    repository.define_partition("default", Policy(namespace="ns/"))
    scoped.put("n", 1)


ERRORS: dict[str, tuple[type[AgentMemError], Callable[[DictRepository, Memory], Any]]] = {
    "if_absent": (VersionConflict, lambda r, s: s.put("n", 1, if_absent=True)),
    "if_version": (VersionConflict, lambda r, s: s.delete("n", if_version=1)),
    "Check": (VersionConflict, lambda r, s: s.apply([Check("n", None)])),
    "increment": (CounterOverflow, lambda r, s: [s.put("n", 2**63 - 1), s.increment("n")]),
    "append": (InvalidOperation, lambda r, s: s.append("n", 1)),
    "update": (InvalidOperation, lambda r, s: [s.delete("n"), s.update("n", str)]),
    "get": (CorruptEntry, _corrupt),
    "in a transaction": (VersionConflict, lambda r, s: s.run(lambda tx: tx.check("n", 1), attempts=1)),
    "namespace": (NamespaceError, _outside),
}


@pytest.mark.parametrize(("kind", "call"), ERRORS.values(), ids=ERRORS)
def test_errors_of_a_scope_speak_in_relative_keys(
    repository: DictRepository, scoped: Memory, kind: type[AgentMemError], call: Any
) -> None:
    with pytest.raises(kind) as caught:
        call(repository, scoped)
    error = cast("Any", caught.value)
    assert caught.type is kind
    assert error.key == "n"
    assert "'n'" in str(error)
    assert "secret" not in str(error)
    if isinstance(error, VersionConflict):
        assert error.current.key == "n"
        assert error.current.value == 1


def test_an_error_that_is_put_in_other_words_keeps_its_cause(repository: DictRepository, scoped: Memory) -> None:
    failure = InvalidOperation("secret/n", "no")
    failure.__cause__ = ValueError("driver")
    repository.fail(1, failure)
    with pytest.raises(InvalidOperation, match="'n': no") as caught:
        scoped.get("n")
    assert caught.value.__cause__ is failure.__cause__


def test_a_cursor_of_a_scope_is_relative_and_good_there_alone(memory: Memory, scoped: Memory) -> None:
    import base64

    cursor = scoped.search(limit=2).cursor
    assert cursor is not None
    assert b"secret" not in base64.urlsafe_b64decode(cursor + "==")
    assert [e.key for e in scoped.search(limit=2, cursor=cursor)] == ["l", "n"]
    for handle, pattern in ((memory, "secret/*"), (memory, "secret/?*"), (memory.scoped("secret"), "/*")):
        with pytest.raises(InvalidCursor):
            handle.search(pattern, limit=2, cursor=cursor)


def test_the_key_that_is_the_prefix_lies_outside(memory: Memory, scoped: Memory) -> None:
    assert memory.exists("secret/")
    with pytest.raises(InvalidKey):
        scoped.get("")
    scoped.clear()
    assert memory.exists("secret/")


def test_namespaces_keep_their_absolute_meaning_in_a_scope(repository: DictRepository) -> None:
    memory = Memory(repository, namespace="aqe/")
    memory.scoped("aqe/x/").put("n", 1)
    assert memory.get("aqe/x/n") == 1
    with pytest.raises(NamespaceError) as caught:
        memory.scoped("other/").put("n", 1)
    assert (caught.value.key, caught.value.namespace) == ("n", "aqe/")


def test_scopes_add_up_and_have_the_prefixes_meaning_to_the_letter(memory: Memory) -> None:
    memory.put_many({"a*b?c\\d/k": 1, "axbxc\\d/k": 2})
    nested = memory.scoped("a*b").scoped("?c").scoped("\\d/")
    assert [(entry.key, entry.value) for entry in nested.search("*")] == [("k", 1)]
    assert nested.clear() == 1
    assert memory.get("axbxc\\d/k") == 2
