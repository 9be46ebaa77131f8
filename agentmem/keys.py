"""Keys, partition names, namespaces and patterns: rules R1 to R5, without any I/O."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from agentmem.errors import InvalidArgument, InvalidKey, InvalidPattern, NamespaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_KEY_BYTES: Final = 1024
MAX_PARTITION_BYTES: Final = 128
MAX_PATTERN_BYTES: Final = 4096

_SHOWN_CHARACTERS: Final = 80
_HIGHEST: Final = "\U0010ffff"
_SURROGATES: Final = (0xD800, 0xE000)
_PARTS: Final = re.compile(r"[^*?\\]+|[*?]|\\.?", re.DOTALL)
"""What a pattern is made of: plain text, wildcards, and a backslash with what it makes literal."""


def validate_key(key: object) -> str:
    """Return the key as an exact `str`; an instance of a subclass, such as a StrEnum's member, becomes plain.

    Raises:
        InvalidKey: not text, empty, above MAX_KEY_BYTES in UTF-8, with a NUL or a lone surrogate.
    """
    if type(key) is str and 0 < len(key) <= MAX_KEY_BYTES and key.isascii() and "\0" not in key:
        return key
    return _non_empty(key, "key", MAX_KEY_BYTES)


def validate_partition(name: object) -> str:
    """Return a partition's name as an exact `str`.

    Raises:
        InvalidKey: as `validate_key`, with the limit MAX_PARTITION_BYTES.
    """
    return _non_empty(name, "partition name", MAX_PARTITION_BYTES)


def validate_name(name: object, what: str) -> str:
    """Return another text that follows the rules of keys as an exact `str`; `what` it is, for the error.

    Raises:
        InvalidKey: as `validate_key`.
    """
    return _non_empty(name, what, MAX_KEY_BYTES)


def validate_prefix(prefix: object, what: str = "prefix") -> str:
    """Return the beginning of keys as an exact `str`: like a key, but it may be empty; `what` it is, for the error.

    Raises:
        InvalidKey: as `validate_key`.
    """
    return _checked(prefix, what, MAX_KEY_BYTES, InvalidKey)


def check_namespace(key: str, namespace: str | None) -> None:
    """Refuse a key that does not begin with the namespace; None allows every key.

    Raises:
        NamespaceError: names the key and the namespace.
    """
    if namespace is not None and not key.startswith(namespace):
        raise NamespaceError(key, namespace)


def _non_empty(text: object, what: str, limit: int) -> str:
    checked = _checked(text, what, limit, InvalidKey)
    if not checked:
        raise InvalidKey(f"a {what} must not be empty")
    return checked


def _checked(text: object, what: str, limit: int, error: type[InvalidArgument]) -> str:
    if not isinstance(text, str):
        raise error(f"a {what} is a str, not {type(text).__name__}")
    plain = str.__str__(text)
    try:
        size = len(plain.encode())
    except UnicodeEncodeError as cause:
        raise error(f"the {what} {_shown(plain)} holds a lone surrogate at index {cause.start}") from None
    if "\0" in plain:
        raise error(f"the {what} {_shown(plain)} holds a NUL at index {plain.index(chr(0))}")
    if size > limit:
        raise error(f"the {what} {_shown(plain)} is {size:,} bytes of UTF-8, the limit is {limit:,} bytes")
    return plain


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN_CHARACTERS else repr(text[: _SHOWN_CHARACTERS - 3] + "...")


def successor(prefix: str) -> str | None:
    """Return the smallest text that sorts, by code point, after every text that begins with `prefix`.

    Returns:
        The upper bound, exclusive, of a range scan; None where there is none: every text begins with "", and nothing
        sorts after all that begins with the highest code point.
    """
    body = prefix.rstrip(_HIGHEST)
    if not body:
        return None
    following = ord(body[-1]) + 1
    first, beyond = _SURROGATES
    # UTF-8 cannot hold a surrogate, so no server could take one as a bound.
    return body[:-1] + chr(beyond if first <= following < beyond else following)


class Wildcard(enum.Enum):
    """The tokens of a pattern that are no literal text."""

    ANY = "*"
    ONE = "?"


ANY: Final = Wildcard.ANY
"""Any run of characters, the empty one and `/` included."""
ONE: Final = Wildcard.ONE
"""Exactly one character, however many bytes it takes."""

Token = str | Wildcard


def escape(text: str) -> str:
    r"""Return the pattern that matches `text` and nothing else: `*`, `?` and `\` get a backslash."""
    return re.sub(r"[*?\\]", r"\\\g<0>", text)


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""A pattern over keys: `*` is any run of characters, `?` exactly one, `\` makes the next one literal.

    Everything else is literal. Build one with `parse` or `under`. Two patterns are equal when their texts are.

    Attributes:
        text: as it was written.
        tokens: literals, ANY and ONE; no two literals and no two ANY are neighbours, no literal is empty.
        prefix: the literal text in front of the first wildcard; every key that matches begins with it.
        is_literal: it has no wildcard, so it matches one key.
        is_prefix: it is `prefix` and one ANY, so it matches what begins with `prefix`.
        is_below: it is `prefix`, ONE and ANY, so it matches what begins with `prefix` and is longer.
    """

    text: str
    tokens: tuple[Token, ...] = field(compare=False, repr=False)
    prefix: str = field(init=False, compare=False, repr=False)
    is_literal: bool = field(init=False, compare=False, repr=False)
    is_prefix: bool = field(init=False, compare=False, repr=False)
    is_below: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        first = self.tokens[0] if self.tokens else ""
        prefix = first if isinstance(first, str) else ""
        put = object.__setattr__
        put(self, "prefix", prefix)
        put(self, "is_literal", self.tokens == (prefix,))
        put(self, "is_prefix", self.tokens in ((prefix, ANY), (ANY,)))
        put(self, "is_below", self.tokens in ((prefix, ONE, ANY), (ONE, ANY)))

    @classmethod
    def parse(cls, text: object) -> Pattern:
        r"""Read a pattern.

        Raises:
            InvalidPattern: not text, empty, above MAX_PATTERN_BYTES in UTF-8, with a NUL or a lone surrogate, or
                with a backslash at its end that has nothing to make literal.
        """
        plain = _checked(text, "pattern", MAX_PATTERN_BYTES, InvalidPattern)
        if not plain:
            raise InvalidPattern("a pattern must not be empty ('*' matches every key)")
        return cls(plain, _joined(_tokens(plain)))

    @classmethod
    def under(cls, prefix: str) -> Pattern:
        """Return the pattern of everything that begins with a literal prefix; "" is everything."""
        return cls(escape(prefix) + "*", (prefix, ANY) if prefix else (ANY,))

    def prefixed(self, prefix: str) -> Pattern:
        """Return this pattern with a literal prefix in front: a key matches when this one matches its remainder."""
        if not prefix:
            return self
        return Pattern(escape(prefix) + self.text, _joined(iter((prefix, *self.tokens))))

    def matches(self, key: str) -> bool:
        """Tell whether the whole key matches, in time linear in the key for each run between two `*`."""
        if self.is_prefix:
            return key.startswith(self.prefix)
        if self.is_below:
            return len(key) > len(self.prefix) and key.startswith(self.prefix)
        if self.is_literal:
            return key == self.prefix
        return _regex(self.tokens).fullmatch(key) is not None


def _tokens(text: str) -> Iterator[Token]:
    for part in _PARTS.findall(text):
        if part == "*":
            yield ANY
        elif part == "?":
            yield ONE
        elif part == "\\":
            raise InvalidPattern(f"the pattern {_shown(text)} ends in a backslash that has nothing to make literal")
        else:
            yield part.removeprefix("\\")


def _joined(tokens: Iterator[Token]) -> tuple[Token, ...]:
    """Join neighbouring literals and collapse runs of ANY."""
    joined: list[Token] = []
    literal: list[str] = []
    for token in tokens:
        if isinstance(token, str):
            literal.append(token)
            continue
        if literal:
            joined.append("".join(literal))
            literal.clear()
        if token is not ANY or joined[-1:] != [ANY]:
            joined.append(token)
    return (*joined, "".join(literal)) if literal else tuple(joined)


@lru_cache(maxsize=256)
def _regex(tokens: tuple[Token, ...]) -> re.Pattern[str]:
    # What stands between two runs has a fixed length, so its leftmost place is as good as any other, and an atomic
    # group that takes it never has to be tried again: no pattern backtracks exponentially. (fnmatch does the same.)
    parts = [""]
    for token in tokens:
        if token is ANY:
            parts.append("")
        else:
            parts[-1] += "." if token is ONE else re.escape(str(token))
    first, *middle = parts
    last = ".*" + middle.pop() if middle else ""
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + last, re.DOTALL)
