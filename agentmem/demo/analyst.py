"""An analyst: takes open files, examines them, writes down what it found."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from agentmem.demo.analysis import examine
from agentmem.demo.board import HEARTBEAT_SECONDS
from agentmem.demo.sources import to_path
from agentmem.errors import OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from agentmem.demo.board import Board, Claim, Plan
    from agentmem.entries import Entry

T = TypeVar("T")

#: How long an agent bears a store that does not answer before it gives up.
PATIENCE_SECONDS: Final = 60.0

#: How often an idle analyst looks for files whose lease has expired.
_IDLE_SECONDS: Final = 0.1


class Stopped(Exception):
    """The fleet was told to stop while an agent waited for its store."""


class Analyst:
    """One agent. It shares nothing with the others but the board, so it may as well live in another process.

    Args:
        board: where the work is.
        plan: which run.
        root: where the files are.
        name: unique among all agents of the tree.
        stop: set it to end the agent after its current file.
    """

    def __init__(self, board: Board, plan: Plan, root: Path, name: str, stop: threading.Event) -> None:
        self.board = board
        self.plan = plan
        self.root = root
        self.name = name
        self.stop = stop
        self._pile: list[Entry] = []
        self._last_heartbeat = float("-inf")
        self._random = random.Random(name)  # noqa: S311 - it spreads agents, it keeps no secret

    def run(self) -> None:
        """Work until every file of the run is done, by whomever, or until told to stop.

        Raises:
            Unavailable: the store did not answer for a minute, or cannot be expected to.
            AgentMemError: the store refuses.
        """
        try:
            while not self.stop.is_set():
                claim = self._persist(self._next_claim)
                if claim is not None:
                    self._examine(claim)
                elif not self._persist(lambda: self.board.lots(self.plan)):
                    return
                else:
                    self._beat("waiting for a lease to expire")
                    self.stop.wait(_IDLE_SECONDS)
        except Stopped:
            return

    def _next_claim(self) -> Claim | None:
        """Claim some open file; None where everything that is left is held by others, or nothing is left."""
        while True:
            if not self._pile:
                self._pile = self._look()
            if not self._pile:
                return None
            claim = self.board.claim(self.plan, self._pile.pop(), self.name)
            if claim is not None:
                return claim

    def _look(self) -> list[Entry]:
        """Read the open files of one lot, picked at random so that analysts seldom meet."""
        lots = self.board.lots(self.plan)
        self._random.shuffle(lots)
        for lot in lots:
            work = self.board.open_work(self.plan, lot)
            if work:
                self._random.shuffle(work)
                return work
        return []

    def _examine(self, claim: Claim) -> None:
        self._beat(claim.name)
        started = time.perf_counter()
        finding = examine(to_path(self.root, claim.name))
        metadata = {"agent": self.name, "took_ms": round((time.perf_counter() - started) * 1000, 1)}
        # Safe to send again after an unknown outcome: the lease's version lets it through once.
        self._persist(lambda: self.board.complete(self.plan, claim, finding, metadata))

    def _beat(self, doing: str) -> None:
        now = time.monotonic()
        if now - self._last_heartbeat > HEARTBEAT_SECONDS / 4:
            self._last_heartbeat = now
            self._persist(lambda: self.board.heartbeat(self.name, "analyst", doing))

    def _persist(self, call: Callable[[], T]) -> T:
        """Call until the store answers, with growing pauses of random length.

        Only for calls that do no harm when they are applied twice: an unknown outcome is tried again too. A claim
        that was applied unknown to its analyst expires.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        pause = 0.05
        while True:
            try:
                return call()
            except (Unavailable, OutcomeUnknown) as error:
                hopeless = isinstance(error, Unavailable) and not error.retryable
                if hopeless or time.monotonic() > give_up:
                    raise
            if self.stop.wait(pause * self._random.uniform(0.5, 1.5)):
                raise Stopped
            pause = min(pause * 2, 2.0)
