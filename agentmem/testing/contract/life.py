"""R17, R30, R31, R35: opening, closing, options."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import agentmem
from agentmem.errors import AgentMemError, Closed, ConfigurationError
from agentmem.operations import Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

#: Every call of the surface that reaches the store.
CALLS: dict[str, Callable[[Memory], Any]] = {
    "put": lambda m: m.put("key", 1),
    "get": lambda m: m.get("key"),
    "entry": lambda m: m.entry("key"),
    "exists": lambda m: m.exists("key"),
    "delete": lambda m: m.delete("key"),
    "get_many": lambda m: m.get_many(["key"]),
    "get_many of none": lambda m: m.get_many([]),
    "put_many": lambda m: m.put_many({"key": 1}),
    "delete_many": lambda m: m.delete_many(["key"]),
    "pop": lambda m: m.pop("key"),
    "increment": lambda m: m.increment("key"),
    "append": lambda m: m.append("key", 1),
    "merge": lambda m: m.merge("key", {}),
    "update": lambda m: m.update("key", lambda value: value, default=1),
    "touch": lambda m: m.touch("key", 1),
    "apply": lambda m: m.apply([Put("key", 1)]),
    "apply nothing": lambda m: m.apply([]),
    "transaction": lambda m: m.run(lambda tx: tx.put("key", 1)),
    "search": lambda m: m.search(),
    "keys": lambda m: list(m.keys()),
    "items": lambda m: list(m.items()),
    "children": lambda m: m.children(),
    "count": lambda m: m.count(),
    "delete_matching": lambda m: m.delete_matching("*"),
    "stats": lambda m: m.stats(),
    "clear": lambda m: m.clear(),
    "purge_expired": lambda m: m.purge_expired(),
    "partition": lambda m: m.partition("other").get("key"),
    "partition policy": lambda m: m.partition("other", default_ttl=5),
    "partitions": lambda m: m.partitions(),
    "drop_partition": lambda m: m.drop_partition("other"),
    "scoped": lambda m: m.scoped("a/").get("key"),
    "check": lambda m: m.check(),
    "ping": lambda m: m.ping(),
    "with": lambda m: m.__enter__(),
}


class Life(Contract):
    """A handle's beginning and end."""

    def test_r35_every_call_of_a_closed_handle_is_refused(self, harness: Harness) -> None:
        memory = harness.connect()
        memory.put("key", 1)
        memory.close()
        answers = {}
        for name, call in CALLS.items():
            try:
                answers[name] = call(memory)
            except Closed:
                continue
        assert answers == {}

    def test_r35_closing_twice_is_closing_once(self, harness: Harness) -> None:
        memory = harness.connect()
        memory.close()
        memory.close()
        with pytest.raises(Closed):
            memory.get("key")

    def test_r35_with_closes_also_after_an_error(self, harness: Harness) -> None:
        with pytest.raises(LookupError), harness.connect() as memory:
            raise LookupError
        with pytest.raises(Closed):
            memory.get("key")

    def test_r35_what_was_written_outlives_its_handle(self, shared: Harness) -> None:
        with shared.connect() as first:
            first.put("key", {"a": 1})
            with shared.connect() as second:
                assert second.get("key") == {"a": 1}
            assert first.get("key") == {"a": 1}
        with shared.connect() as third:
            assert third.get("key") == {"a": 1}

    def test_r35_closing_a_derived_handle_closes_only_that(self, memory: Memory) -> None:
        memory.put("key", 1)
        derived = [memory.partition("other"), memory.scoped("in/"), memory.partition("other").scoped("in/")]
        for handle in derived:
            handle.put("key", 1)
            handle.close()
            with pytest.raises(Closed):
                handle.get("key")
            assert memory.get("key") == 1
        assert memory.partition("other").get("key") == 1

    def test_r35_closing_the_owner_closes_what_it_gave(self, harness: Harness) -> None:
        memory = harness.connect()
        derived = [memory, memory.partition("other"), memory.scoped("in/"), memory.scoped("in/").scoped("deep/")]
        memory.close()
        for handle in derived:
            with pytest.raises(Closed):
                handle.get("key")

    def test_r35_a_walk_ends_with_its_handle(self, harness: Harness) -> None:
        memory = harness.connect()
        memory.put_many({f"key/{n:04}": n for n in range(3000)})
        walk = memory.keys()
        next(walk)
        memory.close()
        with pytest.raises(Closed):
            list(walk)

    def test_r35_a_transaction_cannot_outlive_its_handle(self, harness: Harness) -> None:
        memory = harness.connect()
        with pytest.raises(Closed), memory.transaction() as tx:  # noqa: PT012 - the end of the block raises
            tx.put("key", 1)
            memory.close()

    def test_r35_closing_ends_our_threads(self, harness: Harness) -> None:
        before = set(threading.enumerate())
        memory = harness.connect(sweep_every=0.05)
        memory.put("key", 1)
        memory.close()
        eventually(lambda: set(threading.enumerate()) <= before)

    def test_r35_threads_at_work_are_told(self, harness: Harness) -> None:
        memory = harness.connect()
        errors: list[BaseException] = []
        working = threading.Barrier(5)

        def work() -> None:
            working.wait(30)
            try:
                while True:
                    memory.increment("counter")
            except AgentMemError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        working.wait(30)
        eventually(lambda: memory.get("counter", 0) > 20)
        memory.close()
        for thread in threads:
            thread.join(30)
        assert [type(error) for error in errors] == [Closed] * 4

    def test_r17_a_write_shows_on_every_handle_at_once(self, shared: Harness) -> None:
        with shared.connect() as first, shared.connect() as second:
            for number in range(20):
                writer, reader = (first, second) if number % 2 else (second, first)
                writer.put("key", number)
                assert reader.get("key") == number
                assert reader.count() == 1

    def test_r31_an_unknown_option_is_refused_by_name(self, harness: Harness) -> None:
        with pytest.raises(ConfigurationError, match="nonsense"):
            harness.connect(nonsense=1)

    @pytest.mark.parametrize(
        "options",
        [
            {"partition": ""},
            {"partition": "x" * 129},
            {"namespace": "a\x00"},
            {"namespace": 5},
            {"max_value_bytes": 0},
            {"max_value_bytes": "1 MiB"},
            {"sweep_every": -1},
            {"sweep_every": True},
            {"pool_size": 0},
            {"pool_timeout": "soon"},
            {"codec": 7},
        ],
        ids=str,
    )
    def test_r31_a_bad_option_is_refused(self, harness: Harness, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - InvalidArgument is one, and is checked below
            harness.connect(**options)
        assert isinstance(caught.value, AgentMemError)

    @pytest.mark.parametrize("url", ["nosuch://agent:hunter2@host/db", "hunter2", "://", "http://u:hunter2@x", ""])
    def test_r31_an_unknown_scheme_is_refused_without_its_password(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            agentmem.connect(url)
        assert "agent:hunter2" not in str(caught.value)
        assert "u:hunter2" not in str(caught.value)

    def test_r30_no_repr_shows_a_password(self, harness: Harness, memory: Memory) -> None:
        texts = [repr(memory), str(memory), repr(memory.partition("other")), repr(memory.scoped("a/"))]
        texts += [repr(memory.stats()), repr(memory.put("key", 1)), repr(memory.search())]
        password = urlsplit(harness.url or "").password
        if password:
            assert [text for text in texts if password in text] == []
        assert all("://" not in text or ":***@" in text or "@" not in text for text in texts)
