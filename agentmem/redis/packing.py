"""MessagePack for scripts: many arguments as one, which Lua reads with `cmsgpack`."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

_encode: Final = msgspec.msgpack.Encoder().encode


def pack(parts: Any) -> bytes:
    """Lists, integers and text. Lua knows bytes alone, and `cmsgpack` no type for them but that of text."""
    try:
        return _encode(parts)
    except UnicodeEncodeError:  # a stored body that is no UTF-8, which goes back as it came
        return _encode(_raw(parts))


def _raw(part: Any) -> Any:
    if isinstance(part, list):
        return [_raw(each) for each in part]
    if isinstance(part, str):
        text = part.encode("utf-8", "surrogateescape")
        return msgspec.Raw(struct.pack(">BI", 0xDB, len(text)) + text)
    return part
