"""The Lua scripts: one for each kind of operation, each with the common part in front."""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.resources import files

_FOLDER = files("agentmem.redis") / "lua"


class Script:
    """A script by name, read when it is first used.

    Attributes:
        name: of its file.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def text(self) -> bytes:
        """The common part and the file."""
        parts = (_FOLDER / f"{part}.lua" for part in ("common", self.name))
        return "\n".join(part.read_text(encoding="utf-8") for part in parts).encode()

    @cached_property
    def sha(self) -> bytes:
        """By which a server knows it."""
        return hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


PUT = Script("put")
PUT_MANY = Script("put_many")
DELETE = Script("delete")
TOUCH = Script("touch")
INCREMENT = Script("increment")
READ = Script("read")
COMMIT = Script("commit")
PAGE = Script("page")
COUNT = Script("count")
REMOVE = Script("remove")
AUDIT = Script("audit")
PURGE = Script("purge")
MEASURE = Script("measure")
DEFINE = Script("define")
FORGET = Script("forget")
