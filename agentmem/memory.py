"""The handle that users hold: rich, validated once, the same over every backend."""

from __future__ import annotations

from typing import final

from agentmem.administration import Administration
from agentmem.batching import Batching
from agentmem.coordinating import Coordinating
from agentmem.reading import Reading
from agentmem.writing import Writing


@final
class Memory(Reading, Writing, Batching, Coordinating, Administration):
    """A memory: JSON values by key, with versions and times to live, bound to one partition of one store.

    Usually made by `agentmem.connect`; `Memory(repository)` wraps any implementation of agentmem.repository, which
    stays the caller's to close. One handle serves any number of threads. `partition`, `scoped` and `typed` derive
    further handles from it, which share its connection.

    Bad arguments are refused before any I/O. Every error is an `AgentMemError`.
    """
