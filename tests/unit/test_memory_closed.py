"""R35: after close every public method raises Closed, on the handle itself and on what was derived from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from agentmem import Closed, Memory, Put, connect
from agentmem.coordination.fencing import Token
from agentmem.typed import TypedMemory
from tests.unit.dict_repository import DictRepository

CALLS: dict[str, Callable[[Memory], Any]] = {
    "get": lambda m: m.get("a"),
    "entry": lambda m: m.entry("a"),
    "exists": lambda m: m.exists("a"),
    "get_many": lambda m: m.get_many(["a"]),
    "get_many of none": lambda m: m.get_many([]),
    "search": lambda m: m.search(),
    "keys": lambda m: m.keys(),
    "items": lambda m: m.items(),
    "children": lambda m: m.children(),
    "count": lambda m: m.count(),
    "put": lambda m: m.put("a", 1),
    "put_many": lambda m: m.put_many({"a": 1}),
    "put_many of none": lambda m: m.put_many({}),
    "load": lambda m: m.load({"a": 1}),
    "load of none": lambda m: m.load([]),
    "delete": lambda m: m.delete("a"),
    "delete_many": lambda m: m.delete_many(["a"]),
    "delete_many of none": lambda m: m.delete_many([]),
    "pop": lambda m: m.pop("a"),
    "increment": lambda m: m.increment("n"),
    "append": lambda m: m.append("l", 1),
    "merge": lambda m: m.merge("o", {}),
    "update": lambda m: m.update("a", str, default=1),
    "touch": lambda m: m.touch("a", 1),
    "apply": lambda m: m.apply([Put("a", 1)]),
    "apply of none": lambda m: m.apply([]),
    "transaction": lambda m: m.transaction().__enter__(),
    "run": lambda m: m.run(lambda tx: None),
    "delete_matching": lambda m: m.delete_matching("*"),
    "clear": lambda m: m.clear(),
    "stats": lambda m: m.stats(),
    "purge_expired": lambda m: m.purge_expired(),
    "partition": lambda m: m.partition("x"),
    "partition with a policy": lambda m: m.partition("x", default_ttl=1),
    "partitions": lambda m: m.partitions(),
    "drop_partition": lambda m: m.drop_partition("x"),
    "scoped": lambda m: m.scoped("x"),
    "typed": lambda m: m.typed(int),
    "queue": lambda m: m.queue("q"),
    "queues": lambda m: m.queues(),
    "fleet": lambda m: m.fleet("f"),
    "qtable": lambda m: m.qtable("t"),
    "qtables": lambda m: m.qtables(),
    "watch": lambda m: m.watch(),
    "lease": lambda m: m.lease("l", 1),
    "fenced": lambda m: m.fenced(Token("default", "l", "a", 1)),
    "session": lambda m: m.session("s"),
    "sessions": lambda m: m.sessions(),
    "using": lambda m: m.using(cast("Any", None)),
    "check": lambda m: m.check(),
    "ping": lambda m: m.ping(),
    "with": lambda m: m.__enter__(),
}


def public_methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def test_the_table_names_every_public_method() -> None:
    assert {name.split()[0] for name in CALLS} - {"with"} == public_methods(Memory) - {"close"}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_r35_a_closed_handle_refuses(call: Callable[[Memory], Any]) -> None:
    repository = DictRepository()
    memory = Memory(repository)
    memory.close()
    memory.close()
    with pytest.raises(Closed):
        call(memory)
    assert not repository.calls


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_r35_the_owners_end_is_the_end_of_what_was_derived(call: Callable[[Memory], Any]) -> None:
    memory = Memory(DictRepository())
    derived = memory.partition("q").partition("p")
    memory.close()
    with pytest.raises(Closed):
        call(derived)


def test_r35_typed_handles_too() -> None:
    memory = Memory(DictRepository())
    typed = memory.typed(int)
    with memory.typed(int) as closed:
        closed.put("n", 1)
    with pytest.raises(Closed):
        closed.get("n")
    closed.close()
    assert typed.get("n") == 1
    memory.close()
    with pytest.raises(Closed):
        typed.get("n")
    assert isinstance(typed, TypedMemory)


def test_r35_closing_a_derived_handle_closes_just_that() -> None:
    memory = Memory(DictRepository())
    with memory.scoped("a/") as scoped, memory.partition("b") as other:
        scoped.put("k", 1)
    for handle in (scoped, other):
        with pytest.raises(Closed):
            handle.get("k")
    assert memory.get("a/k") == 1


def test_r35_a_repository_that_was_given_stays_open() -> None:
    repository = DictRepository()
    for memory in (Memory(repository), connect(repository)):
        memory.close()
    assert not repository.closed


@pytest.mark.parametrize("walk", [lambda m: m.keys(), lambda m: m.items()], ids=["keys", "items"])
def test_r35_a_walk_ends_where_the_handle_is_closed(walk: Callable[[Memory], Any]) -> None:
    memory = Memory(DictRepository())
    memory.put_many({"a": 1, "b": 2})
    iterator = walk(memory)
    next(iterator)
    memory.close()
    with pytest.raises(Closed):
        next(iterator)


def test_r35_a_transaction_whose_handle_is_closed_writes_nothing() -> None:
    repository = DictRepository()
    memory = Memory(repository)
    tx = memory.transaction().__enter__()
    tx.put("a", 1)
    memory.close()
    with pytest.raises(Closed):
        tx.__exit__(None, None, None)
    assert repository.stored() == 0


def test_a_closed_handle_says_so_in_its_repr() -> None:
    memory = Memory(DictRepository()).partition("p").scoped("a/")
    assert repr(memory) == "<Memory dict dict://user:***@nowhere partition='p' prefix='a/'>"
    memory.close()
    assert repr(memory).endswith(" closed>")
