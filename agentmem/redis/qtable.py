"""Learned values in Redis: a hash for each state, and one script for each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentmem.entries import Problem
from agentmem.errors import CorruptEntry, NamespaceError
from agentmem.keys import Pattern
from agentmem.qtable_port import MAX_VISITS, Learned, QTableStore, Step, within_bounds
from agentmem.redis import scripts
from agentmem.redis.layout import Layout, lexical_range
from agentmem.redis.packing import pack
from agentmem.redis.writes import CONFLICT, REFUSED, Writes

if TYPE_CHECKING:
    from agentmem.redis.scripts import Script
    from agentmem.redis.servers import Servers

PIECE: Final = 1_000
_FIRST: Final = b"-"


class RedisQTables(QTableStore):
    """The port on plain Redis. Pieces end at a state, so that one of very many actions is a piece of its own.

    Args:
        servers: where partitions are.
        layout: how things are called.
        writes: runs scripts that write.
    """

    def __init__(self, servers: Servers, layout: Layout, writes: Writes) -> None:
        self._servers = servers
        self._layout = layout
        self._writes = writes

    def learn(self, partition: str, table: str, steps: Sequence[Step]) -> list[Learned]:
        """As the port says; one script."""
        if not steps:
            return []
        flat: list[Any] = []
        for step in steps:
            flat += (*step[:3], step.next_state or "", *step[4:])
        texts = self._apply(partition, table, steps, scripts.QTABLE_LEARN, pack(flat))
        return [_learned(table, step.state, step.action, text) for step, text in zip(steps, texts, strict=True)]

    def store(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        self._combine(partition, table, values, b"")

    def merge(self, partition: str, table: str, values: Sequence[Learned]) -> None:
        self._combine(partition, table, values, b"1")

    def _combine(self, partition: str, table: str, values: Sequence[Learned], merges: bytes) -> None:
        if values:
            flat = [part for value in values for part in value]
            self._apply(partition, table, values, scripts.QTABLE_COMBINE, merges, pack(flat))

    def _apply(
        self, partition: str, table: str, what: Sequence[Step | Learned], script: Script, *arguments: bytes
    ) -> list[bytes]:
        """Run a script that stores; what it answers, or the error that it means."""
        place = self._layout.place(partition)
        answer = self._writes.created(partition, place, script, table.encode(), *arguments)
        if answer[0] == REFUSED:
            raise NamespaceError(table, answer[1].decode())
        if answer[0] == CONFLICT:
            refused = what[answer[1]]
            within_bounds(table, _learned(table, refused.state, refused.action, answer[2]))
        return list(answer[1:])

    def read(self, partition: str, table: str, states: Sequence[str]) -> list[Learned]:
        """As the port says; one script."""
        wanted = sorted(set(states))
        place = self._layout.place(partition)
        found = self._servers.run(place, scripts.QTABLE_READ, table.encode(), pack(wanted))
        return [learned for state, fields in zip(wanted, found, strict=True) for learned in _row(table, state, fields)]

    def walk(self, partition: str, table: str, *, piece: int = PIECE) -> Iterator[Learned]:
        """As the port says; one script a piece."""
        for state, fields in self._states(partition, table, piece):
            yield from _row(table, state, fields)

    def _states(self, partition: str, table: str, piece: int) -> Iterator[tuple[str, list[bytes]]]:
        place = self._layout.place(partition)
        start: bytes | None = _FIRST
        while start is not None:
            last, *flat = self._servers.run(place, scripts.QTABLE_WALK, table.encode(), start, piece)
            for state, fields in zip(flat[::2], flat[1::2], strict=True):
                yield state.decode(), fields
            start = None if last is None else b"(" + last

    def decay(self, partition: str, table: str, factor: float) -> int:
        place = self._layout.place(partition)
        total = 0
        start: bytes | None = _FIRST
        while start is not None:
            arguments = (table.encode(), repr(factor), start, PIECE)
            count, last = self._writes.write(place, scripts.QTABLE_DECAY, *arguments)
            total += int(count)
            start = None if last is None else b"(" + last
        return total

    def clear(self, partition: str, table: str) -> int:
        place = self._layout.place(partition)
        total, more = 0, 1
        while more:
            count, more = self._writes.write(place, scripts.QTABLE_CLEAR, table.encode(), PIECE)
            total += int(count)
        return total

    def names(self, partition: str, prefix: str = "") -> list[str]:
        """As the port says; one command."""
        name = self._layout.place(partition).tables
        found = self._servers.ask(name, b"ZRANGEBYLEX", name, *lexical_range(Pattern.under(prefix)))
        return [each.decode() for each in found]

    def drop(self, partition: str) -> None:
        """Remove all tables of a partition, in pieces."""
        for table in self.names(partition):
            self.clear(partition, table)

    def problems(self, partition: str) -> Iterator[Problem]:
        """For `memory.check()`; reads every value, in pieces."""
        for table in self.names(partition):
            for state, fields in self._states(partition, table, PIECE):
                if not fields:
                    yield Problem("index", partition, table, f"the state {state!r} is listed without any value")
                for action, text in zip(fields[::2], fields[1::2], strict=True):
                    if not _is_sound(text):
                        shown = action.decode("utf-8", "replace")
                        yield Problem("learned_value", partition, table, f"{shown!r} in {state!r} is {text!r}")


def _row(table: str, state: str, fields: list[bytes]) -> Iterator[Learned]:
    for action, text in sorted(zip(fields[::2], fields[1::2], strict=True)):
        yield _learned(table, state, action.decode(), text)


def _learned(table: str, state: str, action: str, text: bytes) -> Learned:
    try:
        value, visits = text.split(b" ")
        return Learned(state, action, float(value), int(visits))
    except ValueError as error:
        raise CorruptEntry(table, f"{action!r} in {state!r} is {text!r}") from error


def _is_sound(text: bytes) -> bool:
    try:
        value, visits = text.split(b" ")
        return float(value) - float(value) == 0 and 0 <= int(visits) <= MAX_VISITS
    except ValueError:
        return False
