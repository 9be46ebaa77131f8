"""The JSON codec: rules R6 to R10. Strict and fast to write, exact to read."""

from __future__ import annotations

import enum
import json
import marshal
import math
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import msgspec
import orjson

from agentmem.errors import CorruptEntry, InvalidValue, ValueTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LEVELS: Final = 128
"""How deep lists and objects may nest; a scalar has no level, an empty list has one."""
MAX_INT_DIGITS: Final = 4000
MAX_METADATA_BYTES: Final = 16 * 1024

_FIRST_TOO_LONG: Final = 10**MAX_INT_DIGITS
_SHOWN_CHARACTERS: Final = 80
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
# Neither a NaN nor an infinity can be told from None in orjson's output, where all are `null`. In marshal's version 2
# a float is a `g` and its eight bytes, lowest first: in these alone are all bits of the exponent set. Bytes that look
# alike by chance cost a walk and nothing else.
_NON_FINITE: Final = re.compile(rb"g.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))

_DEEP_BYTES: Final = 2 * (MAX_LEVELS + 1)
"""From here on a text may nest too deep: each level takes two brackets."""

_read = msgspec.json.Decoder().decode
_dumps = orjson.dumps


class Codec(Protocol):
    """Translates between a user's objects and JSON, for `connect(codec=...)`. Must be safe to share among threads."""

    def to_json(self, value: Any) -> Any:
        """Return the tree of dict, list, str, int, float, bool and None to store; must not change `value`."""

    def from_json(self, tree: Any) -> Any:
        """Return what `to_json` was given; the tree is the codec's own. Whatever it raises makes a CorruptEntry."""


def encode(value: Any, *, max_bytes: int, codec: Codec | None = None, root: str = "value") -> str:
    """Return the exact JSON text of a value; a tuple becomes a list.

    Args:
        value: made of exactly dict, list, tuple, str, int, float, bool and None, unless a codec translates it.
        max_bytes: the limit of the text in UTF-8.
        codec: what translates other types.
        root: what errors call the value itself.

    Raises:
        InvalidValue: JSON cannot hold it exactly; names the path of the first offender.
        ValueTooLarge: the text is above `max_bytes`.
    """
    tree = value if codec is None else _translated(value, codec, root)
    text = _fast_text(tree)
    if text is None:
        text = _careful_text(tree, root)
    if len(text) > max_bytes:
        raise ValueTooLarge(root, len(text), max_bytes)
    return text.decode()


def decode(body: str | bytes | None, key: str, codec: Codec | None = None) -> Any:
    """Return the value of a JSON text, always a new one.

    Raises:
        CorruptEntry: the text is missing or is no JSON that can be held exactly, or the codec refuses it.
    """
    if body is None:
        raise CorruptEntry(key, "it has no body")
    try:
        tree = _read(body)
    except RecursionError as error:
        _refuse_too_deep(body, key, error)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise CorruptEntry(key, str(error)) from error
    if codec is None:
        return tree
    try:
        return codec.from_json(tree)
    except Exception as error:
        raise CorruptEntry(key, f"the codec refuses it: {error}") from error


def encode_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """Return the JSON text of metadata; None when there is none or it is empty.

    Raises:
        InvalidValue: not a dict, or JSON cannot hold it exactly.
        ValueTooLarge: above MAX_METADATA_BYTES.
    """
    if metadata is None:
        return None
    if type(metadata) is not dict:
        raise InvalidValue("metadata", f"must be a dict, not {type(metadata).__name__}")
    return encode(metadata, max_bytes=MAX_METADATA_BYTES, root="metadata") if metadata else None


def decode_metadata(text: str | bytes | None, key: str) -> dict[str, Any]:
    """Return the metadata of a JSON text, always a new dict; None is an empty one.

    Raises:
        CorruptEntry: the text is no JSON object.
    """
    if text is None:
        return {}
    metadata = decode(text, key)
    if not isinstance(metadata, dict):
        raise CorruptEntry(key, "its metadata is no JSON object")
    return metadata


def shown(thing: object) -> str:
    """Return the beginning of an object's repr, for the text of an error."""
    try:
        text = repr(thing)
    except Exception:  # noqa: BLE001  # an int of too many digits, or somebody's own __repr__: any error may come
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _translated(value: Any, codec: Codec, root: str) -> Any:
    try:
        return codec.to_json(value)
    except InvalidValue:
        raise
    except Exception as error:
        raise InvalidValue(root, f"the codec refuses it: {error}") from error


def _fast_text(tree: Any) -> bytes | None:
    """Return the JSON text, or None where only a walk can tell what is wrong, or that nothing is."""
    try:
        text = _dumps(tree, None, _STRICT)
        # orjson writes members of an Enum, UUIDs and Fragments unasked; marshal knows none of them.
        exact = marshal.dumps(tree, 2)
    except (TypeError, ValueError, RecursionError):
        return None
    if b"null" in text and _NON_FINITE.search(exact):
        return None
    return text if len(text) < _DEEP_BYTES or _is_shallow(text) else None


def _is_shallow(text: bytes) -> bool:
    """Tell whether a valid JSON text nests at most MAX_LEVELS, without a look at each character in Python."""
    if text.count(b"[") + text.count(b"{") <= MAX_LEVELS:
        return True
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(_BRACKETS, _ALL_BUT_STRUCTURE).replace(b'""', b"")
    if b'"' in marks:
        marks = b"".join(marks.split(b'"')[::2])
    for _ in range(MAX_LEVELS):
        if not marks:
            break
        marks = marks.replace(b"[]", b"")
    return not marks


def _careful_text(tree: Any, root: str) -> bytes:
    _Walk(root).visit(tree, None)
    try:
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        # A host may have lowered Python's own limit of digits (sys.set_int_max_str_digits).
        raise InvalidValue(root, str(error)) from error


def _refuse_too_deep(body: str | bytes, key: str, error: RecursionError) -> NoReturn:
    text = body if isinstance(body, bytes) else body.encode(errors="replace")
    if _is_shallow(text):
        # The stack of the caller is what ends here; nothing is wrong with the entry.
        raise error
    raise CorruptEntry(key, f"it nests more than {MAX_LEVELS} levels") from error


_Path = tuple[Any, Any] | None
"""The way to a value, last step first: (the way to its container, its key or index there)."""


class _Walk:
    """Looks at every part of a value and raises InvalidValue at the first that JSON cannot hold."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: set[int] = set()

    def visit(self, value: Any, path: _Path) -> None:
        kind = type(value)
        if kind is str:
            self._text(value, path, "text")
        elif kind is dict:
            self._enter(value, path, self._items(value, path))
        elif kind is list or kind is tuple:
            self._enter(value, path, enumerate(value))
        elif kind is int:
            if not -_FIRST_TOO_LONG < value < _FIRST_TOO_LONG:
                self._refuse(path, f"an int may have at most {MAX_INT_DIGITS:,} digits")
        elif kind is float:
            if not math.isfinite(value):
                self._refuse(path, f"{value} is no JSON number")
        elif value is not None and kind is not bool:
            self._refuse(path, _why_not(kind))

    def _enter(self, container: Any, path: _Path, items: Any) -> None:
        if id(container) in self._open:
            self._refuse(path, "it contains itself")
        if len(self._open) == MAX_LEVELS:
            self._refuse(path, f"it is nested more than {MAX_LEVELS} levels deep")
        self._open.add(id(container))
        for step, item in items:
            self.visit(item, (path, step))
        self._open.discard(id(container))

    def _items(self, mapping: dict[Any, Any], path: _Path) -> Any:
        for key, item in mapping.items():
            if type(key) is not str:
                self._refuse(path, f"the key {shown(key)} is {type(key).__name__}, not str")
            self._text(key, path, "key")
            yield key, item

    def _text(self, text: str, path: _Path, what: str) -> None:
        if text.isascii():
            return
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self._refuse(path, f"a {what} holds a lone surrogate at index {error.start}")

    def _refuse(self, path: _Path, reason: str) -> NoReturn:
        steps = []
        while path is not None:
            path, step = path
            steps.append(_step(step))
        raise InvalidValue(self._root + "".join(reversed(steps)), reason)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step.isidentifier() and len(step) <= _SHOWN_CHARACTERS:
        return f".{step}"
    shown = step if len(step) <= _SHOWN_CHARACTERS else step[: _SHOWN_CHARACTERS - 3] + "..."
    return f"[{json.dumps(shown, ensure_ascii=False)}]"


def _why_not(kind: type) -> str:
    advice = "convert it, or give connect() a codec"
    if issubclass(kind, enum.Enum):
        return f"{kind.__name__} is an Enum, which JSON cannot hold: {advice}"
    for plain in (dict, list, tuple, str, int, float):
        if issubclass(kind, plain):
            return f"{kind.__name__} would come back as a plain {plain.__name__}: {advice}"
    return f"JSON cannot hold {kind.__name__}: {advice}"
