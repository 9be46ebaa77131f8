"""R15: loading writes atomic pieces, in order, and reads what it is given no sooner than it writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from agentmem.errors import InvalidArgument, InvalidValue, LeaseLost, NamespaceError
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


class Finding(pydantic.BaseModel):
    """What an analyst reports."""

    score: int


def notes(error: BaseException) -> list[str]:
    """What was added to an error's text."""
    return list(getattr(error, "__notes__", ()))


class Loading(Contract):
    """load."""

    def test_r15_load_reads_lazily_and_writes_in_pieces(self, memory: Memory) -> None:
        seen = []

        def pairs() -> Iterator[tuple[str, int]]:
            for number in range(25):
                seen.append(memory.count())
                yield f"key/{number:02}", number

        assert memory.load(pairs(), chunk=10) == 25
        assert seen == [0] * 10 + [10] * 10 + [20] * 5
        assert [(entry.key, entry.value) for entry in memory.items()] == list(pairs())
        assert memory.check() == []

    def test_r15_load_takes_what_bears_pairs(self, memory: Memory) -> None:
        assert memory.load({"a": 1, "b": [2]}) == 2
        assert memory.load([("c", 3), ["d", None]], chunk=1) == 2  # type: ignore[list-item]
        assert memory.load(iter(())) == 0
        assert memory.get_many(list("abcd")) == {"a": 1, "b": [2], "c": 3, "d": None}

    @pytest.mark.parametrize("chunk", [1, 3, 1000])
    def test_r15_load_puts_the_later_value_of_a_key(self, memory: Memory, chunk: int) -> None:
        old = memory.put("key/0", "old", metadata={"by": "me"})
        assert memory.load([(f"key/{number % 4}", number) for number in range(10)], chunk=chunk) == 10
        assert {entry.key: entry.value for entry in memory.items()} == {"key/0": 8, "key/1": 9, "key/2": 6, "key/3": 7}
        entry = memory.entry("key/0")
        assert entry is not None
        assert (entry.created_at, entry.metadata) == (old.created_at, {})
        assert entry.version > old.version

    def test_r20_load_gives_the_ttl_that_was_asked_for(self, memory: Memory) -> None:
        memory.load({"default": 1})
        memory.partition("default", default_ttl=LONG)
        memory.load({"policy": 1})
        memory.load({"own": 1}, ttl=2 * LONG)
        memory.load({"never": 1}, ttl=None)
        lives = {entry.key: entry.expires_at and (entry.expires_at - entry.updated_at) for entry in memory.items()}
        seconds = {key: life and round(life.total_seconds()) for key, life in lives.items()}
        assert seconds == {"default": None, "policy": LONG, "own": 2 * LONG, "never": None}

    def test_r15_an_error_leaves_the_pieces_before_it(self, memory: Memory) -> None:
        pairs: list[Any] = [(f"key/{number}", number) for number in range(7)]
        wrongs: list[tuple[Any, type[Exception]]] = [
            (("bad", {1}), InvalidValue),
            ("key/7", InvalidArgument),
            (("a", 1, 2), InvalidArgument),
        ]
        for wrong, error in wrongs:
            memory.clear()
            with pytest.raises(error) as caught:
                memory.load([*pairs, wrong], chunk=3)
            assert list(memory.keys()) == [f"key/{number}" for number in range(6)]
            assert notes(caught.value)[-1] == "Entries stored before it: 6."
            assert "bad" not in str(wrong) or notes(caught.value)[0] == "This was the entry 'bad'."

    def test_r15_an_error_of_the_source_comes_through(self, memory: Memory) -> None:
        def pairs() -> Iterator[tuple[str, int]]:
            yield from ((f"key/{number}", number) for number in range(5))
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone") as caught:
            memory.load(pairs(), chunk=2)
        assert notes(caught.value) == ["Entries stored before it: 4."]
        assert memory.count() == 4

    def test_r15_a_piece_that_the_store_refuses_leaves_nothing(self, memory: Memory) -> None:
        memory.partition("default", namespace="in/")
        keys = ["in/1", "in/2", "in/3", "out", "in/4"]
        with pytest.raises(NamespaceError) as caught:
            memory.load([(key, 1) for key in keys], chunk=2)
        assert list(memory.keys()) == ["in/1", "in/2"]
        assert notes(caught.value) == ["Entries stored before it: 2."]

    def test_r15_load_of_a_scope_and_of_models(self, memory: Memory) -> None:
        assert memory.scoped("findings/").load([("a", {"score": 1})]) == 1
        findings = memory.scoped("findings/").typed(Finding)
        assert findings.load((f"{n}", Finding(score=n)) for n in range(5)) == 5
        assert findings.get("4") == Finding(score=4)
        with pytest.raises(InvalidValue, match="score"):
            findings.load({"b": {"score": "high"}})
        assert list(memory.keys()) == [*(f"findings/{n}" for n in range(5)), "findings/a"]

    def test_r40_every_piece_of_a_load_is_fenced(self, memory: Memory) -> None:
        lease = memory.lease("name", LONG)
        assert lease.acquire()
        fenced = memory.fenced(lease)

        def pairs() -> Iterator[tuple[str, int]]:
            yield from (("a", 1), ("b", 2), ("c", 3))
            lease.release()
            yield from (("d", 4), ("e", 5))

        with pytest.raises(LeaseLost) as caught:
            fenced.load(pairs(), chunk=2)
        assert notes(caught.value) == ["Entries stored before it: 2."]
        assert list(memory.keys()) == ["a", "b"]

    @pytest.mark.slow
    def test_r15_load_of_100_000_entries(self, memory: Memory) -> None:
        assert memory.load((f"bulk/{number:06}", number) for number in range(100_000)) == 100_000
        assert sum(entry.value for entry in memory.items("bulk/")) == sum(range(100_000))
