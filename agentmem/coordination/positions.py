"""What a watcher knew, as a text that it can go on from: every key with its version and expiry, compressed.

As with a cursor (agentmem.cursors), a digest covers the content and what it belongs to. It is no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentmem.errors import AgentMemError, InvalidCursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentmem.scope import Scope

_DIGEST_BYTES: Final = 12


class Known(NamedTuple):
    """What is remembered of a key.

    Attributes:
        version: as it was last seen.
        expires_us: its expiry in microseconds since 1970; 0 for never.
    """

    version: int
    expires_us: int


def encode(scope: Scope, prefix: str, known: Mapping[str, Known]) -> str:
    """The position of a watcher of `prefix` that knows so much, by absolute key; its text is relative to the scope."""
    keys = sorted(known)
    first = min((known[key].version for key in keys), default=0)
    columns = [
        [scope.relative(key) for key in keys],
        first,
        # Differences are shorter than versions, which are all of this century.
        [known[key].version - first for key in keys],
        [known[key].expires_us for key in keys],
    ]
    payload = zlib.compress(json.dumps(columns, separators=(",", ":")).encode())
    return base64.urlsafe_b64encode(_digest(scope, prefix, payload) + payload).decode()


def decode(scope: Scope, prefix: str, position: Any) -> dict[str, Known]:
    """What the position's watcher knew, by absolute key.

    Raises:
        InvalidCursor: damaged, or of another prefix, scope or partition.
    """
    if not isinstance(position, str):
        raise InvalidCursor(f"a position is the text that a watch gave, not {type(position).__name__}")
    try:
        raw = base64.b64decode(position.encode(), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor("the position is damaged: it is no position's text") from error
    digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(scope, prefix, payload):
        raise InvalidCursor("the position is damaged or belongs to another watch")
    try:
        keys, first, versions, expiries = json.loads(zlib.decompress(payload))
        rows = zip(keys, versions, expiries, strict=True)
        return {scope.absolute(key): Known(first + version, expiry) for key, version, expiry in rows}
    except (ValueError, TypeError, zlib.error, AgentMemError) as error:
        raise InvalidCursor("the position is damaged: it holds no keys and versions") from error


def _digest(scope: Scope, prefix: str, payload: bytes) -> bytes:
    about = json.dumps([scope.partition, scope.prefix, prefix]).encode()
    return hashlib.blake2b(about + b"\0" + payload, digest_size=_DIGEST_BYTES).digest()
