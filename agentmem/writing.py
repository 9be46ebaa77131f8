"""What `Memory` writes at one key: each method is one atomic step of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentmem import arguments, retry, translate
from agentmem.arguments import MISSING
from agentmem.commands import KEEP_METADATA, Command, Outcome, PutCommand
from agentmem.coordination.fencing import Fence
from agentmem.entries import Entry
from agentmem.errors import InvalidOperation, VersionConflict
from agentmem.handle import Handle
from agentmem.plan import merged
from agentmem.ttl import KEEP, TTL, UNSET, MaybeTTL


class Writing(Handle):
    """The half of `Memory` that writes at one key.

    Every method here is atomic at any number of threads and processes, and returns when the write is as durable as the
    backend was configured to be (R17). Besides what each lists, all of them may raise InvalidKey, Unavailable,
    OutcomeUnknown and Closed; those that store something also NamespaceError (R4).
    """

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: MaybeTTL = UNSET,
        metadata: Mapping[str, Any] | None = None,
        if_version: int | None = None,
        if_absent: bool = False,
        fence: Fence | None = None,
    ) -> Entry:
        """Store a value, in place of what is there with its metadata and TTL (R11).

        Args:
            key: 1 to 1,024 bytes of UTF-8 without NUL.
            value: JSON: dict with str keys, list, str, int, float, bool, None; a tuple becomes a list (R6, R7).
            ttl: seconds or a timedelta; None never expires; left out, the partition's default holds.
            metadata: a JSON object of at most 16 KiB.
            if_version: write only over the living entry of this version.
            if_absent: write only where there is no living entry.
            fence: a lease, or its token: write only while it stands. `fenced` does the same for every other write.

        Returns:
            The entry as written. Later changes to the caller's object do not show in it.

        Raises:
            InvalidValue, ValueTooLarge, InvalidTTL, InvalidArgument: refused before any I/O.
            VersionConflict: the expectation failed; its `current` is the living entry (R13). Nothing was written.
            LeaseLost: the lease of `fence` does not stand. Nothing was written.
        """
        if fence is not None:
            return self._fenced(fence).put(
                key, value, ttl=ttl, metadata=metadata, if_version=if_version, if_absent=if_absent
            )
        command = translate.put(
            self._scope, key, value, ttl=ttl, metadata=metadata, if_version=if_version, if_absent=if_absent
        )
        return self._stored(command)

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Remove the entry at a key; tell whether there was a living one.

        Raises:
            VersionConflict: it is not the living entry of `if_version`, or there is none. Nothing was removed.
        """
        return bool(self._applied(translate.delete(self._scope, key, if_version)).value)

    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry at a key and return its value: of several callers exactly one gets it.

        Args:
            key: which.
            default: what is returned where there is no living entry.

        Raises:
            CorruptEntry: the value cannot be decoded; the entry was removed all the same.
        """
        record = self._applied(translate.delete(self._scope, key, returning=True)).record
        return default if record is None else self._scope.decode(record.body, key)

    def increment(
        self, key: str, by: int | float = 1, *, initial: int | float = 0, ttl: MaybeTTL = UNSET
    ) -> int | float:
        """Add to the number at a key and return the sum (R14).

        Args:
            key: which.
            by: an int within 64 bits, or a finite float; negative to subtract.
            initial: what to start from where there is no living entry.
            ttl: as in `put`; left out, the TTL that stands stays.

        Returns:
            The new number. An int stays an int until a float comes in.

        Raises:
            InvalidOperation: the value is no number. CounterOverflow: the sum leaves 64 bits, or is not finite.
                Nothing was changed.
            InvalidArgument, InvalidTTL: refused before any I/O.
        """
        value = self._applied(translate.increment(self._scope, key, by, initial, ttl)).value
        assert value is not None, "a repository answers an increment with the sum"  # noqa: S101
        return value

    def append(self, key: str, *items: Any, limit: int | None = None) -> int:
        """Append to the list at a key, which is made where there is none, and return its new length.

        The TTL that stands stays.

        Args:
            key: which.
            items: at least one.
            limit: keep only so many, the newest; None keeps all.

        Raises:
            InvalidOperation: the value is no list. ValueTooLarge: the list would be above the limit. Nothing was
                changed.
            InvalidValue, InvalidArgument: refused before any I/O.
        """
        value = self._applied(translate.append(self._scope, key, items, limit)).value
        assert value is not None, "a repository answers an append with the length"  # noqa: S101
        return int(value)

    def merge(self, key: str, mapping: Mapping[str, Any]) -> Entry:
        """Merge into the object at a key, which is made where there is none, by RFC 7396.

        A member that is None removes the stored one, an object merges into a stored object, anything else replaces.
        The TTL that stands stays. For a handle with a codec it is done here, in a compare-and-set loop as that of
        `update`, since the server does not know what the codec makes objects of.

        Raises:
            InvalidOperation: the value is no object. ValueTooLarge: the result is above the limit. Nothing was changed.
            InvalidValue: refused before any I/O.
            VersionConflict: only with a codec, as in `update`.
        """
        if self._scope.codec is not None:
            patch = translate.merge_patch_of(mapping)
            self._scope.encode(patch, "mapping")
            return self.update(key, lambda value: merged(key, value, patch), default={})
        command = translate.merge(self._scope, key, mapping)
        record = self._applied(command).record
        assert record is not None, "a repository answers a merge with its record"  # noqa: S101
        return self._scope.entry(record)

    def update(
        self,
        key: str,
        function: Callable[[Any], Any],
        *,
        default: Any = MISSING,
        attempts: int = retry.DEFAULT_ATTEMPTS,
    ) -> Entry:
        """Replace the value at a key by `function(value)`, unless another writer is first; then once more (R16).

        The server compares versions, so no update is lost. Between attempts there is a jittered pause. Metadata and TTL
        that stand stay. No connection is held while `function` runs, and it may run several times.

        Args:
            key: which.
            function: gets a private copy of the value, and returns the new one.
            default: what it gets where there is no living entry, a private copy of that as well.
            attempts: how often to try.

        Raises:
            InvalidOperation: there is no living entry, and no `default`.
            VersionConflict: another writer was first at every attempt.
            InvalidValue, ValueTooLarge: for what `function` returned. CorruptEntry: for what is stored.
        """
        scope = self._scope
        absolute = scope.writable(key)
        fallback = None if default is MISSING else scope.encode(default, "default")
        conflict: VersionConflict | None = None
        for _ in retry.rounds(arguments.whole("attempts", attempts)):
            record = self._gateway.fetch_one(absolute)
            if record is None and fallback is None:
                raise InvalidOperation(key, "there is no entry to update, and no default was given")
            value = function(scope.decode(fallback if record is None else record.body, key))
            version = None if record is None else record.version
            command = PutCommand(absolute, scope.encode(value), KEEP_METADATA, KEEP, version, record is None)
            try:
                return self._stored(command)
            except VersionConflict as error:
                conflict = error
        assert conflict is not None  # noqa: S101 - there is at least one round
        raise conflict

    def touch(self, key: str, ttl: TTL) -> bool:
        """Give the entry at a key a new TTL, from now on; tell whether there is a living one.

        A write: the version moves. Value, metadata and created_at stay.

        Args:
            key: which.
            ttl: seconds or a timedelta; None never expires.

        Raises:
            InvalidTTL: refused before any I/O.
        """
        return bool(self._applied(translate.touch(self._scope, key, ttl)).value)

    def _applied(self, command: Command) -> Outcome:
        return self._gateway.apply((command,))[0]

    def _stored(self, command: PutCommand) -> Entry:
        return self._scope.entry(translate.stored(command, self._applied(command)))
