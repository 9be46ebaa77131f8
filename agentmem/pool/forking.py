"""What happens around `os.fork` (R33), for everything that holds connections.

Before a fork whoever works in a library that has locks of its own is let finish: SQLite guards its globals by mutexes,
and a child that is forked while another thread holds one waits for it for ever. In the child everything begins anew.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod


class Forkable(ABC):
    """Registers itself; is told of forks as long as it lives."""

    def __init__(self) -> None:
        _alive.add(self)

    @abstractmethod
    def hold(self) -> None:
        """Before: let work in progress end and none begin, within reason."""

    @abstractmethod
    def let_go(self) -> None:
        """After, in the parent: go on."""

    @abstractmethod
    def forget(self) -> None:
        """After, in the child: leave what is the parent's alone and begin anew."""


_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []
# One fork at a time: two would each hold half of the connections and wait for the rest.
_forking = threading.Lock()


def _before() -> None:
    _forking.acquire()
    _held.extend(_alive)
    for each in _held:
        each.hold()


def _after_in_parent() -> None:
    for each in _held:
        each.let_go()
    _held.clear()
    _forking.release()


def _after_in_child() -> None:
    global _forking  # noqa: PLW0603 - another thread's attempt does not exist in the child
    _forking = threading.Lock()
    for each in _held:
        each.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
