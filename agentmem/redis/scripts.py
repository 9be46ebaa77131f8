"""The Lua scripts: one for each kind of operation, each with the common part in front, and what else it shares."""

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

    Args:
        name: of its file.
        parts: files that come between the common part and its own.

    Attributes:
        name: of its file.
        text: the common part and the files.
        sha: by which a server knows it.
    """

    def __init__(self, name: str, *parts: str) -> None:
        self.name = name
        self.text = "\n".join([_COMMON, *map(_read, parts), _read(name)]).encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


PUT = Script("put")
PUT_MANY = Script("put_many")
DELETE = Script("delete")
TOUCH = Script("touch")
INCREMENT = Script("increment")
READ = Script("read")
COMMIT = Script("commit", "plan")
PAGE = Script("page")
COUNT = Script("count")
REMOVE = Script("remove")
AUDIT = Script("audit")
PURGE = Script("purge")
MEASURE = Script("measure")
DEFINE = Script("define")
FORGET = Script("forget")
QUEUE_EXCHANGE = Script("queue_exchange", "plan", "queue_books")
QUEUE_PEEK = Script("queue_peek", "queue_books")
QUEUE_COUNTS = Script("queue_counts", "queue_books")
QUEUE_REDRIVE = Script("queue_redrive", "queue_books")
QUEUE_PURGE = Script("queue_purge", "queue_books")
QUEUE_NEXT = Script("queue_next", "queue_books")
QUEUE_AUDIT = Script("queue_audit", "queue_books")
QTABLE_LEARN = Script("qtable_learn", "qtable")
QTABLE_COMBINE = Script("qtable_combine", "qtable")
QTABLE_DECAY = Script("qtable_decay", "qtable")
QTABLE_CLEAR = Script("qtable_clear", "qtable")
QTABLE_READ = Script("qtable_read", "qtable")
QTABLE_WALK = Script("qtable_walk", "qtable")
