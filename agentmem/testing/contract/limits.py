"""R8: sizes of values and metadata; also of values that grow where they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.errors import ValueTooLarge
from agentmem.operations import Append, Merge, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import snapshot

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

MIB = 1024 * 1024
KIB16 = 16 * 1024


class Limits(Contract):
    """A value has a largest size, which counts bytes of its JSON text."""

    def test_r08_a_value_of_exactly_the_limit(self, memory: Memory) -> None:
        text = "x" * (MIB - 2)  # two quotes
        memory.put("key", text)
        assert memory.get("key") == text
        with pytest.raises(ValueTooLarge) as caught:
            memory.put("key", text + "x")
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (MIB + 1, MIB)
        assert memory.get("key") == text

    def test_r08_the_error_has_both_sizes_in_its_text(self, memory: Memory) -> None:
        with pytest.raises(ValueTooLarge, match=r"1,048,577 bytes.*1,048,576 bytes"):
            memory.put("key", "x" * (MIB - 1))

    def test_r08_the_limit_counts_bytes_not_characters(self, harness: Harness) -> None:
        with harness.connect(max_value_bytes=100) as memory:
            memory.put("key", "é" * 49)
            with pytest.raises(ValueTooLarge):
                memory.put("key", "é" * 50)
            assert memory.get("key") == "é" * 49

    def test_r08_the_limit_can_be_set(self, harness: Harness) -> None:
        with harness.connect(max_value_bytes=4 * MIB) as memory:
            memory.put("large", "x" * (3 * MIB))
            assert len(memory.get("large")) == 3 * MIB
            with pytest.raises(ValueTooLarge):
                memory.put("too large", "x" * (4 * MIB))

    def test_r08_append_does_not_grow_past_the_limit(self, harness: Harness) -> None:
        with harness.connect(max_value_bytes=1000) as memory:
            memory.put("list", ["x" * 900])
            before = snapshot(memory)
            with pytest.raises(ValueTooLarge) as caught:
                memory.append("list", "y" * 200)
            assert caught.value.limit_bytes == 1000 < caught.value.size_bytes
            with pytest.raises(ValueTooLarge):
                memory.apply([Put("other", 1), Append("list", "y" * 200)])
            assert snapshot(memory) == before
            assert memory.append("list", "y" * 200, limit=1) == 1

    def test_r08_merge_does_not_grow_past_the_limit(self, harness: Harness) -> None:
        with harness.connect(max_value_bytes=1000) as memory:
            memory.put("object", {"a": "x" * 900})
            before = snapshot(memory)
            with pytest.raises(ValueTooLarge):
                memory.merge("object", {"b": "y" * 200})
            with pytest.raises(ValueTooLarge):
                memory.apply([Put("other", 1), Merge("object", {"b": "y" * 200})])
            assert snapshot(memory) == before
            assert memory.merge("object", {"a": None, "b": "y" * 200}).value == {"b": "y" * 200}

    def test_r08_metadata_of_exactly_16_kib(self, memory: Memory) -> None:
        metadata = {"a": "x" * (KIB16 - len('{"a":""}'))}
        memory.put("key", 1, metadata=metadata)
        assert memory.entry("key").metadata == metadata  # type: ignore[union-attr]
        with pytest.raises(ValueTooLarge) as caught:
            memory.put("key", 2, metadata={"a": metadata["a"] + "x"})
        assert caught.value.limit_bytes == KIB16
        assert memory.get("key") == 1

    def test_r08_one_value_too_large_refuses_its_batch(self, memory: Memory) -> None:
        memory.put("a", 1)
        with pytest.raises(ValueTooLarge):
            memory.put_many({"a": 2, "b": "x" * MIB})
        assert memory.get_many(["a", "b"]) == {"a": 1}

    def test_r08_a_megabyte_in_each_of_twenty_entries(self, memory: Memory) -> None:
        values = {f"large/{number}": chr(ord("a") + number) * (MIB - 2) for number in range(20)}
        memory.put_many(values)
        assert memory.get_many(values) == values
        assert memory.stats().value_bytes == 20 * MIB
