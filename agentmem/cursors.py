"""Cursors: where a page of a search ended, as opaque text that is good for the same search only (R26).

A cursor is URL-safe base64 of a digest and a small JSON array. The digest covers the array and the whole query, so one
comparison finds a damaged cursor and one of another query alike. It is no secret and need not be: whatever position a
forger writes, the query's own pattern and filter still decide what is shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from agentmem.errors import InvalidCursor, InvalidKey
from agentmem.plan import INT64_MAX
from agentmem.repository import Position

if TYPE_CHECKING:
    from agentmem.repository import Query
    from agentmem.scope import Scope

_DIGEST_BYTES: Final = 12


def encode(scope: Scope, query: Query, position: Position) -> str:
    """The cursor of a position; the key in it is relative, so it tells nothing of the scope's prefix."""
    fields = [scope.relative(position.key), position.updated_us, position.as_of_us]
    payload = orjson.dumps(fields)
    return base64.urlsafe_b64encode(_digest(scope, query, payload) + payload).rstrip(b"=").decode()


def decode(scope: Scope, query: Query, cursor: Any) -> Position:
    """The position of a cursor.

    Raises:
        InvalidCursor: not text, damaged, or made by another search, scope or partition.
    """
    if not isinstance(cursor, str):
        raise InvalidCursor(f"a cursor is the text that a page carried, not {type(cursor).__name__}")
    raw = _bytes(cursor)
    digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(scope, query, payload):
        raise InvalidCursor("the cursor is damaged or belongs to another search")
    return _position(scope, payload)


def _bytes(cursor: str) -> bytes:
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor("the cursor is damaged: it is no cursor's text") from error
    # The last character has bits that decoding ignores; a cursor that was changed there is damaged, too.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:
        raise InvalidCursor("the cursor is damaged: it is no cursor's text")
    return raw


def _position(scope: Scope, payload: bytes) -> Position:
    try:
        key, updated_us, as_of_us = orjson.loads(payload)
        absolute = scope.absolute(key)
    except (ValueError, TypeError, RecursionError, InvalidKey) as error:
        raise InvalidCursor("the cursor is damaged: it names no position") from error
    for moment in (updated_us, as_of_us):
        if type(moment) is not int or not 0 <= moment <= INT64_MAX:
            raise InvalidCursor("the cursor is damaged: it names no position")
    return Position(absolute, updated_us, as_of_us)


def _digest(scope: Scope, query: Query, payload: bytes) -> bytes:
    where = None if query.where is None else query.where.text
    about = [scope.partition, scope.prefix, query.pattern.text, where, query.order, query.descending]
    return hashlib.blake2b(orjson.dumps(about) + b"\0" + payload, digest_size=_DIGEST_BYTES).digest()
