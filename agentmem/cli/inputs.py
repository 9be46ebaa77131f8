"""What people type, turned into what the handle takes: JSON, times to live, standard input."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from typing import Any, BinaryIO, Final

from agentmem.errors import InvalidArgument, InvalidTTL
from agentmem.ttl import UNSET, MaybeTTL

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([smhd]?)")
_NEVER: Final = ("never", "none")


def parse_ttl(text: str | None) -> MaybeTTL:
    """Read a time to live: `90`, `1.5`, `30s`, `5m`, `2h`, `7d`, or `never`; None is UNSET.

    Raises:
        InvalidTTL: anything else. Its range is the handle's to check.
    """
    if text is None:
        return UNSET
    if text.strip().lower() in _NEVER:
        return None
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidTTL(f"a TTL is seconds, or a number with s, m, h or d such as 30s or 7d, or never; not {text!r}")
    number, unit = found.groups()
    return (float(number) if "." in number else int(number)) * _UNITS[unit]


def show_duration(duration: timedelta | None) -> str:
    """A duration in the largest unit that divides it, as `parse_ttl` reads it."""
    if duration is None:
        return "never"
    seconds = duration.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def parse_json(text: str, what: str, hint: str = "") -> Any:
    """Read JSON, integers of any size exactly.

    Args:
        text: what was typed.
        what: how the error calls it.
        hint: what the error advises.

    Raises:
        InvalidArgument: it is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidArgument(f"{what} nests too deep") from None
    except ValueError as error:
        raise InvalidArgument(f"{what} is not JSON: {error}{hint}") from error


def parse_object(text: str | None, what: str) -> dict[str, Any] | None:
    """Read a JSON object; None stays None.

    Raises:
        InvalidArgument: it is not JSON, or not an object.
    """
    if text is None:
        return None
    tree = parse_json(text, what)
    if not isinstance(tree, dict):
        raise InvalidArgument(f'{what} must be a JSON object such as \'{{"team": "a"}}\', not {text!r}')
    return tree


def parse_number(text: str, what: str) -> int | float:
    """Read a JSON number.

    Raises:
        InvalidArgument: it is something else.
    """
    number = parse_json(text, what)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidArgument(f"{what} must be a number, not {text!r}")
    return number


def read_value(given: str | None, *, as_text: bool) -> Any:
    """The value of a `put`: the argument or, where it is missing or `-`, all of standard input.

    Text from standard input is taken exactly, its last newline too, so that a file comes back as it was.

    Raises:
        InvalidArgument: no JSON, no UTF-8, or there is no value.
    """
    if given not in (None, "-"):
        return given if as_text else parse_json(given, "VALUE", hint=" (--text stores it as a string)")
    text = _read_stdin(asked=given == "-")
    return text if as_text else parse_json(text, "standard input", hint=" (--text stores it as a string)")


def _read_stdin(*, asked: bool) -> str:
    try:
        return standard_input("VALUE", asked=asked).read().decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"standard input is not UTF-8: {error}") from error


def standard_input(what: str, *, asked: bool) -> BinaryIO:
    """Standard input, which nobody is made to type who did not ask for it.

    Args:
        what: the argument in whose place it is read.
        asked: that was `-`, so that a terminal is read too.

    Raises:
        InvalidArgument: there is none, or it is a terminal and was not asked for.
    """
    if sys.stdin is None or (sys.stdin.isatty() and not asked):
        raise InvalidArgument(f"{what} is missing: give it as an argument, by a pipe, or as - to type it")
    return sys.stdin.buffer
