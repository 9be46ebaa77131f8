"""MessagePack for scripts: many arguments as one, which Lua reads with `cmsgpack`."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from agentmem.errors import ValueTooLarge

LARGEST_BYTES: Final = 512 * 1024 * 1024
"""Redis ends the connection of who sends a longer argument (`proto-max-bulk-len`)."""

_encode: Final = msgspec.msgpack.Encoder().encode


def pack(parts: Any) -> bytes:
    """Lists, integers and text. Lua knows bytes alone, and `cmsgpack` no type for them but that of text.

    Raises:
        ValueTooLarge: they are more than a server takes at once.
    """
    try:
        packed = _encode(parts)
    except UnicodeEncodeError:  # a stored body that is no UTF-8, which goes back as it came
        packed = _encode(_raw(parts))
    if len(packed) > LARGEST_BYTES:
        raise ValueTooLarge("batch", len(packed), LARGEST_BYTES)
    return packed


def _raw(part: Any) -> Any:
    if isinstance(part, list):
        return [_raw(each) for each in part]
    if isinstance(part, str):
        text = part.encode("utf-8", "surrogateescape")
        return msgspec.Raw(struct.pack(">BI", 0xDB, len(text)) + text)
    return part
