"""A place where agents wait for one another."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from agentmem import arguments, retry
from agentmem.coordination.names import level
from agentmem.coordination.pauses import Pauses
from agentmem.errors import AgentMemError, BarrierTimeout, OutcomeUnknown, Unavailable, VersionConflict
from agentmem.keys import validate_key
from agentmem.operations import Check, Delete, Put

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.coordination.blackboard import Blackboard
    from agentmem.memory import Memory
    from agentmem.ttl import TTL

POLL_SECONDS: Final = (0.01, 0.5)
"""The bounds of the pauses between two looks at whether it is open."""
RENEWALS: Final = 3
"""How often in one ttl who waits says so again; and counts again, lest the one who should have opened it died."""


class Barrier:
    """One party's way through a barrier.

    `barriers/<name>` is there when it is open; `arrivals/<name>/<party>` while a party waits. Who finds enough arrivals
    opens it in a batch that removes each under its version: so all of them live in the step that opens it, and nothing
    of them is left once the barrier is open no more.

    Args:
        board: whose barrier it is.
        memory: the handle.
        name: of the barrier.
        parties: how many arrivals open it.
        party: the name of this one.
        ttl_seconds: how long an arrival stands when its party falls silent.
        keep: how long it stays open; None for good.

    Raises:
        InvalidArgument, InvalidKey: a bad argument.
    """

    def __init__(
        self,
        board: Blackboard,
        memory: Memory,
        name: str,
        parties: int,
        *,
        party: str,
        ttl_seconds: float,
        keep: TTL,
    ) -> None:
        self._memory = memory
        self._name = name
        self._parties = arguments.whole("parties", parties)
        self._mark = f"{board.prefix}barriers/{level(name)}"
        self._arrivals = f"{board.prefix}arrivals/{level(name)}/"
        self._own = self._arrivals + validate_key(party)
        self._ttl_seconds = ttl_seconds
        self._keep = keep

    def wait(self, timeout: float | None, *, renew: Callable[[], object] | None = None) -> None:
        """Arrive, and return when the barrier is open.

        Args:
            timeout: seconds; None waits for as long as it takes.
            renew: called whenever the arrival is renewed.

        Raises:
            BarrierTimeout: it did not open in time. The arrival was taken back.
        """
        seconds = arguments.seconds_or_none("timeout", timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            passes = self._passes(deadline, renew)
        except BaseException:
            with contextlib.suppress(AgentMemError):
                self._memory.delete(self._own)
            raise
        if not passes:
            self._give_up(seconds or 0.0)

    def _passes(self, deadline: float | None, renew: Callable[[], object] | None) -> bool:
        """Look again and again until it is open; False when the time is over."""
        pauses, due = Pauses(*POLL_SECONDS), 0.0
        while True:
            began = time.monotonic()
            try:
                if began < due:
                    is_open = self._memory.exists(self._mark)
                else:
                    is_open = self._is_open_to_arrival(renew)
                    due = began + self._ttl_seconds / RENEWALS
            except (Unavailable, OutcomeUnknown) as error:
                # Each step may be repeated: an arrival is one entry, and the barrier opens once.
                if not getattr(error, "retryable", True):
                    raise
                is_open = False
            now = time.monotonic()
            if is_open or (deadline is not None and now >= deadline):
                return is_open
            ends = [now + pauses.after(now - began, found=False)]
            # However slow a look is, the arrival is renewed in time; where that failed, not before the pause is over.
            ends += [end for end in (due, deadline) if end is not None and end > now]
            time.sleep(max(0.0, min(ends) - now))

    def _is_open_to_arrival(self, renew: Callable[[], object] | None) -> bool:
        """Arrive, or say again that the party waits, and look whether that opens it."""
        if renew is not None:
            renew()
        try:
            self._memory.apply([Check(self._mark, None), Put(self._own, None, ttl=self._ttl_seconds)])
        except VersionConflict:
            return True
        return self._is_opened()

    def _is_opened(self) -> bool:
        """Open it if enough parties wait."""
        for _ in retry.rounds(retry.DEFAULT_ATTEMPTS):
            waiting = [Delete(entry.key, entry.version) for entry in self._memory.items(self._arrivals)]
            if len(waiting) < self._parties:
                return False
            try:
                mark = Put(self._mark, {"parties": self._parties}, ttl=self._keep, if_absent=True)
                self._memory.apply([mark, *waiting])
            except VersionConflict as error:
                if error.key == self._mark:
                    return True
                # A party renewed its arrival, or gave up: count again.
            else:
                return True
        return False

    def _give_up(self, seconds: float) -> None:
        """Take the arrival back, unless the barrier was opened before that."""
        arrived = sum(1 for _ in self._memory.keys(self._arrivals))
        try:
            self._memory.apply([Check(self._mark, None), Delete(self._own)])
        except VersionConflict:
            return
        raise BarrierTimeout(self._name, arrived, self._parties, seconds)
