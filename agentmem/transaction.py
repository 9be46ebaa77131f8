"""Optimistic transactions: reads remember versions, writes wait, one atomic batch checks and writes at the end.

Kung and Robinson, "On Optimistic Methods for Concurrency Control", 1981: read, validate, write. Validation and writing
are one `apply`, so no lock and no connection is held while user code runs (R32).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from agentmem import arguments, translate
from agentmem.commands import CheckCommand, Command
from agentmem.entries import Entry, Record
from agentmem.errors import AgentMemError, Closed, VersionConflict
from agentmem.jobs import Job, settling
from agentmem.moments import microseconds
from agentmem.operations import DEFAULT_MAX_ATTEMPTS
from agentmem.plan import Context, merged, step
from agentmem.ttl import TTL, UNSET, Duration, MaybeTTL

if TYPE_CHECKING:
    from types import TracebackType

    from agentmem.gateway import Gateway
    from agentmem.operations import Result
    from agentmem.queue_port import Settle


class Transaction:
    """Made by `memory.transaction()` and used once, in a `with` block, by one thread.

    A key is fetched when it is first read; reading it again gives the same snapshot, whatever others do, with the
    transaction's own writes applied. Such a preview has provisional version and times, and does not know the
    partition's default TTL: the server decides at the commit. Snapshots of different keys may be of different moments;
    the commit proves that all of them still hold together, also when nothing is written, and raises VersionConflict
    otherwise.

    Writes are checked as those of `memory` are, and wait. They return nothing; `results` tells after the block.

    Attributes:
        results: what became of each write, in order; empty until the commit.
        conflict: the VersionConflict that this transaction raised, or None.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.results: list[Result] = []
        self.conflict: VersionConflict | None = None
        self._gateway = gateway
        self._scope = gateway.scope
        self._is_open = False
        self._is_used = False
        self._seen: dict[str, Record | None] = {}
        self._preview: dict[str, Record | None] = {}
        self._waiting: dict[str, deque[Command]] = {}
        self._checks: list[Command] = []
        self._writes: list[translate.Part] = []
        self._jobs: list[Job] = []

    # Reads.

    def get(self, key: str, default: Any = None) -> Any:
        """As `memory.get`; the key's version is checked at the commit."""
        record = self._look(key)
        return default if record is None else self._scope.decode(record.body, key)

    def entry(self, key: str) -> Entry | None:
        """As `memory.entry`; the key's version is checked at the commit."""
        record = self._look(key)
        return None if record is None else self._scope.entry(record)

    def exists(self, key: str) -> bool:
        """As `memory.exists`; the key's version is checked at the commit."""
        return self._look(key) is not None

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """As `memory.get_many`; the versions are checked at the commit."""
        self._require_open()
        names = arguments.several("keys", keys)
        self._fetch([self._scope.absolute(key) for key in names])
        records = {key: self._look(key) for key in names}
        return {key: self._scope.decode(record.body, key) for key, record in records.items() if record is not None}

    # Writes.

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: MaybeTTL = UNSET,
        metadata: Mapping[str, Any] | None = None,
        if_version: int | None = None,
        if_absent: bool = False,
    ) -> None:
        """As `memory.put`, at the commit. The value is encoded now: changing it later changes nothing."""
        self._write(
            translate.put(
                self._scope, key, value, ttl=ttl, metadata=metadata, if_version=if_version, if_absent=if_absent
            )
        )

    def delete(self, key: str, *, if_version: int | None = None) -> None:
        """As `memory.delete`, at the commit."""
        self._write(translate.delete(self._scope, key, if_version))

    def pop(self, key: str, default: Any = None) -> Any:
        """Read a key, as `get`, and delete it at the commit: so of several callers exactly one succeeds."""
        value = self.get(key, default)
        self._write(translate.delete(self._scope, key))
        return value

    def increment(self, key: str, by: int | float = 1, *, initial: int | float = 0, ttl: MaybeTTL = UNSET) -> None:
        """As `memory.increment`, at the commit. Without a read of the key there is nothing to conflict with."""
        self._write(translate.increment(self._scope, key, by, initial, ttl))

    def append(self, key: str, *items: Any, limit: int | None = None) -> None:
        """As `memory.append`, at the commit."""
        self._write(translate.append(self._scope, key, items, limit))

    def merge(self, key: str, mapping: Mapping[str, Any]) -> None:
        """As `memory.merge`, at the commit. For a handle with a codec it reads the key, as `get` does."""
        if self._scope.codec is None:
            self._write(translate.merge(self._scope, key, mapping))
            return
        patch = translate.merge_patch_of(mapping)
        self._scope.encode(patch, "mapping")
        self._write(translate.replace(self._scope, key, merged(key, self.get(key, {}), patch)))

    def touch(self, key: str, ttl: TTL) -> None:
        """As `memory.touch`, at the commit."""
        self._write(translate.touch(self._scope, key, ttl))

    def check(self, key: str, version: int | None) -> None:
        """Let the commit fail unless the key has this version before the transaction's writes; None: no entry."""
        self._require_open()
        self._checks.append(translate.check(self._scope, key, version))

    # Queues.

    def enqueue(
        self,
        queue: str,
        value: Any,
        *,
        delay: Duration = 0,
        priority: int = 0,
        dedup_key: str | None = None,
        group: str | None = None,
        max_attempts: int | None = DEFAULT_MAX_ATTEMPTS,
    ) -> None:
        """Put a value into the queue of a name, as `memory.queue(queue).put`, at the commit."""
        put = translate.enqueue(
            self._scope,
            queue,
            value,
            delay=delay,
            priority=priority,
            dedup_key=dedup_key,
            group=group,
            max_attempts=max_attempts,
        )
        self._require_open()
        self._writes.append(put)

    def ack(self, job: Job) -> None:
        """Remove a claimed item at the commit, which raises LeaseLost, and writes nothing, if the lease is lost.

        So what a job produced and its end are one: both are there, once, or neither.
        """
        self._settle(job, translate.settle(self._scope, job, "ack"))

    def nack(self, job: Job, *, delay: Duration = 0, error: object = None) -> None:
        """Give a claimed item back at the commit, as `job.nack`; LeaseLost as in `ack`."""
        self._settle(job, translate.nack(self._scope, job, delay, error))

    # The block.

    def __enter__(self) -> Self:
        if self._is_used:
            raise Closed("a transaction is used once: ask memory.transaction() for another")
        self._gateway.check_open()
        self._is_open = self._is_used = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        if kind is None:
            self._commit()

    def _commit(self) -> None:
        seen = [CheckCommand(key, None if record is None else record.version) for key, record in self._seen.items()]
        checks = [*seen, *self._checks]
        try:
            with settling(self._jobs):
                outcomes = self._gateway.apply_parts([*checks, *self._writes])
        except VersionConflict as error:
            self.conflict = error
            raise
        pairs = zip(self._writes, outcomes[len(checks) :], strict=True)
        self.results = [translate.part_result(self._scope, part, outcome) for part, outcome in pairs]

    def _require_open(self) -> None:
        if not self._is_open:
            raise Closed("a transaction can be used inside of its with block only")

    def _write(self, command: Command) -> None:
        self._require_open()
        self._writes.append(command)
        self._waiting.setdefault(command.key, deque()).append(command)

    def _settle(self, job: Job, settle: Settle) -> None:
        self._require_open()
        self._writes.append(settle)
        self._jobs.append(job)

    def _look(self, key: str) -> Record | None:
        """The record at a relative key with the transaction's own writes applied."""
        self._require_open()
        absolute = self._scope.absolute(key)
        self._fetch([absolute])
        record = self._preview[absolute]
        waiting = self._waiting.get(absolute)
        while waiting:
            # Taken off only when it went well: a write that the value does not bear raises at every look.
            record = self._preview[absolute] = self._step(waiting[0], record)
            waiting.popleft()
        return record

    def _fetch(self, absolutes: list[str]) -> None:
        wanted = [key for key in dict.fromkeys(absolutes) if key not in self._seen]
        if len(wanted) == 1:
            self._remember(wanted[0], self._gateway.fetch_one(wanted[0]))
        elif wanted:
            found = self._gateway.fetch(wanted)
            for key in wanted:
                self._remember(key, found.get(key))

    def _remember(self, key: str, record: Record | None) -> None:
        self._seen[key] = self._preview[key] = record

    def _step(self, command: Command, record: Record | None) -> Record | None:
        # The server found the record alive, and our clock has no say in that (R21): its own last write is a moment
        # when it certainly lived.
        now_us = microseconds(datetime.now(UTC)) if record is None else record.updated_us
        try:
            return step(command, record, Context(now_us, None, None, self._scope.max_value_bytes))[1]
        except AgentMemError as error:
            local = self._scope.localised(error)
            if isinstance(local, VersionConflict):
                self.conflict = local
            raise local from error.__cause__
