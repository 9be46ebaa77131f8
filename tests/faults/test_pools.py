"""Connections and locks that somebody keeps, while eight threads write."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentmem import PoolTimeout, Unavailable
from agentmem.testing.chaos import Crew
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.fault, pytest.mark.slow]

POOL_SIZE = 4


def connections_of(repository: Any) -> Any:
    return next(repository.servers.each()) if repository.name == "redis" else repository._connections


def take(connections: Any, meet: threading.Barrier, over: threading.Event) -> None:
    """Take a connection from those who work, and keep it until all of them were and it is over."""
    while True:
        try:
            connections.read(lambda link: (meet.wait(20), over.wait(20)))
            return
        except PoolTimeout:
            continue


@pytest.mark.parametrize("times", [1, 5])
def test_r32_all_connections_are_taken_for_a_while(any_stage: Any, times: int) -> None:
    """Who waits in vain is told so, has changed nothing, and gets a connection later."""

    def once(crew: Crew) -> None:
        meet, over = threading.Barrier(POOL_SIZE + 1), threading.Event()

        def work(index: int) -> None:
            if index < POOL_SIZE:
                take(connections_of(crew.repository), meet, over)
                return
            meet.wait(20)
            before = crew.refused
            eventually(lambda: crew.refused >= before + 4)
            over.set()

        run_threads(POOL_SIZE + 1, work)
        crew.proceed(50)

    def strike(crew: Crew) -> None:
        for _ in range(times):
            once(crew)

    assert any_stage.survive(strike, pool_timeout=0.1) == {PoolTimeout}


def test_r32_another_program_holds_the_lock_of_a_sqlite_file(sqlite_url: str, stage_at: Callable[[str], Any]) -> None:
    def strike(crew: Crew) -> None:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None, timeout=20)
        for _ in range(4):
            other.execute("BEGIN EXCLUSIVE")
            before = crew.refused
            eventually(lambda before=before: crew.refused >= before + 4)  # type: ignore[misc]
            other.execute("ROLLBACK")
            crew.proceed(50)
        other.close()

    assert stage_at(sqlite_url).survive(strike, busy_timeout=0.1) == {Unavailable}
