"""Changes below a prefix, found by looking again: what is new, what was written anew, what is gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from agentmem import arguments, walks
from agentmem.coordination import positions
from agentmem.coordination.pauses import Pauses
from agentmem.coordination.positions import Known
from agentmem.errors import Unavailable
from agentmem.moments import microseconds
from agentmem.repository import Position, Query

if TYPE_CHECKING:
    from types import TracebackType

    from agentmem.entries import Entry, Record
    from agentmem.gateway import Gateway

logger = logging.getLogger("agentmem.coordination")

_BODIES: Final = 256
"""How many entries are fetched in one call, of those that changed."""

Kind = Literal["put", "delete", "expire", "heartbeat"]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a key.

    Attributes:
        kind: `put` for any write that left an entry; `delete`; `expire` when the time that the entry had when it was
            last seen is over; `heartbeat` for a while without changes, if that was asked for.
        key: which, relative to the handle; "" of a heartbeat.
        entry: as it is now; None unless it was put.
        version: of the entry; of one that is gone the last that was seen; 0 of a heartbeat.
    """

    kind: Kind
    key: str
    entry: Entry | None
    version: int


class Watch(Iterator[Change]):
    """Made by `memory.watch()`, see there; an iterator for one thread at a time.

    After its end by `timeout` it can be asked for more. `stop` and `close` are final.
    """

    def __init__(
        self,
        gateway: Gateway,
        prefix: str,
        *,
        position: str | None,
        poll: tuple[float, float],
        timeout: float | None,
        heartbeat: float | None,
        stop: threading.Event | None,
    ) -> None:
        self._gateway = gateway
        self._prefix = prefix
        self._query = Query(gateway.scope.under(prefix))
        self._known: dict[str, Known] = {} if position is None else positions.decode(gateway.scope, prefix, position)
        self._pauses = Pauses(*poll)
        self._timeout = arguments.seconds_or_none("timeout", timeout)
        self._heartbeat = arguments.seconds_or_none("heartbeat", heartbeat)
        self._stop = stop or threading.Event()
        self._is_stop_ours = stop is None
        self._is_closed = False
        self._changes: Iterator[Change] | None = None
        self._look_seconds = 0.0

    def __next__(self) -> Change:
        changes = self._changes = self._changes or self._run()
        try:
            return next(changes)
        except BaseException:
            self._changes = None
            raise

    def look(self) -> Iterator[Change]:
        """Look once and give what changed, without waiting; for agents that have a loop of their own.

        Raises:
            Unavailable: at once; what came before it has been given.
        """
        # What an iteration that was left half-way had yet to give is found again, as it is now.
        self._changes = None
        yield from self._differences()

    def position(self) -> str:
        """A text from which `memory.watch(prefix, position=…)` goes on after the change that was given last.

        Made only when asked for: it holds every key that is known below the prefix, with version and expiry,
        compressed; some 15 to 25 bytes for each. A place outside of the prefix is the one to store it at, or storing it
        is a change, too.
        """
        return positions.encode(self._gateway.scope, self._prefix, self._known)

    def close(self) -> None:
        """End it, from any thread: a `next` that waits returns after its pause at the latest. Idempotent."""
        self._is_closed = True
        if self._is_stop_ours:
            self._stop.set()

    def _is_over(self) -> bool:
        return self._is_closed or self._stop.is_set()

    def _run(self) -> Iterator[Change]:
        """Look and wait in turn. What is given is known before, so a position made of it is after the change."""
        quiet_since = beat_since = time.monotonic()
        while not self._is_over():
            found = False
            for change in self._patient_differences():
                found = True
                yield change
                if self._is_over():
                    return
            now = time.monotonic()
            if found:
                quiet_since = beat_since = now
            elif self._timeout is not None and now >= quiet_since + self._timeout:
                return
            elif self._heartbeat is not None and now >= beat_since + self._heartbeat:
                beat_since = now
                yield Change("heartbeat", "", None, 0)
            self._wait(self._pauses.after(self._look_seconds, found=found), quiet_since, beat_since)

    def _wait(self, pause: float, quiet_since: float, beat_since: float) -> None:
        """Wait for the next look; less where a limit ends before."""
        ends = [
            since + limit
            for since, limit in ((quiet_since, self._timeout), (beat_since, self._heartbeat))
            if limit is not None
        ]
        now = time.monotonic()
        self._stop.wait(max(0.0, min([now + pause, *ends]) - now))

    def _patient_differences(self) -> Iterator[Change]:
        try:
            yield from self._differences()
        except Unavailable as error:
            if not error.retryable:
                raise
            # What was not given is still unknown, so the next look finds it again.
            logger.warning("a look for changes failed, the next one tries again: %s", error)

    def _differences(self) -> Iterator[Change]:
        """Compare what there is with what is known, in order of versions, which is about the order of writes."""
        self._look_seconds = 0.0
        began = time.monotonic()
        seen = {record.key: _known(record) for record in walks.records(self._scan)}
        known = self._known
        pending = [key for key in known if key not in seen]
        pending += [key for key, now in seen.items() if key not in known or known[key].version != now.version]
        pending.sort(key=lambda key: seen.get(key) or known[key])
        self._look_seconds += time.monotonic() - began
        for start in range(0, len(pending), _BODIES):
            yield from self._compared(pending[start : start + _BODIES], seen)

    def _compared(self, keys: list[str], seen: dict[str, Known]) -> Iterator[Change]:
        """Fetch some keys as they are now, those that seem to be gone as well, and tell what differs."""
        began = time.monotonic()
        found = self._gateway.fetch(keys)
        last = {key: seen.get(key) or self._known[key] for key in keys if key not in found}
        now_us = self._server_us() if any(one.expires_us for one in last.values()) else 0
        self._look_seconds += time.monotonic() - began
        for key in keys:
            before = self._known.get(key)
            if key in found:
                if before is None or before.version != found[key].version:
                    yield self._put(found[key])
            elif before is not None:
                del self._known[key]
                gone = last[key]
                kind: Kind = "expire" if 0 < gone.expires_us <= now_us else "delete"
                yield Change(kind, self._gateway.scope.relative(key), None, gone.version)

    def _put(self, record: Record) -> Change:
        self._known[record.key] = _known(record)
        entry = self._gateway.scope.entry(record)
        return Change("put", entry.key, entry, entry.version)

    def _scan(self, after: Position | None, limit: int) -> list[Record]:
        return self._gateway.scan(self._query, after=after, limit=limit, bodies=False).records

    def _server_us(self) -> int:
        return microseconds(self._gateway.call(self._gateway.repository.server_time))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _known(record: Record) -> Known:
    return Known(record.version, record.expires_us or 0)
