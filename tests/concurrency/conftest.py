"""Stores that several processes share, and the processes."""

from __future__ import annotations

import multiprocessing
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess


#: Forked from a server that has imported these and done nothing else: a process is as fresh as one that was started
#: anew, and does not take a second of imports.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["pytest", "agentmem", "agentmem.sql.migrations", "agentmem.testing.support", "alembic.command"]
)

_PROLOGUE = """
import os, signal, sys, threading, time
import agentmem
from agentmem.testing.support import run_threads
barrier.wait(60)
"""


_URLS = {"sqlite": "sqlite_url", "postgresql": "postgres_schema_url", "redis": "redis_url"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store that processes can share, on each backend."""
    return str(request.getfixturevalue(_URLS[request.param]))


class Crew:
    """Processes that run a script at the same time; in it, `index` is a process's number and `said` where it speaks."""

    def __init__(self) -> None:
        self.said: Any = _context.SimpleQueue()
        self._started: list[ForkServerProcess] = []
        self._barriers: list[Any] = []  # a process finds its barrier by a name that ends with the barrier

    def start(self, count: int, script: str, **names: Any) -> list[ForkServerProcess]:
        """Start so many; they begin when all are there."""
        barrier = _context.Barrier(count)
        self._barriers.append(barrier)
        processes = []
        for index in range(count):
            given = {**names, "index": index, "said": self.said, "barrier": barrier}
            processes.append(_context.Process(target=exec, args=(_PROLOGUE + script, given)))
        self._started += processes
        for process in processes:
            process.start()
        return processes

    def run(self, count: int, script: str, **names: Any) -> list[Any]:
        """Start so many, wait until they end by themselves and in good order, and return what they said."""
        processes = self.start(count, script, **names)
        for process in processes:
            process.join(100)
        assert [process.exitcode for process in processes] == [0] * count
        return [self.said.get() for _ in range(count)] if "said.put" in script else []

    def kill(self, process: ForkServerProcess) -> None:
        """By SIGKILL, as a crash or an impatient supervisor."""
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL

    def close(self) -> None:
        for process in self._started:
            if process.exitcode is None:
                process.kill()
                process.join(30)
            process.close()
        self.said.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.close()
