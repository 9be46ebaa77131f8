"""R27: what a call costs follows what it returns, not what is stored; counted in commands, those in scripts as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.testing.redis_local import LocalRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory

FEW, MANY = 1_000, 100_000

#: Each is about the ten entries under `few/`, among a thousand others and among a hundred thousand.
CALLS: dict[str, Callable[[Memory], object]] = {
    "get": lambda m: m.get("few/1"),
    "put": lambda m: m.put("few/1", 1),
    "put with a ttl": lambda m: m.put("few/1", 1, ttl=60),
    "put_many": lambda m: m.put_many({f"few/{n}": n for n in range(10)}),
    "apply": lambda m: m.apply([agentmem.Delete("few/1"), agentmem.Append("few/list", 1)]),
    "delete_matching": lambda m: m.delete_matching("few/*"),
    "delete_matching, a pattern": lambda m: m.delete_matching("few/*1"),
    "delete_matching where": lambda m: m.delete_matching("few/*", where={(): 1}),
    "search": lambda m: m.search("few/*"),
    "search where": lambda m: m.search("few/*", where={(): {"$gte": 5}}),
    "search by updated": lambda m: m.search("few/*", order="updated"),
    "search by updated, descending": lambda m: m.search("few/?", order="updated", descending=True),
    "the first page of all": lambda m: m.search("*", limit=50),
    "the last page of all": lambda m: m.search("*", limit=50, descending=True),
    "a page of many": lambda m: m.search("many/*", limit=50),
    "a page in the middle": lambda m: m.search("many/000[5]*", limit=50),
    "keys": lambda m: list(m.keys("few/")),
    "items": lambda m: list(m.items("few/")),
    "children": lambda m: m.children(),
    "count": lambda m: m.count(),
    "count by prefix": lambda m: m.count("many/*"),
    "count by pattern": lambda m: m.count("few/?"),
    "count where": lambda m: m.count("few/*", where={(): 5}),
    "stats of a scope": lambda m: m.scoped("few/").stats().entries,
    "clear of a partition": lambda m: m.partition(f"ten of {m.count()}").clear(),
    "drop of a partition": lambda m: m.drop_partition(f"ten of {m.count()}"),
    "purge_expired": lambda m: m.purge_expired(),
    "stats": lambda m: m.stats(),
}


class Store:
    """A store on a server of its own, and what that server has counted.

    Args:
        server: which.
        others: how many entries there are beside the ten.
    """

    def __init__(self, server: LocalRedis, others: int) -> None:
        self.server = server
        self.memory = agentmem.connect(server.new_store(), pool_size=1, timeout=60)
        self.memory.put_many({f"many/{n:06}": n for n in range(others)})
        self.memory.put_many({f"mortal/{n:06}": n for n in range(others // 10)}, ttl=3600)

    def seed(self) -> None:
        self.memory.put_many({f"few/{n}": n for n in range(10)})
        self.memory.delete("few/list")
        self.memory.partition(f"ten of {self.memory.count()}").put_many({f"{n}": n for n in range(10)})

    def commands_of(self, call: Callable[[Memory], object]) -> dict[str, int]:
        """How often each command was run by a call."""
        self.seed()
        call(self.memory)  # so that its script is known
        self.seed()
        with self.server.client() as client:
            client.config_resetstat()
            call(self.memory)
            stats: Any = client.info("commandstats")
        administrators = ("config", "info")
        found = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}
        return {name: calls for name, calls in found.items() if name.partition("|")[0] not in administrators}


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[Store, Store]]:
    from agentmem.testing.binaries import redis_binaries

    program = redis_binaries()[0]
    with LocalRedis(program) as first, LocalRedis(program) as second:
        few, many = Store(first, FEW), Store(second, MANY)
        yield few, many
        few.memory.close()
        many.memory.close()


@pytest.mark.parametrize("name", CALLS)
def test_r27_pitfall_others_cost_nothing(stores: tuple[Store, Store], name: str) -> None:
    """A clear of ten keys took 14 s among 100,000 elsewhere; here it is the same commands as among 1,000."""
    few, many = (store.commands_of(CALLS[name]) for store in stores)
    assert few == many
    assert sum(few.values()) < 250


def test_r27_a_page_reads_its_entries_and_one_more(stores: tuple[Store, Store]) -> None:
    _, many = stores
    commands = many.commands_of(lambda m: m.search("many/0*", limit=50))
    assert commands.pop("evalsha") == commands.pop("zrangebylex") == commands.pop("time") == 1
    assert commands == {"get": 51}
    cursor = many.memory.search("many/*", limit=50).cursor
    assert many.commands_of(lambda m: m.search("many/*", limit=50, cursor=cursor))["get"] == 51


def test_r27_what_looks_at_values_looks_below_the_literal_prefix_alone(stores: tuple[Store, Store]) -> None:
    _, many = stores
    for query in ({"order": "updated"}, {"where": {(): {"$gte": 0}}}, {"order": "updated", "where": {(): 3}}):
        commands = many.commands_of(lambda m, query=query: m.search("many/0000?5", limit=5, **query))  # type: ignore[misc]
        assert commands["get"] == 100
    assert many.commands_of(lambda m: m.count("many/0000*", where={(): 5}))["get"] == 100
    assert "get" not in many.commands_of(lambda m: m.count("many/0000?5"))


def test_r27_nothing_walks_through_the_keys_of_the_server(stores: tuple[Store, Store]) -> None:
    for store in stores:
        called: set[str] = set()
        for call in CALLS.values():
            called |= set(store.commands_of(call))
        assert not called & {"keys", "scan", "sscan", "hscan", "zscan", "smembers", "hgetall", "flushdb", "dbsize"}
