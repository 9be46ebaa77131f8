"""URLs in messages: what may be shown of them (R30).

Nothing here raises: it runs where an error is being reported, on whatever came.
"""

from __future__ import annotations

import re
from typing import Any, Final

_HIDDEN: Final = "***"
_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.\-]*):")
# Up to the last @: a password may hold an unescaped @ or /, and to hide too much is the safe mistake.
_PASSWORD: Final = re.compile(r"(?s)(://[^:]*):(.*)@")
# A URL whose scheme was forgotten: `user:secret@host`.
_BARE: Final = re.compile(r"(?s)^(\s*[^\s:/@]*):([^/]*)@")
_SECRET: Final = re.compile(
    r"(?i)(^|[?&;#\s])([^=&;?#\s]*(?:pass|pwd|secret|token|credential|api_?key|auth|read_url)[^=&;?#\s]*)=('[^']*'|[^&\s]*)"
)


def redact(url: Any) -> str:
    """The URL without its password, neither before the @ nor among its parameters.

    Args:
        url: anything; what is no str is turned into one.
    """
    text = url if isinstance(url, str) else _text(url)
    text = (_PASSWORD if "://" in text else _BARE).sub(rf"\1:{_HIDDEN}@", text)
    return _SECRET.sub(rf"\1\2={_HIDDEN}", text)


def scheme_of(url: Any) -> str:
    """The scheme in lower case, such as `postgresql+psycopg`; empty when there is none."""
    found = _SCHEME.match(url) if isinstance(url, str) else None
    return found.group(1).lower() if found else ""


def is_private(url: str) -> bool:
    """Whether the store behind it lives in this process alone: SQLite in memory."""
    if not scheme_of(url).startswith("sqlite"):
        return False
    place, _, query = url.partition("://")[2].partition("?")
    return place in ("", "/", "/:memory:") or ":memory:" in place or "mode=memory" in query


def _text(url: Any) -> str:
    try:
        return str(url)
    except Exception:  # noqa: BLE001 - a message about an error must not fail over an odd object
        return f"<{type(url).__name__}>"
