"""The Lua scripts: one for each kind of operation, each with the common part in front."""

from __future__ import annotations

import hashlib
from importlib.resources import files

_FOLDER = files("agentmem.redis") / "lua"


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


_COMMON = _read("common")


class Script:
    """A script by name.

    Read when the module is imported, not when it is first used: a cached property would hold a lock meanwhile, which a
    child that is forked at that moment inherits (R33).

    Attributes:
        name: of its file.
        text: the common part and the file.
        sha: by which a server knows it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = f"{_COMMON}\n{_read(name)}".encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


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
