"""R6, R7, R9: what is put is what is got, through every write and every read; null is a value."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.errors import InvalidValue, VersionConflict
from agentmem.operations import Append, Increment, Merge, Put
from agentmem.testing.contract.base import Contract
from agentmem.testing.support import exactly

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory


def nested(levels: int, inner: Any = None) -> Any:
    """Lists and objects in one another, `levels` deep."""
    value = inner
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus one": -1,
    "microseconds": 1757000000123456,
    "beyond a double": 9007199254740993,
    "int64": 2**63 - 1,
    "below int64": -(2**63) - 1,
    "uint64": 2**64,
    "big": 10**30 + 1,
    "4000 digits": 10**4000 - 1,
    "0.0": 0.0,
    "-0.0": -0.0,
    "1.0": 1.0,
    "0.1": 0.1,
    "1e22": 1e22,
    "1e-7": 1e-7,
    "float of 17 digits": 0.30000000000000004,
    "1e16": 1e16,
    "largest": 1.7976931348623157e308,
    "smallest": 5e-324,
    "empty": "",
    "NUL": "\x00",
    "NUL inside": "page 1\x00page 2",
    "the text of an escape": "\\u0000",
    "backslashes before it": "\\\\u0000\\\x00",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "quotes": "\"'`",
    "lines": "a\r\nb\u2028c\u2029d\ufeff",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "emoji": "😀🏽\U0010ffff",
    "noncharacters": "\ufffd\ufffe\uffff\ue000",
    "json in text": '{"a": [1, null]}',
    "a number in text": "10",
    "a date in text": "2026-02-31T00:00:00Z",
    "empty object": {},
    "empty list": [],
    "empty inside": [{}, [], "", {"": {"": []}}],
    "order of keys": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}, "B": 3, "aa": 4, "": 5},
    "keys of all kinds": {"a.b": 1, "$eq": 2, "@version": 3, "1": 4, "é": 5, "e\u0301": 6, "k\x00": 7, '"': 8, "\\": 9},
    "mixed": [None, True, 0, -0.0, 1.5, "a", [1, [2, [3]]], {"a": {"b": [{"c": None}]}}],
    "numbers apart by type": [1, 1.0, True, 0, 0.0, False, -0.0],
    "128 levels": nested(128),
    "wide": list(range(1000)),
    "long": "x" * 100_000,
}


class Values(Contract):
    """A value is JSON, exact and one's own."""

    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
    def test_r06_what_is_put_is_what_is_got(self, memory: Memory, value: Any) -> None:
        put = memory.put("key", value)
        expected = exactly(value)
        assert exactly(put.value) == expected
        assert exactly(memory.get("key")) == expected
        assert exactly(memory.entry("key").value) == expected  # type: ignore[union-attr]
        assert exactly(memory.get_many(["key"])["key"]) == expected
        assert exactly(memory.search()[0].value) == expected
        assert exactly(next(memory.items()).value) == expected
        assert exactly(memory.pop("key")) == expected

    def test_r06_every_write_stores_exactly(self, memory: Memory) -> None:
        values = {key: value for key, value in VALUES.items() if key != "long"}
        memory.put_many({f"many/{key}": value for key, value in values.items()})
        memory.apply([Put(f"apply/{key}", value) for key, value in values.items()])
        with memory.transaction() as tx:
            for key, value in values.items():
                tx.put(f"tx/{key}", value)
        for key, value in values.items():
            memory.update(f"update/{key}", lambda _, value=value: value, default=0)  # type: ignore[misc]
        for way in ("many", "apply", "tx", "update"):
            got = memory.get_many([f"{way}/{key}" for key in values])
            assert exactly([got[f"{way}/{key}"] for key in values]) == exactly(list(values.values())), way

    def test_r06_append_and_merge_leave_the_rest_exact(self, memory: Memory) -> None:
        values = [value for key, value in VALUES.items() if key not in ("long", "128 levels")]
        memory.put("list", values)
        memory.append("list", *values)
        assert exactly(memory.get("list")) == exactly(values + values)
        members = {f"m{number}": value for number, value in enumerate(values)}
        memory.put("object", members)
        entry = memory.merge("object", {"added": 1})
        assert exactly(entry.value) == exactly(members | {"added": 1})
        assert exactly(memory.get("object")) == exactly(members | {"added": 1})

    def test_r06_metadata_is_exact_too(self, memory: Memory) -> None:
        metadata = {"z": 1, "a": [1e22, -0.0, 2**70, "\x00"], "é": None, "m": {"b": 1, "a": 2}}
        memory.put("key", 1, metadata=metadata)
        assert exactly(memory.entry("key").metadata) == exactly(metadata)  # type: ignore[union-attr]
        assert exactly(memory.search()[0].metadata) == exactly(metadata)
        memory.put("key", 1)
        assert memory.entry("key").metadata == {}  # type: ignore[union-attr]

    def test_r06_pitfall_changing_what_get_returned_changes_nothing_stored(self, memory: Memory) -> None:
        memory.put("key", {"list": [1], "object": {"a": 1}}, metadata={"tags": ["x"]})
        readers: list[Callable[[], Any]] = [
            lambda: memory.get("key"),
            lambda: memory.entry("key").value,  # type: ignore[union-attr]
            lambda: memory.get_many(["key"])["key"],
            lambda: memory.search()[0].value,
        ]
        for read in readers:
            value = read()
            value["list"].append(2)
            value["object"]["b"] = 2
            assert read() == {"list": [1], "object": {"a": 1}}
        memory.entry("key").metadata["tags"].append("y")  # type: ignore[union-attr]
        assert memory.entry("key").metadata == {"tags": ["x"]}  # type: ignore[union-attr]

    def test_r06_changing_what_was_put_changes_nothing_stored(self, memory: Memory) -> None:
        value, metadata = {"list": [1]}, {"tags": ["x"]}
        put = memory.put("key", value, metadata=metadata)
        operation = Put("other", value)
        memory.apply([operation])
        value["list"].append(2)
        metadata["tags"].append("y")
        assert put.value == memory.get("key") == memory.get("other") == {"list": [1]}
        assert memory.entry("key").metadata == {"tags": ["x"]}  # type: ignore[union-attr]

    def test_r06_a_default_is_given_back_as_it_is(self, memory: Memory) -> None:
        default: list[int] = []
        assert memory.get("absent", default) is default
        assert memory.pop("absent", default) is default

    def test_r07_tuples_are_stored_as_lists(self, memory: Memory) -> None:
        memory.put("key", (1, ("a", ()), {"t": (None,)}))
        assert exactly(memory.get("key")) == exactly([1, ["a", []], {"t": [None]}])

    def test_r07_pitfall_int_keys_do_not_become_text(self, memory: Memory) -> None:
        with pytest.raises(InvalidValue):
            memory.put("key", {1: "int", "1": "text"})
        assert not memory.exists("key")

    def test_r07_levels_up_to_128(self, memory: Memory) -> None:
        memory.put("key", nested(127))
        memory.merge("key", {"b": 1})
        with pytest.raises(InvalidValue):
            memory.merge("key", nested(129))
        memory.put("list", [nested(126)])
        with pytest.raises(InvalidValue):
            memory.append("list", nested(128))
        assert exactly(memory.get("list")) == exactly([nested(126)])

    def test_r07_two_references_to_one_list_are_no_cycle(self, memory: Memory) -> None:
        twice = [1]
        memory.put("key", [twice, twice, {"again": twice}])
        assert memory.get("key") == [[1], [1], {"again": [1]}]

    def test_r09_null_is_a_value(self, memory: Memory) -> None:
        memory.put("null", None)
        assert memory.exists("null")
        assert memory.entry("null").value is None  # type: ignore[union-attr]
        assert memory.entry("absent") is None
        assert memory.get("null", "default") is None
        assert memory.get("null", agentmem.MISSING) is None
        assert memory.get("absent", agentmem.MISSING) is agentmem.MISSING
        assert memory.get_many(["null", "absent"]) == {"null": None}
        assert memory.count() == 1

    def test_r09_null_is_replaced_and_removed_like_any_value(self, memory: Memory) -> None:
        memory.put("null", None)
        with pytest.raises(VersionConflict):
            memory.put("null", 1, if_absent=True)
        assert memory.update("null", lambda value: [value]).value == [None]
        memory.put("null", None)
        assert memory.pop("null", "default") is None
        assert not memory.exists("null")
        assert memory.pop("null", "default") == "default"

    def test_r06_one_value_read_by_many_threads(self, memory: Memory) -> None:
        value = {"n": list(range(100))}
        entry = memory.put("key", value)
        seen: list[bool] = []
        threads = [threading.Thread(target=lambda: seen.append(entry.value == value)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [True] * 8

    def test_r06_the_body_is_the_json_text(self, memory: Memory) -> None:
        value = {"b": [1, 2.5, None], "a": "é\x00"}
        memory.put("key", value)
        assert json.loads(memory.entry("key").body) == value  # type: ignore[union-attr]

    def test_r06_operations_take_exact_values(self, memory: Memory) -> None:
        memory.put("object", {"z": 1e22, "a": -0.0})
        results = memory.apply(
            [Append("list", -0.0, 1e22), Increment("n", by=0.5), Merge("object", {"m": {"y": 1, "b": 2}})]
        )
        assert exactly([result.value for result in results[:2]]) == exactly([2, 0.5])
        assert exactly(memory.get("list")) == exactly([-0.0, 1e22])
        assert exactly(results[2].value.value) == exactly({"z": 1e22, "a": -0.0, "m": {"y": 1, "b": 2}})
