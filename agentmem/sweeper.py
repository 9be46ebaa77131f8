"""A thread that removes expired entries now and then (R23). What is visible never depends on it."""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from typing import TYPE_CHECKING, Final

from agentmem.errors import Closed

if TYPE_CHECKING:
    from agentmem.repository import Repository

logger = logging.getLogger("agentmem.sweeper")

BATCH: Final = 1000
"""How many entries one step removes at most, so that writers never wait long."""
_LONGEST_SECONDS: Final = 24 * 3600.0
_STOP_SECONDS: Final = 10.0


class Sweeper:
    """Purges a repository every so many seconds, give or take a fifth, so that many processes do not do it at once.

    Failures are logged, and the next round tries again. The thread is a daemon, and it does not keep a repository alive
    that was dropped without being closed.

    Args:
        repository: what to purge; any number of sweepers may share it.
        every_seconds: above 0; at most a day.
    """

    def __init__(self, repository: Repository, every_seconds: float) -> None:
        self._repository = weakref.ref(repository)
        self._every_seconds = min(every_seconds, _LONGEST_SECONDS)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; also in every child that this process forks from now on."""
        _started.add(self)
        self._thread = threading.Thread(
            target=_sweep,
            args=(self._repository, self._stopped, self._every_seconds),
            name="agentmem-sweeper",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for the step that it may be in. Idempotent."""
        _started.discard(self)
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)

    def restart(self) -> None:
        """In a forked child, where the thread is gone and its event may have been forked while locked (R33)."""
        if self._repository() is not None:
            self._stopped = threading.Event()
            self.start()


def _sweep(reference: weakref.ref[Repository], stopped: threading.Event, every_seconds: float) -> None:
    while not stopped.wait(every_seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - spreads load, keeps no secret
        repository = reference()
        if repository is None:
            return
        try:
            _purge(repository, stopped)
        except Closed:
            return
        except Exception:
            logger.warning("expired entries could not be removed; the next round tries again", exc_info=True)
        # A name that stayed would keep the repository alive for all of the wait.
        del repository


def _purge(repository: Repository, stopped: threading.Event) -> None:
    purged = BATCH
    while purged >= BATCH and not stopped.is_set():
        purged = repository.purge(BATCH)
        logger.debug("%d expired entries removed", purged)


_started: weakref.WeakSet[Sweeper] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for sweeper in list(_started):
        sweeper.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
