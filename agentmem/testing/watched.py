"""A repository that counts what is asked of it, and loses replies when it is told to."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from agentmem.errors import AgentMemError, OutcomeUnknown, Unavailable
from agentmem.handle import repository_of
from agentmem.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentmem.commands import Command, Outcome
    from agentmem.entries import Record
    from agentmem.repository import Repository, Slice


class Watched:
    """Stands in front of a repository, and passes everything on.

    Args:
        repository: what it stands for.

    Attributes:
        calls: how often each method was called.
        records: how many records came back.
        lose: of so many of the next writes the reply is lost, after they were applied or refused.
        refuse: so many of the next writes do not get through.
    """

    def __init__(self, repository: Repository) -> None:
        self.calls: Counter[str] = Counter()
        self.records = 0
        self.lose = 0
        self.refuse = 0
        self._inner = repository

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._inner, name)

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        """As Repository says."""
        self.calls["fetch"] += 1
        found = self._inner.fetch(partition, keys, bodies=bodies)
        self.records += len(found)
        return found

    def fetch_one(self, partition: str, key: str) -> Record | None:
        """As Repository says."""
        self.calls["fetch_one"] += 1
        found = self._inner.fetch_one(partition, key)
        self.records += found is not None
        return found

    def scan(self, *arguments: Any, **options: Any) -> Slice:
        """As Repository says."""
        self.calls["scan"] += 1
        found = self._inner.scan(*arguments, **options)
        self.records += len(found.records)
        return found

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """As Repository says, but for `lose` and `refuse`."""
        self.calls["apply"] += 1
        if self.refuse:
            self.refuse -= 1
            raise Unavailable("the call did not get through")
        if not self.lose:
            return self._inner.apply(partition, commands)
        self.lose -= 1
        with contextlib.suppress(AgentMemError):
            self._inner.apply(partition, commands)
        raise OutcomeUnknown("the reply was lost")


def watched(memory: Memory) -> tuple[Memory, Watched]:
    """Another handle on a memory's store and default partition, and what it passes through."""
    watch = Watched(repository_of(memory))
    return Memory(cast("Repository", watch)), watch
