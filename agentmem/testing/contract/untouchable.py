"""A store that must not be reached: what is refused before any I/O never gets here."""

from __future__ import annotations

from typing import Any, NoReturn

from agentmem.repository import Repository


def _touched(self: Repository, *args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError(f"the repository was reached with {args} {kwargs}: the argument was not checked before")


def untouchable() -> Repository:
    """Return a repository of which every method fails the test; only closing it is free."""
    methods: dict[str, Any] = {
        name: _touched
        for name in dir(Repository)
        if not name.startswith("_") and name != "close" and callable(getattr(Repository, name))
    }
    methods |= {"name": "untouchable", "close": lambda self: None}
    kind: type[Repository] = type("Untouchable", (Repository,), methods)
    return kind()
