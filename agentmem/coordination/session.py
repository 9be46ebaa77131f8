"""Sessions: the messages of a conversation or a run in their order, and its state, for as long as it is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agentmem import arguments, retry, translate
from agentmem.arguments import MISSING
from agentmem.commands import Command, PutCommand
from agentmem.coordination.session_copy import Message, Snapshot, metadata_of, snapshot
from agentmem.coordination.session_info import SessionInfo
from agentmem.coordination.session_layout import Head, Layout, changed, new_head
from agentmem.coordination.session_store import LONGER, Limits, SessionStore
from agentmem.errors import InvalidArgument, InvalidOperation, InvalidTTL, VersionConflict
from agentmem.keys import validate_name
from agentmem.ttl import MAX_TTL_MS, Duration, to_milliseconds

if TYPE_CHECKING:
    from agentmem.entries import Entry
    from agentmem.gateway import Gateway


class Session:
    """Made by `memory.session(id)`; begun by the first write, and again by the first one after its end.

    Any number of threads, processes and objects may use one session. Each write is one atomic batch, and the server
    decides the order. What each method lists aside, all of them may raise Unavailable, OutcomeUnknown, Closed,
    CorruptEntry; those that write also VersionConflict, when others were first at each of 64 attempts.

    Attributes:
        id: which.
    """

    def __init__(
        self,
        gateway: Gateway,
        session_id: str,
        *,
        ttl: Duration | None = None,
        keep: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.id = session_id
        self._gateway = gateway
        self._ttl = ttl
        self._limits = Limits(arguments.whole_or_none("keep", keep), arguments.whole_or_none("max_bytes", max_bytes))
        self._layout = Layout(gateway.scope, session_id)
        self._store = SessionStore(gateway, self._layout, _milliseconds(ttl))

    # Messages.

    def append(self, *messages: Any, request_id: str | None = None) -> int:
        """Append messages, all of them or none and next to each other, and return the number of the last one.

        Numbers count from 1, without gaps or doubles, whoever else appends.

        Args:
            messages: at least one; JSON values, or what the handle's codec translates.
            request_id: the caller's own name for this call. While it is among the last 32 of the session, another call
                with it appends nothing and returns the same number: so it may be made again after OutcomeUnknown.

        Raises:
            InvalidValue, ValueTooLarge, InvalidArgument: refused before any I/O.
        """
        if not messages:
            raise InvalidArgument("append needs at least one message")
        texts = [self._gateway.scope.encode(message, "message") for message in messages]
        request = None if request_id is None else validate_name(request_id, "request id")
        done = self._store.commit(lambda head: self._appended(head, texts, request))
        return done.after.last if done.outcomes else dict(done.after.requests)[str(request)]

    def messages(self, *, limit: int | None = 50, before: int | None = None) -> list[Message]:
        """Return the newest messages, oldest first; two round trips that read no others.

        Args:
            limit: how many at the most; None for all.
            before: only those of lower numbers: the first of a page gives the page before it.

        Raises:
            InvalidArgument: a bad argument.
        """
        arguments.whole_or_none("limit", limit)
        arguments.whole_or_none("before", before)
        head = self._store.read()
        if head is None:
            return []
        last = head.last if before is None else min(head.last, before - 1)
        first = head.first if limit is None else max(head.first, last - limit + 1)
        found = self._store.fetch(head, range(first, last + 1))
        return [Message.of(self._gateway.scope, number, found[number]) for number in sorted(found)]

    def trim(self, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        """Remove the oldest messages; return how many. Numbers stay, and the newest message stays in any case.

        Args:
            keep: so many may stay.
            max_bytes: so large may their JSON texts be together.

        Raises:
            InvalidArgument: neither is given, or one is not above 0.
        """
        limits = Limits(arguments.whole_or_none("keep", keep), arguments.whole_or_none("max_bytes", max_bytes))
        if limits == Limits():
            raise InvalidArgument("trim needs keep, max_bytes, or both")

        def change(head: Head) -> tuple[Head, list[Command]] | None:
            after = self._store.trimmed(head, limits, {})
            return None if after == head else (after, self._store.removals(head, after))

        done = self._store.commit(change)
        return done.after.first - done.before.first

    # State.

    def state(self, default: Any = None) -> Any:
        """Return the session's state, or `default` where none was put."""
        entry = self.state_entry()
        return default if entry is None else entry.value

    def state_entry(self) -> Entry | None:
        """The state with its version, or None."""
        head = self._store.read()
        record = None if head is None else self._gateway.fetch_one(self._layout.state(head))
        return None if record is None else self._gateway.scope.entry(record)

    def put_state(self, value: Any, *, if_version: int | None = None, if_absent: bool = False) -> Entry:
        """Store the state, in place of what is there.

        Args:
            value: as of `memory.put`.
            if_version: only over the state of this version.
            if_absent: only where there is none.

        Raises:
            VersionConflict: the expectation failed. Nothing was changed.
            InvalidValue, ValueTooLarge, InvalidArgument: refused before any I/O.
        """
        scope = self._gateway.scope
        checked = translate.put(
            scope, scope.relative(self._layout.head), value, if_version=if_version, if_absent=if_absent
        )

        def command(head: Head) -> PutCommand:
            placed = self._store.put(head, self._layout.state(head), checked.body)
            return placed._replace(if_version=checked.if_version, if_absent=checked.if_absent)

        done = self._store.commit(lambda head: (head, [command(head)]))
        return scope.entry(translate.stored(command(done.after), done.outcomes[0]))

    def update_state(
        self, function: Callable[[Any], Any], *, default: Any = MISSING, attempts: int = retry.DEFAULT_ATTEMPTS
    ) -> Entry:
        """Replace the state by `function(state)`, unless another writer is first; then once more, as `memory.update`.

        Args:
            function: gets a copy of the state, and returns the new one. It may run several times.
            default: what it gets where there is none.
            attempts: how often to try.

        Raises:
            InvalidOperation: there is no state, and no `default`.
            VersionConflict: another writer was first at every attempt.
            InvalidValue, ValueTooLarge: for what `function` returned.
        """
        conflict: VersionConflict | None = None
        for _ in retry.rounds(arguments.whole("attempts", attempts)):
            entry = self.state_entry()
            if entry is None and default is MISSING:
                raise InvalidOperation(f"the state of session {self.id}", "there is none to update, and no default")
            value = function(default if entry is None else entry.value)
            try:
                version = None if entry is None else entry.version
                return self.put_state(value, if_version=version, if_absent=entry is None)
            except VersionConflict as error:
                conflict = error
        assert conflict is not None  # noqa: S101 - there is at least one round
        raise conflict

    # The whole.

    def exists(self) -> bool:
        """Tell whether the session was begun and has not ended. Does not renew it."""
        return self._store.find() is not None

    def info(self) -> SessionInfo | None:
        """What is known of it without a look at its messages; None where there is none. Does not renew it."""
        found = self._store.find()
        return None if found is None else SessionInfo.of(self.id, found)

    def count(self) -> int:
        """How many messages are kept. Does not renew it."""
        info = self.info()
        return 0 if info is None else info.count

    def fork(self, session_id: str, *, upto: int | None = None) -> Session:
        """Begin another session with the messages and the state of this one as they are at one moment, in one batch.

        Numbers, times and options stay. From then on the two have nothing in common. Costs what is copied.

        Args:
            session_id: of the new one.
            upto: copy the messages up to this number; the state is the present one in any case.

        Raises:
            VersionConflict: there is a session of that id. InvalidOperation: there is none of this.
            InvalidKey, InvalidArgument: a bad argument.
        """
        arguments.whole_or_none("upto", upto)
        other = Session(
            self._gateway, session_id, ttl=self._ttl, keep=self._limits.keep, max_bytes=self._limits.max_bytes
        )
        copy = snapshot(self._gateway, self._layout, upto)
        head = changed(copy.head, incarnation=new_head().incarnation, until_us=0, requests=())
        other._store.begin(head, other._copies(head, copy))
        return other

    def end(self) -> bool:
        """End it, and remove all of it in one batch; tell whether there was one."""
        return self._store.end()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}>"

    def _appended(self, head: Head, texts: Sequence[str], request_id: str | None) -> tuple[Head, list[Command]] | None:
        """What a head becomes; None where the request was met before."""
        if request_id is not None and request_id in dict(head.requests):
            return None
        new = {head.last + place: text for place, text in enumerate(texts, 1)}
        sizes = {number: len(text.encode()) for number, text in new.items()}
        longer = changed(head, last=head.last + len(new), size_bytes=head.size_bytes + sum(sizes.values()))
        after = self._store.trimmed(longer, self._limits, sizes).with_request(request_id)
        puts = [
            self._store.put(head, self._layout.message(head, number), text)
            for number, text in new.items()
            if number >= after.first
        ]
        return after, [*puts, *self._store.removals(head, after)]

    def _copies(self, head: Head, snapshot: Snapshot) -> list[Command]:
        """The commands that store another session's messages and state in this one."""
        layout, put = self._layout, self._store.put
        copies: list[Command] = [
            put(head, layout.message(head, number), str(record.body), metadata_of(record))
            for number, record in snapshot.messages.items()
        ]
        if snapshot.state is not None:
            copies.append(put(head, layout.state(head), str(snapshot.state.body)))
        return copies


def _milliseconds(ttl: Duration | None) -> int | None:
    if ttl is None:
        return None
    milliseconds = to_milliseconds(ttl)
    if not 0 < milliseconds <= MAX_TTL_MS // LONGER:
        raise InvalidTTL(
            f"a session's ttl is above 0 and at most {100 // LONGER} years, not {ttl!r} (None means never)"
        )
    return milliseconds
