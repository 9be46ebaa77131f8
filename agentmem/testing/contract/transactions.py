"""R16: a transaction writes all of it, or nothing when somebody changed what it had read."""

# ruff: noqa: PT012 - the end of a transaction's block raises

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import Closed, InvalidOperation, InvalidValue, VersionConflict
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG, SHORT, eventually, exactly, run_threads, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

#: What another writer may do to a key that was read.
MEDDLING: dict[str, Callable[[Memory], Any]] = {
    "put": lambda memory: memory.put("read", "other"),
    "put of the same value": lambda memory: memory.put("read", {"n": 1}),
    "merge": lambda memory: memory.merge("read", {"m": 2}),
    "touch": lambda memory: memory.touch("read", LONG),
    "delete": lambda memory: memory.delete("read"),
    "delete and put": lambda memory: (memory.delete("read"), memory.put("read", {"n": 1})),
    "clear": lambda memory: memory.clear(),
    "batch": lambda memory: memory.put_many({"x": 1, "read": 2}),
}


class Transactions(Contract):
    """Reads remember versions, writes wait, commit is one batch."""

    def test_r16_a_commit_writes_everything(self, memory: Memory) -> None:
        memory.put_many({"n": 1, "list": [1], "object": {"a": 1}, "doomed": 1, "popped": "p"})
        with memory.transaction() as tx:
            tx.put("new", {"v": tx.get("n")}, ttl=LONG, metadata={"m": 1})
            tx.increment("n", 5)
            tx.append("list", 2)
            tx.merge("object", {"b": 2})
            tx.delete("doomed")
            tx.touch("object", LONG)
            assert tx.pop("popped") == "p"
        assert {entry.key: entry.value for entry in memory.items()} == {
            "n": 6, "list": [1, 2], "object": {"a": 1, "b": 2}, "new": {"v": 1},
        }  # fmt: skip
        assert memory.entry("new").metadata == {"m": 1}  # type: ignore[union-attr]
        assert memory.entry("object").expires_at is not None  # type: ignore[union-attr]

    def test_r16_nothing_shows_before_the_commit(self, memory: Memory) -> None:
        memory.put("a", 1)
        before = snapshot(memory)
        with memory.transaction() as tx:
            tx.put("a", 2)
            tx.put("b", 2)
            tx.delete("a")
            assert snapshot(memory) == before
        assert {entry.key: entry.value for entry in memory.items()} == {"b": 2}

    def test_r16_an_exception_writes_nothing(self, memory: Memory) -> None:
        memory.put("a", 1)
        before = snapshot(memory)
        with pytest.raises(LookupError), memory.transaction() as tx:
            tx.put("a", 2)
            tx.increment("b")
            raise LookupError
        assert snapshot(memory) == before

    def test_r16_a_transaction_reads_its_own_writes(self, memory: Memory) -> None:
        memory.put_many({"n": 1, "list": [1]})
        with memory.transaction() as tx:
            tx.put("a", {"z": 1, "a": 1e22})
            assert exactly(tx.get("a")) == exactly({"z": 1, "a": 1e22})
            tx.increment("n", 4)
            assert tx.get("n") == 5
            tx.append("list", 2)
            assert tx.get_many(["list", "n", "absent"]) == {"list": [1, 2], "n": 5}
            tx.delete("n")
            assert not tx.exists("n")
            assert tx.get("n", "default") == "default"
            tx.put("n", None)
            assert tx.entry("n") is not None
        assert memory.get("n", "default") is None

    def test_r16_a_read_is_repeatable(self, memory: Memory) -> None:
        memory.put("key", 1)
        with pytest.raises(VersionConflict), memory.transaction() as tx:
            assert tx.get("key") == 1
            memory.put("key", 2)
            assert tx.get("key") == 1
        assert memory.get("key") == 2

    @pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
    def test_r16_a_read_that_was_changed_is_a_conflict(self, memory: Memory, meddle: Callable[[Memory], Any]) -> None:
        first = memory.put("read", {"n": 1})
        with pytest.raises(VersionConflict) as caught, memory.transaction() as tx:
            assert tx.get("read") == {"n": 1}
            tx.put("written", tx.get("read"))
            tx.increment("counter")
            meddle(memory)
            after = snapshot(memory)
        assert (caught.value.key, caught.value.expected) == ("read", first.version)
        assert caught.value.current == after.get("read")
        assert snapshot(memory) == after

    @pytest.mark.parametrize("read", ["get", "exists", "entry", "get_many", "pop"])
    def test_r16_a_missing_key_that_appeared_is_a_conflict(self, memory: Memory, read: str) -> None:
        with pytest.raises(VersionConflict) as caught, memory.transaction() as tx:
            assert not getattr(tx, read)(["key"] if read == "get_many" else "key")
            tx.put("other", 1)
            memory.put("key", "now there")
        assert (caught.value.key, caught.value.expected) == ("key", None)
        assert caught.value.current.value == "now there"
        assert not memory.exists("other")

    def test_r16_a_read_that_expired_is_a_conflict(self, memory: Memory) -> None:
        memory.put("key", 1, ttl=SHORT * 4)
        with pytest.raises(VersionConflict) as caught, memory.transaction() as tx:
            tx.put("copy", tx.get("key"))
            eventually(lambda: not memory.exists("key"))
        assert caught.value.current is None
        assert not memory.exists("copy")

    def test_r16_what_was_not_read_may_change(self, memory: Memory) -> None:
        memory.put_many({"n": 1, "other": 1})
        with memory.transaction() as tx:
            tx.increment("n")
            tx.put("blind", 1)
            memory.increment("n", 10)
            memory.put("other", 2)
            memory.put("blind", 2)
        assert memory.get_many(["n", "other", "blind"]) == {"n": 12, "other": 2, "blind": 1}

    def test_r16_a_transaction_that_only_reads_proves_its_view(self, memory: Memory) -> None:
        memory.put_many({"a": 1, "b": 1})
        with memory.transaction() as tx:
            assert (tx.get("a"), tx.get("b")) == (1, 1)
        with pytest.raises(VersionConflict), memory.transaction() as tx:
            tx.get("a")
            memory.put_many({"a": 2, "b": 2})
            tx.get("b")

    def test_r16_expectations_within_a_transaction(self, memory: Memory) -> None:
        version = memory.put("key", 1).version
        with memory.transaction() as tx:
            tx.put("key", 2, if_version=version)
            tx.put("new", 1, if_absent=True)
            tx.check("absent", None)
        failing: list[Callable[[Any], None]] = [
            lambda tx: tx.put("key", 3, if_version=version),
            lambda tx: tx.put("new", 3, if_absent=True),
            lambda tx: tx.delete("key", if_version=version),
            lambda tx: tx.check("key", version),
        ]
        for fails in failing:
            with pytest.raises(VersionConflict), memory.transaction() as tx:
                tx.put("other", 1)
                fails(tx)
        assert memory.get_many(["key", "new", "other"]) == {"key": 2, "new": 1}

    def test_r16_errors_of_the_batch_come_at_the_commit(self, memory: Memory) -> None:
        memory.put("text", "x")
        before = snapshot(memory)
        with pytest.raises(InvalidOperation), memory.transaction() as tx:
            tx.put("a", 1)
            tx.increment("text")
        with pytest.raises(InvalidValue), memory.transaction() as tx:
            tx.put("a", 1)
            tx.put("b", float("nan"))
        assert snapshot(memory) == before

    def test_r16_a_transaction_is_used_once(self, memory: Memory) -> None:
        with memory.transaction() as tx:
            tx.put("a", 1)
        lates: list[Callable[[], Any]] = [lambda: tx.put("b", 1), lambda: tx.get("a"), tx.__enter__]
        for late in lates:
            with pytest.raises(Closed):
                late()
        assert list(memory.keys()) == ["a"]

    def test_r16_run_returns_what_the_function_returns(self, memory: Memory) -> None:
        memory.put("n", 20)

        def add(tx: Any) -> int:
            tx.put("m", 1)
            return int(tx.get("n") + 1)

        assert memory.run(add) == 21
        assert memory.get("m") == 1

    def test_r16_run_retries_a_conflict(self, memory: Memory) -> None:
        memory.put("n", 0)
        calls = []

        def add(tx: Any) -> int:
            n = tx.get("n")
            calls.append(n)
            if len(calls) < 4:
                memory.increment("n", 10)
            tx.put("n", n + 1)
            return int(n)

        assert memory.run(add) == 30
        assert (calls, memory.get("n")) == ([0, 10, 20, 30], 31)

    def test_r16_run_gives_up_after_its_attempts(self, memory: Memory) -> None:
        def meddle(tx: Any) -> None:
            tx.put("copy", tx.get("n"))
            memory.increment("n")

        with pytest.raises(VersionConflict):
            memory.run(meddle, attempts=3)
        assert (memory.get("n"), memory.exists("copy")) == (3, False)

    def test_r16_run_passes_other_errors_on(self, memory: Memory) -> None:
        calls = []

        def fail(tx: Any) -> None:
            calls.append(tx.put("a", 1))
            raise LookupError

        with pytest.raises(LookupError):
            memory.run(fail)
        assert (len(calls), memory.exists("a")) == (1, False)

    def test_r16_threads_move_between_accounts_and_lose_nothing(self, memory: Memory) -> None:
        memory.put_many({f"account/{n}": 100 for n in range(4)})

        def move(index: int) -> None:
            for turn in range(6):
                source, target = f"account/{(index + turn) % 4}", f"account/{(index * 3 + turn + 1) % 4}"

                def transfer(tx: Any, source: str = source, target: str = target) -> None:
                    tx.put(source, tx.get(source) - 7)
                    tx.put(target, tx.get(target) + 7)

                memory.run(transfer, attempts=1000)

        run_threads(8, move)
        assert sum(entry.value for entry in memory.items()) == 400
        assert memory.check() == []

    def test_r16_pitfall_write_skew_is_a_conflict(self, memory: Memory) -> None:
        memory.put_many({"on call/a": True, "on call/b": True})

        def leave(index: int) -> bool:
            me, other = ("on call/a", "on call/b") if index == 0 else ("on call/b", "on call/a")

            def go(tx: Any) -> bool:
                if tx.get(other):
                    tx.put(me, False)
                    return True
                return False

            return memory.run(go, attempts=1000)

        assert sorted(run_threads(2, leave)) == [False, True]
        assert sum(entry.value for entry in memory.items()) == 1

    def test_r16_in_a_scope_keys_are_relative(self, memory: Memory) -> None:
        memory.put("in/n", 1)
        scoped = memory.scoped("in/")
        with pytest.raises(VersionConflict) as caught, scoped.transaction() as tx:
            tx.put("n", tx.get("n") + 1)
            memory.put("in/n", 5)
        assert caught.value.key == caught.value.current.key == "n"
        scoped.run(lambda tx: tx.put("n", tx.get("n") + 1))
        assert memory.get("in/n") == 6
