"""Names inside of keys: one name is one level of the path, whatever signs it holds."""

from __future__ import annotations

from agentmem.keys import validate_key


def level(name: str) -> str:
    """A name as one level of a key: `%` and `/` in it are written `%25` and `%2F`, so no two names meet below it.

    Raises:
        InvalidKey: no key could have this name (R1).
    """
    return validate_key(name).replace("%", "%25").replace("/", "%2F")


def unlevel(level: str) -> str:
    """The name that a level was made of."""
    return level.replace("%2F", "/").replace("%25", "%")
