"""R1, R3, R7, R19, R25, R29: bad arguments are refused before any I/O, and nothing is changed."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem import errors
from agentmem.entries import Entry
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.refusal_table import KINDS, ROWS, Row
from agentmem.testing.contract.refused import PATHS
from agentmem.testing.contract.untouchable import untouchable
from agentmem.testing.support import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory


def outcome(row: Row, memory: Memory) -> type[BaseException] | None:
    """What the row's call raises; None for nothing."""
    try:
        row.call(memory)
    except Exception as error:  # noqa: BLE001 - the very question
        return type(error)
    return None


class Refusals(Contract):
    """The table of bad input."""

    @pytest.fixture
    def filled(self, memory: Memory) -> Memory:
        """Entries of every kind, for calls that would change them."""
        memory.put_many({"text": "x", "number": 1, "list": [1], "object": {"a": 1}})
        memory.put("temporary", 1, ttl=3600, metadata={"owner": "x"})
        return memory

    @pytest.fixture
    def blind(self) -> Iterator[Memory]:
        """A handle on a store that must not be reached."""
        with agentmem.connect(untouchable()) as memory:
            yield memory

    @pytest.mark.parametrize("kind", KINDS)
    def test_r29_bad_input_changes_nothing(self, filled: Memory, kind: str) -> None:
        before, partitions = snapshot(filled), filled.partitions()
        wrong = {}
        for row in (row for row in ROWS if row.kind == kind):
            raised = outcome(row, filled)
            if raised is not row.error or snapshot(filled) != before or filled.partitions() != partitions:
                wrong[row.name] = raised
        assert wrong == {}

    @pytest.mark.parametrize("kind", KINDS)
    def test_r29_bad_input_is_refused_before_any_io(self, blind: Memory, kind: str) -> None:
        rows = [row for row in ROWS if row.kind == kind]
        raised = {row.name: outcome(row, blind) for row in rows}
        assert raised == {row.name: row.error for row in rows}

    @pytest.mark.parametrize(("value", "path"), PATHS)
    def test_r07_the_error_names_the_path_of_the_offender(self, blind: Memory, value: Any, path: str) -> None:
        with pytest.raises(errors.InvalidValue) as caught:
            blind.put("key", value)
        assert caught.value.path == path
        assert path in str(caught.value)

    def test_r29_every_bad_argument_is_a_value_error_of_ours(self) -> None:
        kinds = {row.error for row in ROWS}
        assert all(issubclass(kind, ValueError) and issubclass(kind, errors.AgentMemError) for kind in kinds)
        assert len(ROWS) >= 60

    def test_r29_one_tree(self, memory: Memory) -> None:
        memory.put("text", "x")
        for call in (
            lambda: memory.put("text", 1, if_absent=True),
            lambda: memory.increment("text"),
            lambda: memory.scoped("a").check(),
            lambda: memory.get(""),
        ):
            with pytest.raises(errors.AgentMemError):
                call()

    def test_r29_errors_survive_pickling(self, memory: Memory) -> None:
        entry = memory.put("text", "x")
        with pytest.raises(errors.VersionConflict) as caught:
            memory.put("text", 1, if_version=entry.version + 1)
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
        assert (type(copy), str(copy)) == (errors.VersionConflict, str(caught.value))
        assert (copy.key, copy.expected, copy.current) == ("text", entry.version + 1, entry)
        assert isinstance(copy.current, Entry)

    def test_r29_a_conflict_says_what_was_there(self, memory: Memory) -> None:
        entry = memory.put("plan", "x")
        with pytest.raises(errors.VersionConflict, match=f"'plan': expected no entry, found version {entry.version}"):
            memory.put("plan", 1, if_absent=True)
        with pytest.raises(errors.VersionConflict, match="'absent': expected version 7, found no entry"):
            memory.put("absent", 1, if_version=7)

    def test_r01_the_error_says_what_is_wrong_with_a_key(self, blind: Memory) -> None:
        for key, text in (("", "empty"), ("a\x00", "NUL"), ("\ud800", "surrogate"), ("x" * 1025, "1,025"), (5, "int")):
            with pytest.raises(errors.InvalidKey, match=text):
                blind.get(key)  # type: ignore[arg-type]
