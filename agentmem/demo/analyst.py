"""An analyst: examines files, writes down what it found, and learns which files pay."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agentmem.demo.analysis import examine
from agentmem.demo.board import HEARTBEAT_SECONDS, beat
from agentmem.demo.orders import Experience
from agentmem.demo.sources import to_path
from agentmem.errors import OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from agentmem.demo.board import Board, Plan
    from agentmem.jobs import Job


class Analyst:
    """One agent, for one thread at a time. It shares nothing with the others but the board.

    Args:
        board: where the work is.
        plan: which run.
        root: where the files are.
        name: unique among all agents of the tree.
    """

    def __init__(self, board: Board, plan: Plan, root: Path, name: str) -> None:
        self.board = board
        self.plan = plan
        self.root = root
        self.name = name
        self._experience = Experience(board.orders)
        self._member = board.join(name, "analyst", beat=True)
        self._last_heartbeat = float("-inf")

    def examine(self, job: Job) -> None:
        """Examine a file, and store the finding in the step that ends the job.

        Raises:
            AgentMemError: the store did not take it. The job is to be given back; should it be done all the same, that
                is refused.
        """
        name, size = job.value["name"], job.value["size_bytes"]
        self._beat(name)
        if job.attempts > 1:
            self.board.say(self.name, f"took over {name}, which another analyst did not finish")
        started = time.perf_counter()
        finding = examine(to_path(self.root, name))
        metadata = {"agent": self.name, "took_ms": round((time.perf_counter() - started) * 1000, 1)}
        if self.board.complete(self.plan, job, finding, metadata):
            self._experience.add(size, finding["functions"], time.perf_counter() - started)

    def leave(self) -> None:
        """Tell what is left to tell, and go."""
        self._experience.tell()
        with suppress(Unavailable, OutcomeUnknown):
            self._member.leave()

    def _beat(self, doing: str) -> None:
        now = time.monotonic()
        if now - self._last_heartbeat > HEARTBEAT_SECONDS / 4:
            self._last_heartbeat = now
            # Whether the store is there is found out by the work itself.
            with suppress(Unavailable, OutcomeUnknown):
                beat(self._member, doing)
