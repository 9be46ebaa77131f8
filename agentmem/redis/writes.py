"""How commands are applied: one script where one can decide, else a plan that a second one compares and sets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentmem.commands import (
    KEEP_METADATA,
    CheckCommand,
    Command,
    DeleteCommand,
    IncrementCommand,
    Outcome,
    PutCommand,
    TouchCommand,
    needs_body,
    plain_puts,
    written,
)
from agentmem.entries import Record, record_from
from agentmem.errors import AgentMemError, NamespaceError, Unavailable, VersionConflict
from agentmem.plan import Context, plan
from agentmem.redis import scripts
from agentmem.redis.layout import VERSION, Layout, Place, decoded, encoded, record_of, unpack
from agentmem.redis.packing import pack
from agentmem.retry import rounds
from agentmem.ttl import KEEP

if TYPE_CHECKING:
    from agentmem.redis.connections import Link
    from agentmem.redis.scripts import Script
    from agentmem.redis.servers import Servers

EXPIRY_STEP_US: Final = 1000
PATIENCE_SECONDS: Final = 30.0
"""How long a batch is planned anew because others changed what it read."""

_MANY: Final = 1_000_000
NO_PARTITION, REFUSED, CONFLICT = -1, -2, 0


class Writes:
    """The writing half of the repository.

    Args:
        servers: where partitions are.
        layout: how things are called.
        max_value_bytes: for bodies that grow.
        replicas: how many must have a write, and how many seconds to wait for that.
    """

    def __init__(self, servers: Servers, layout: Layout, max_value_bytes: int, replicas: tuple[int, float]) -> None:
        self._servers = servers
        self._layout = layout
        self._max_value_bytes = max_value_bytes
        self._replicas = replicas

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """As the port says."""
        place = self._layout.place(partition)
        if len(commands) == 1:
            outcome = self._single(partition, place, commands[0])
            if outcome is not None:
                return [outcome]
        elif puts := plain_puts(commands):
            return self._put_many(partition, place, puts)
        return self._planned(partition, place, commands)

    def write(self, place: Place, script: Script, *arguments: Any) -> Any:
        """Run a script that writes, and wait for replicas if that was asked for."""

        def work(link: Link) -> Any:
            answer = link.write(script, place, *arguments)
            number, seconds = self._replicas
            # A script begins its answer with 0 or less where it has written nothing.
            if number and (answer[0] if isinstance(answer, list) else answer) > 0:
                link.await_replicas(number, seconds)
            return answer

        return self._servers.write(place.meta, work)

    def created(self, partition: str, place: Place, script: Script, *arguments: Any) -> Any:
        """Run a script that needs the partition, which is made when it is missing."""
        answer = self.write(place, script, b"", *arguments)
        while answer[0] == NO_PARTITION:
            with self.making(partition):
                answer = self.write(place, script, b"1", *arguments)
        return answer

    @contextlib.contextmanager
    def making(self, partition: str) -> Iterator[None]:
        """Around what makes a partition: its name is on the list when it is there.

        It is registered first: a partition that is registered and not there shows nowhere, one that is there and not
        registered would be lost to `partitions`. And once more when it is made: somebody who dropped the one before may
        have taken the name off the list in between. Where this second time fails, the write is done all the same.

        A server that lost everything, or was flushed, gets its layout again: else nobody could connect who makes none.
        """
        layout = self._layout.layout
        self._servers.tell(layout, b"SET", layout, VERSION, b"NX")
        self.register(partition)
        yield
        with contextlib.suppress(AgentMemError):
            self.register(partition)

    def register(self, partition: str) -> None:
        """Note a partition's name. Idempotent."""
        name = self._layout.partitions
        self._servers.tell(name, b"ZADD", name, 0, partition.encode())

    def _single(self, partition: str, place: Place, command: Command) -> Outcome | None:
        """One command by one script; None where the planner must look closer."""
        if isinstance(command, PutCommand):
            if command.ttl == KEEP or command.metadata == KEEP_METADATA:
                return None
            return self._put(partition, place, command)
        if isinstance(command, DeleteCommand):
            return self._delete(place, command)
        if isinstance(command, TouchCommand) and command.ttl != KEEP:
            return self._touch(partition, place, command)
        if isinstance(command, IncrementCommand):
            return self._increment(partition, place, command)
        return None

    def _put(self, partition: str, place: Place, command: PutCommand) -> Outcome:
        expected: Any = b"absent" if command.if_absent else b"" if command.if_version is None else command.if_version
        answer = self.created(
            partition,
            place,
            scripts.PUT,
            command.key.encode(),
            encoded(command.body),
            encoded(command.metadata),
            command.ttl,
            expected,
        )
        self._check(answer, command.key, None if command.if_absent else command.if_version)
        return Outcome(None, record_of(command.key, command.body, command.metadata, answer[1:]))

    def _delete(self, place: Place, command: DeleteCommand) -> Outcome:
        expected: Any = b"" if command.if_version is None else command.if_version
        returning = b"1" if command.returning else b""
        answer = self.write(place, scripts.DELETE, command.key.encode(), expected, returning)
        self._check(answer, command.key, command.if_version)
        if not answer[1]:
            return Outcome(False, None)
        return Outcome(True, unpack(command.key, answer[2]) if command.returning else None)

    def _touch(self, partition: str, place: Place, command: TouchCommand) -> Outcome:
        answer = self.created(partition, place, scripts.TOUCH, command.key.encode(), command.ttl)
        if not answer[1]:
            return Outcome(False, None)
        return Outcome(True, unpack(command.key, answer[2]))

    def _increment(self, partition: str, place: Place, command: IncrementCommand) -> Outcome | None:
        kind = b"int" if isinstance(command.by, int) else b"float"
        arguments = (command.key.encode(), repr(command.by), kind, repr(command.initial), command.ttl)
        answer = self.created(partition, place, scripts.INCREMENT, *arguments)
        if answer[0] == CONFLICT:
            return None
        self._check(answer, command.key, None)
        *stamps, body, metadata = answer[1:]
        text = body.decode()
        value = int(text) if text.lstrip("-").isdigit() else float(text)
        return Outcome(value, record_of(command.key, text, decoded(metadata), stamps))

    def _put_many(self, partition: str, place: Place, puts: list[PutCommand]) -> list[Outcome]:
        flat = [part for put in puts for part in (put.key, put.body, put.metadata or "")]
        answer = self.created(partition, place, scripts.PUT_MANY, puts[0].ttl, pack(flat))
        if answer[0] == REFUSED:
            raise NamespaceError(answer[2].decode(), answer[1].decode())
        _, now_us, expires_us, *others = answer
        expires = expires_us or None
        given = (now_us, now_us, now_us, expires)
        records = [record_from((key, body, *given, metadata)) for key, body, metadata, *_ in puts]
        for index, version, created in zip(others[::3], others[1::3], others[2::3], strict=True):
            records[index] = records[index]._replace(version=version, created_us=created)
        return written(records)

    def _planned(self, partition: str, place: Place, commands: Sequence[Command]) -> list[Outcome]:
        def commit(plan: list[Any]) -> Any:
            if not any(plan[-2:]):
                return None
            return self.created(partition, place, scripts.COMMIT, pack(plan))

        return self.planned(place, commands, commit)[1]

    def planned(
        self, place: Place, commands: Sequence[Command], commit: Callable[[list[Any]], Any]
    ) -> tuple[Any, list[Outcome]]:
        """Read, plan, and store if nothing changed meanwhile; else once more.

        Args:
            place: the partition's.
            commands: what to do.
            commit: runs a script that carries out the plan (plan.lua), whose last two parts are what to store and what
                to remove; its answer begins with 0 for a plan that does not stand any more, else its second part is
                the clock. None for not run, because there is nothing to carry out.

        Returns:
            The script's answer, and what became of each command.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        for _ in rounds(_MANY):
            context, stored, seen = self._read(place, commands)
            first = plan(commands, stored, context)
            answer = commit([*seen, *_Batch(commands, stored, context, first).arguments()])
            if answer is None:
                return None, first.outcomes
            if answer[0] != CONFLICT:
                # What was written was reckoned from the later clock.
                return answer, plan(commands, stored, context._replace(now_us=answer[1])).outcomes
            if time.monotonic() > deadline:
                break
        raise Unavailable(f"others changed the same entries for {PATIENCE_SECONDS:g} s; nothing was written")

    def _read(self, place: Place, commands: Sequence[Command]) -> tuple[Context, dict[str, Record], list[Any]]:
        keys = list(dict.fromkeys(command.key for command in commands))
        whole = any(map(needs_body, commands))
        answer = self._servers.run(place, scripts.READ, pack(keys), b"1" if whole else b"")
        now, _, *policy = answer[:5]
        ttl, namespace, floor = policy
        found = zip(keys, answer[5:], strict=True)
        stored = {key: unpack(key, value, bodies=whole) for key, value in found if value is not None}
        context = Context(
            now,
            int(ttl) if ttl else None,
            namespace.decode() if namespace else None,
            self._max_value_bytes,
            int(floor or 0),
            EXPIRY_STEP_US,
        )
        versions = [part for key in keys for part in (key, stored[key].version if key in stored else 0)]
        return context, stored, [*(part.decode() if part else "" for part in policy), versions]

    def _check(self, answer: Any, key: str, expected: int | None) -> None:
        if answer[0] == REFUSED:
            raise NamespaceError(key, answer[1].decode())
        if answer[0] == CONFLICT:
            raise VersionConflict(key, expected, unpack(key, answer[1]) if answer[1] is not None else None)


class _Batch:
    """What plan.lua must be told of a plan."""

    def __init__(self, commands: Sequence[Command], stored: dict[str, Record], context: Context, made: Any) -> None:
        self._stored = stored
        self._context = context
        self._puts: list[Record] = made.puts
        self._steps: dict[str, int] = {}
        for command, outcome in zip(commands, made.outcomes, strict=True):
            if outcome.record is not None and not isinstance(command, DeleteCommand | CheckCommand):
                self._steps[command.key] = self._steps.get(command.key, 0) + 1
        kept = {record.key for record in made.puts}
        gone = [key for key in self._steps if key not in kept]
        self._gone = list(dict.fromkeys([*made.deletes, *gone]))

    def arguments(self) -> list[list[Any]]:
        """What to store and what to remove."""
        puts: list[Any] = []
        for record in self._puts:
            puts += (record.key, record.body, record.metadata or "", self._steps[record.key])
            puts += (self._created(record), *self._expiry(record))
        return [puts, [part for key in self._gone for part in (key, self._steps.get(key, 0))]]

    def _created(self, record: Record) -> int:
        return 0 if record.created_us == self._context.now_us else record.created_us

    def _expiry(self, record: Record) -> tuple[int, int]:
        """Microseconds since 1970 and 0, or milliseconds from now and 1."""
        before = self._stored.get(record.key)
        if record.expires_us is None:
            return 0, 0
        if before is not None and record.expires_us == before.expires_us:
            return record.expires_us, 0
        return (record.expires_us - self._context.now_us) // 1000, 1
