"""Cursors: opaque, safe in a URL, and good for the search that made them only (R26)."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from agentmem import InvalidCursor, Memory, cursors, filters
from agentmem.keys import Pattern
from agentmem.repository import Position, Query
from agentmem.scope import Scope
from tests.unit.dict_repository import DictRepository

SCOPE = Scope("default", max_value_bytes=100)
QUERY = Query(Pattern.parse("a*"), filters.parse({"n": {"$gt": 1}}))


@pytest.mark.parametrize(
    "position",
    [Position("a"), Position("a/é \u2028?&=😀" * 20), Position("a", 2**62, 2**62 + 1), Position("a\x01\x7f")],
)
def test_a_position_comes_back(position: Position) -> None:
    cursor = cursors.encode(SCOPE, QUERY, position)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert cursors.decode(SCOPE, QUERY, cursor) == position


OTHERS = {
    "pattern": QUERY._replace(pattern=Pattern.parse("a?")),
    "where": QUERY._replace(where=filters.parse({"n": {"$gt": 2}})),
    "no where": QUERY._replace(where=None),
    "order": QUERY._replace(order="updated"),
    "descending": QUERY._replace(descending=True),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_r26_a_cursor_of_another_query_is_refused(other: Query) -> None:
    cursor = cursors.encode(SCOPE, QUERY, Position("a"))
    with pytest.raises(InvalidCursor, match="another search"):
        cursors.decode(SCOPE, other, cursor)


@pytest.mark.parametrize("changes", [{"partition": "other"}, {"prefix": "a"}])
def test_r26_a_cursor_of_another_scope_is_refused(changes: dict[str, str]) -> None:
    cursor = cursors.encode(SCOPE, QUERY, Position("a"))
    with pytest.raises(InvalidCursor):
        cursors.decode(SCOPE.replaced(**changes), QUERY, cursor)


def test_r26_every_single_change_of_a_cursor_is_found() -> None:
    cursor = cursors.encode(SCOPE, QUERY, Position("a/key", 5, 6))
    for index, character in enumerate(cursor):
        for other in ("A", "_", "b", "=", "+", " ", "é", ""):
            damaged = cursor[:index] + other + cursor[index + 1 :]
            if other != character:
                with pytest.raises(InvalidCursor):
                    cursors.decode(SCOPE, QUERY, damaged)


@pytest.mark.parametrize("cursor", [None, 5, b"abc", ["a"], "", "=", "A", "AAAA", "\0", "\ud800", "a" * 100_000])
def test_r26_what_is_no_cursor_is_refused(cursor: Any) -> None:
    with pytest.raises(InvalidCursor):
        cursors.decode(SCOPE, QUERY, cursor)


FORGED = [
    [],
    ["a"],
    ["a", 0],
    ["a", 0, 0, 0],
    {"a": 1, "b": 2, "c": 3},
    "abc",
    5,
    None,
    [1, 0, 0],
    ["", 0, 0],
    ["a\0", 0, 0],
    ["a" * 2000, 0, 0],
    ["a", "0", 0],
    ["a", 0, None],
    ["a", True, 0],
    ["a", 0.5, 0],
    ["a", -1, 0],
    ["a", 0, 2**63],
]


@pytest.mark.parametrize("fields", FORGED, ids=json.dumps)
def test_r26_a_forged_cursor_with_the_right_digest_names_no_odd_position(fields: Any) -> None:
    payload = json.dumps(fields).encode()
    raw = cursors._digest(SCOPE, QUERY, payload) + payload
    with pytest.raises(InvalidCursor):
        cursors.decode(SCOPE, QUERY, base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def test_r26_search_refuses_a_foreign_cursor_before_any_io() -> None:
    repository = DictRepository()
    memory = Memory(repository)
    memory.put_many({"a": 1, "b": 2})
    cursor = memory.search(limit=1).cursor
    repository.calls.clear()
    for arguments in ({"pattern": "b*"}, {"where": {"a": 1}}, {"descending": True}, {"order": "updated"}):
        with pytest.raises(InvalidCursor):
            memory.search(**arguments, cursor=cursor)
    with pytest.raises(InvalidCursor):
        memory.search(cursor="")
    assert not repository.calls
    assert [entry.key for entry in memory.search(cursor=cursor)] == ["b"]
