"""The way from a handle to its repository: every call of every method passes here.

So there is one place that refuses a closed handle, names the partition, and turns the errors that come back into the
caller's words.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn, ParamSpec, Protocol, TypeVar

from agentmem.errors import AgentMemError, Closed, InvalidArgument
from agentmem.queue_port import Exchange, Exchanged, Put, PutOutcome, QueueStore, Settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agentmem.commands import Command, Outcome
    from agentmem.entries import Record
    from agentmem.qtable_port import QTableStore
    from agentmem.repository import Position, Query, Repository, Slice
    from agentmem.scope import Scope
    from agentmem.sweeper import Sweeper

P = ParamSpec("P")
T = TypeVar("T")


class Companion(Protocol):
    """What must not outlive a connection, such as a thread that uses it."""

    def end(self) -> None:
        """Come to an end; the connection is closed next. Called once, from any thread."""


class Lifetime:
    """What all handles on one connection share: its end.

    Args:
        repository: the store.
        owned: whether the end of this is the end of the repository, too.
        sweep_every: seconds after which a thread removes expired entries, over and over; None for no thread.
        reopen: makes an equal handle in another process, called with partition, prefix and namespace; None when
            handles cannot be pickled.

    Attributes:
        closed: whether the end has come.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        owned: bool,
        sweep_every: float | None = None,
        reopen: Callable[..., object] | None = None,
    ) -> None:
        self.closed = False
        self.reopen = reopen
        self._repository = repository
        self._owned = owned
        self._sweeper = None if sweep_every is None else _started_sweeper(repository, sweep_every)
        self._companions: set[Companion] = set()

    def owns(self, repository: Repository) -> bool:
        """Whether this is the connection's own store, and no wrapping of it."""
        return repository is self._repository

    def accompany(self, companion: Companion) -> None:
        """Let something end with the connection, unless `leave` is called before.

        Raises:
            Closed: the end has come.
        """
        self._companions.add(companion)
        if self.closed:
            self.leave(companion)
            raise Closed("this memory was closed")

    def leave(self, companion: Companion) -> None:
        """Undo `accompany`. Idempotent."""
        self._companions.discard(companion)

    def end(self) -> None:
        """Stop the sweeper and all companions, and close an owned repository. Idempotent, from any thread."""
        self.closed = True
        while self._companions:
            with contextlib.suppress(KeyError):
                self._companions.pop().end()
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._owned:
            self._repository.close()


def _started_sweeper(repository: Repository, every_seconds: float) -> Sweeper:
    from agentmem.sweeper import Sweeper

    sweeper = Sweeper(repository, every_seconds)
    sweeper.start()
    return sweeper


def _next_of(
    part: Command | Put | Settle, puts: Iterator[PutOutcome], outcomes: Iterator[Outcome]
) -> Outcome | PutOutcome | None:
    if isinstance(part, Settle):
        return None
    return next(puts) if isinstance(part, Put) else next(outcomes)


class Gateway:
    """One handle's access to its repository. Keys that go in are absolute, records that come out too.

    Attributes:
        repository: for `call`.
        scope: the handle's.
        lifetime: shared with the handles that this one was derived from.
        closed: whether this very handle was closed.
    """

    __slots__ = ("closed", "lifetime", "repository", "scope")

    def __init__(self, repository: Repository, scope: Scope, lifetime: Lifetime) -> None:
        self.repository = repository
        self.scope = scope
        self.lifetime = lifetime
        self.closed = False

    def check_open(self) -> None:
        """For a call that may turn out to need no I/O.

        Raises:
            Closed: the handle, or the one that owns the connection, was closed (R35).
        """
        if self.closed or self.lifetime.closed:
            raise Closed("this memory was closed")

    def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call one of the repository's methods."""
        self.check_open()
        try:
            return method(*args, **kwargs)
        except AgentMemError as error:
            self._localise(error)

    def fetch_one(self, key: str) -> Record | None:
        """One living entry: `call` unrolled, because every `get` passes here."""
        if self.closed or self.lifetime.closed:
            self.check_open()
        try:
            return self.repository.fetch_one(self.scope.partition, key)
        except AgentMemError as error:
            self._localise(error)

    def fetch(self, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        """The living entries among some keys, in one consistent view."""
        return self.call(self.repository.fetch, self.scope.partition, keys, bodies=bodies)

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """One atomic batch; an empty one makes no I/O."""
        if not commands:
            self.check_open()
            return []
        return self.call(self.repository.apply, self.scope.partition, commands)

    @property
    def queues(self) -> QueueStore:
        """The repository's work queues, for `call`."""
        self.check_open()
        return self.repository.queues

    @property
    def qtables(self) -> QTableStore:
        """The repository's learned values, for `call`."""
        self.check_open()
        return self.repository.qtables

    def exchange(self, step: Exchange) -> Exchanged:
        """One atomic step of the partition's queues."""
        if len({(settle.queue, settle.id) for settle in step.settles}) < len(step.settles):
            raise InvalidArgument("a job is settled once: the same one came twice in one call")
        return self.call(self.queues.exchange, self.scope.partition, step)

    def apply_parts(self, parts: Sequence[Command | Put | Settle]) -> list[Outcome | PutOutcome | None]:
        """One atomic batch of commands and of what queues do; what became of each, in order."""
        settles = [part for part in parts if isinstance(part, Settle)]
        puts = [part for part in parts if isinstance(part, Put)]
        commands = [part for part in parts if not isinstance(part, Settle | Put)]
        if not settles and not puts:
            return list(self.apply(commands))
        done = self.exchange(Exchange(settles, puts, None, commands))
        of_puts, of_commands = iter(done.puts), iter(done.outcomes)
        return [_next_of(part, of_puts, of_commands) for part in parts]

    def scan(self, query: Query, *, after: Position | None, limit: int, bodies: bool = True) -> Slice:
        """One page of records."""
        return self.call(self.repository.scan, self.scope.partition, query, after=after, limit=limit, bodies=bodies)

    def _localise(self, error: AgentMemError) -> NoReturn:
        local = self.scope.localised(error)
        if local is error:
            raise error
        raise local.with_traceback(error.__traceback__) from error.__cause__
