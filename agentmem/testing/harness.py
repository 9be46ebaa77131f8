"""What the author of a backend provides so that the contract suite can run against it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from agentmem.memory import Memory


class Harness(ABC):
    """One fresh, empty store and the few things that a test must do to it behind agentmem's back.

    The suite asks for a new harness for each test, so nothing that a test leaves need be cleaned up.

    Attributes:
        shared: whether a second `connect()` sees the same store. Tests that need two handles are skipped otherwise.
        multiprocess: whether another process can reach the store by `agentmem.connect(harness.url)`.
        url: where, for a store that other processes can reach.
        sets_versions: whether `set_version()` works.
        restartable: whether `restart()` works.
        queues: whether the backend has work queues (agentmem.queue_port).
        qtables: whether the backend has learned values (agentmem.qtable_port).
    """

    shared: ClassVar[bool] = True
    multiprocess: ClassVar[bool] = False
    sets_versions: ClassVar[bool] = False
    restartable: ClassVar[bool] = False
    queues: ClassVar[bool] = True
    qtables: ClassVar[bool] = True
    url: str | None = None

    @abstractmethod
    def connect(self, **options: Any) -> Memory:
        """Open a new handle on the store, with the options of `agentmem.connect`. The caller closes it."""

    @abstractmethod
    def corrupt(self, partition: str, key: str) -> None:
        """Make a stored value undecodable, as foreign software might.

        The change must leave the entry's version and times alone.
        """

    @abstractmethod
    def stored(self, partition: str) -> int:
        """Count the entries that take room in a partition, expired ones that were not purged yet included."""

    def set_version(self, partition: str, key: str, version: int) -> None:
        """Give a stored entry a version, as a write would have done while the server's clock was ahead."""
        raise NotImplementedError(f"{type(self).__name__} sets no versions")

    def settle(self) -> None:  # noqa: B027 - most servers have nothing to do
        """Let the server do what it does by itself within a minute or so, such as gathering statistics."""

    def restart(self) -> None:
        """Stop the store's server and start it again, its data kept."""
        raise NotImplementedError(f"{type(self).__name__} is not restartable")
