"""Which versions of what are installed; nothing of it is imported for that."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("sqlalchemy", "alembic", "psycopg", "redis", "hiredis", "orjson", "msgspec", "pydantic", "typer")


def own_version() -> str:
    """The version of agentmem; `unknown` where it runs from files that were never installed."""
    import agentmem

    try:
        return str(agentmem.__version__)
    except PackageNotFoundError:
        return "unknown"


def installed() -> dict[str, str | None]:
    """Versions by name, Python and SQLite's library among them; None for what is not installed."""
    import sqlite3

    versions: dict[str, str | None] = {"agentmem": own_version(), "python": platform.python_version()}
    versions["sqlite"] = sqlite3.sqlite_version
    return versions | {name: _version_of(name) for name in _PACKAGES}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
