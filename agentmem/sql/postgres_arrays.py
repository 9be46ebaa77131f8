"""Array literals (PostgreSQL manual, 8.15.2): psycopg makes them in Python, item by item, at five times the cost."""

from __future__ import annotations

from collections.abc import Iterable

from agentmem.moments import from_microseconds


def text_array(texts: Iterable[str | None]) -> str:
    """For a parameter that is cast to text[]; None is NULL."""
    return "{" + ",".join(["NULL" if text is None else _quoted(text) for text in texts]) + "}"


def number_array(numbers: Iterable[int]) -> str:
    """For a parameter that is cast to an array of integers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def moment_array(moments_us: Iterable[int | None]) -> str:
    """Microseconds since 1970, for a parameter that is cast to timestamptz[]; None is NULL."""
    return "{" + ",".join(["NULL" if us is None else f'"{from_microseconds(us)}"' for us in moments_us]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return '"' + text.replace('"', '\\"') + '"'
