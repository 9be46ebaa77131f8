"""What a caller may leave out, and the small checks that every argument passes before any I/O."""

from __future__ import annotations

import enum
import math
import numbers
import sys
from collections.abc import Iterable
from typing import Any, Final

from agentmem.errors import InvalidArgument
from agentmem.plan import INT64_MAX, INT64_MIN
from agentmem.values import shown


class Missing(enum.Enum):
    """The type of `MISSING`, which stands for "no entry" where None would be a stored null."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


def whole(name: str, value: Any, *, most: int = INT64_MAX) -> int:
    """A whole number from 1 up to `most`, which is what 64 bits hold, such as a limit, as an exact `int`.

    Raises:
        InvalidArgument: anything else; a bool is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"{name} must be a whole number of at least 1, not {value!r}")
    if value > INT64_MAX:
        raise InvalidArgument(f"{name} must fit 64 bits, it has {value.bit_length()}")
    if value > most:
        raise InvalidArgument(f"{name} must be at most {most:,}, not {value:,}")
    return int(value)


def whole_or_none(name: str, value: Any, *, most: int = INT64_MAX) -> int | None:
    """As `whole`; None stands for no limit."""
    return None if value is None else whole(name, value, most=most)


def number(name: str, value: Any) -> int | float:
    """An int in the range of int64, or a finite float (R14); of a subclass, such as NumPy's float64, the plain number.

    Raises:
        InvalidArgument: anything else; a bool is no number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if INT64_MIN <= value <= INT64_MAX:
            return int(value)
        raise InvalidArgument(f"{name} must fit a signed 64-bit integer, it has {value.bit_length()} bits")
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise InvalidArgument(f"{name} must be an int or a finite float, not {value!r}")


def real(name: str, value: Any, *, lowest: float = -math.inf, highest: float = math.inf) -> float:
    """A real number of any kind, such as NumPy's, as a finite float within bounds.

    Raises:
        InvalidArgument: anything else; a bool is no number.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found) and lowest <= found <= highest:
            return found
    bounds = "" if lowest == -math.inf else f" from {lowest:g} to {highest:g}"
    raise InvalidArgument(f"{name} must be a finite number{bounds}, not {shown(value)}")


def seconds_or_none(name: str, value: Any) -> float | None:
    """A finite number of seconds above 0, or None.

    Raises:
        InvalidArgument: anything else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidArgument(f"{name} must be a number of seconds above 0, or None, not {value!r}")
    return float(min(value, sys.float_info.max))  # of an int that no float can hold


def flag(name: str, value: Any) -> bool:
    """True or False, nothing that merely counts as such.

    Raises:
        InvalidArgument: anything else.
    """
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {value!r}")
    return value


def several(name: str, value: Any) -> list[Any]:
    """An iterable as a list.

    Raises:
        InvalidArgument: as `iterable`.
    """
    return list(iterable(name, value))


def iterable(name: str, value: Any) -> Iterable[Any]:
    """An iterable, which nothing was read from. A str is refused: its characters are hardly meant.

    Raises:
        InvalidArgument: a str, bytes, or nothing that can be iterated over.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidArgument(f"{name} must be an iterable of several, not {type(value).__name__}")
    return value
