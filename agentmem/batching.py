"""What `Memory` writes at several keys: all or nothing within the partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from agentmem import arguments, filters, loading, retry, translate
from agentmem.commands import DeleteCommand
from agentmem.entries import Entry
from agentmem.errors import VersionConflict
from agentmem.handle import Handle
from agentmem.jobs import settling
from agentmem.loading import PIECE_ENTRIES
from agentmem.operations import Ack, Nack, Operation, Result
from agentmem.repository import Query
from agentmem.transaction import Transaction
from agentmem.ttl import UNSET, MaybeTTL

T = TypeVar("T")


class Batching(Handle):
    """The half of `Memory` that writes at several keys.

    A batch is atomic whatever its size, also when the process or the server dies in the middle, and no reader sees half
    of it; operations on one key apply in order (R15). Every argument is checked before any I/O. Besides what each
    method lists, all of them may raise InvalidKey, Unavailable, OutcomeUnknown and Closed.
    """

    def put_many(
        self, mapping: Mapping[str, Any], *, ttl: MaybeTTL = UNSET, chunk: int | None = None
    ) -> dict[str, Entry]:
        """Store several values, as `put` does, in one atomic batch.

        Args:
            mapping: values by key, any number of them.
            ttl: of all of them, as in `put`.
            chunk: write in atomic pieces of so many, in order, in place of one batch. Writers of other keys then wait
                less; after an error the pieces before it stay written.

        Returns:
            The entries as written, by key, in the order of `mapping`.

        Raises:
            NamespaceError, InvalidValue, ValueTooLarge, InvalidTTL, InvalidArgument: nothing was written.
        """
        most = arguments.whole_or_none("chunk", chunk)
        commands = translate.puts(self._scope, mapping, ttl)
        size = most or len(commands) or 1
        outcomes = self._gateway.apply(commands[:size])
        for start in range(size, len(commands), size):
            outcomes += self._gateway.apply(commands[start : start + size])
        written = self._scope.entries(map(translate.stored, commands, outcomes))
        return {entry.key: entry for entry in written}

    def load(
        self, pairs: Iterable[tuple[str, Any]] | Mapping[str, Any], *, ttl: MaybeTTL = UNSET, chunk: int = PIECE_ENTRIES
    ) -> int:
        """Store any number of values, as `put` does, in atomic pieces: a generator's million in flat memory.

        Pairs are read lazily and written in order, so where a key comes twice the later value stays. Nothing is kept of
        what was written, and no connection is held while the next pairs are made.

        Args:
            pairs: of key and value, tuples or lists; of a mapping its items.
            ttl: of all of them, as in `put`.
            chunk: how many make a piece. A piece is in memory as a whole: large values want a smaller one.

        Returns:
            How many pairs were put.

        Raises:
            NamespaceError, InvalidValue, ValueTooLarge, InvalidTTL, InvalidArgument: of a pair; a note names its key.
            Exception: what reading `pairs` raises.
                After any error the pieces before it stay written, of its own piece nothing is (OutcomeUnknown: perhaps
                all of it), and a note of the error says how many entries were stored before.
        """
        most = arguments.whole("chunk", chunk)
        given = pairs.items() if isinstance(pairs, Mapping) else arguments.iterable("pairs", pairs)
        commands = translate.each_put(self._scope, given, ttl)
        return sum(loading.stored(self._gateway, loading.pieces(commands, most)))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove the entries at several keys in one atomic batch; return how many were living.

        Args:
            keys: any number of them; one that comes twice counts once.

        Raises:
            InvalidArgument: a single str instead of several.
        """
        names = arguments.several("keys", keys)
        absolutes = dict.fromkeys(self._scope.absolute(key) for key in names)
        outcomes = self._gateway.apply([DeleteCommand(key) for key in absolutes])
        return sum(outcome.value is True for outcome in outcomes)

    def apply(self, operations: Iterable[Operation]) -> list[Result]:
        """Apply operations of agentmem.operations in order, in one atomic batch.

        Returns:
            What became of each, in order.

        Raises:
            VersionConflict: a Check, `if_version` or `if_absent` failed.
            LeaseLost: the job of an Ack or Nack was lost.
            InvalidOperation, CounterOverflow, ValueTooLarge: a stored value does not bear its operation.
            NamespaceError, InvalidValue, InvalidTTL, InvalidArgument: a bad argument of one of them.
                After any of these nothing of the batch was written.
        """
        scope = self._scope
        wanted = arguments.several("operations", operations)
        parts = [translate.part(scope, one) for one in wanted]
        with settling([one.job for one in wanted if isinstance(one, Ack | Nack)]):
            outcomes = self._gateway.apply_parts(parts)
        return [translate.part_result(scope, *pair) for pair in zip(parts, outcomes, strict=True)]

    def transaction(self) -> Transaction:
        """A context manager: reads remember versions, writes wait, and the end of the block commits both as one (R16).

            with memory.transaction() as tx:
                plan = tx.get("plan")
                tx.put("plan", plan | {"status": "done"})
                tx.delete("lock")

        The commit raises VersionConflict, and nothing is written, when another writer has changed what was read; it
        raises what `apply` raises, too. An exception in the block writes nothing. No connection is held meanwhile.
        """
        return Transaction(self._gateway)

    def run(self, function: Callable[[Transaction], T], *, attempts: int = retry.DEFAULT_ATTEMPTS) -> T:
        """Call `function(tx)` in a transaction, commit, and return its result; after a conflict, all of it again.

        Between attempts there is a jittered pause. `function` may run several times, each time in a new transaction, so
        it should have no effects beside `tx`. A VersionConflict that does not come from `tx` is not retried.

        Args:
            function: reads and writes by `tx`.
            attempts: how often to try.

        Raises:
            VersionConflict: another writer was first at every attempt. Nothing was written.
            Exception: what `function` raises, or `apply`. Nothing was written.
        """
        conflict: VersionConflict | None = None
        for _ in retry.rounds(arguments.whole("attempts", attempts)):
            transaction = self.transaction()
            try:
                with transaction:
                    result = function(transaction)
                return result  # noqa: RET504 - the commit lies between the two
            except VersionConflict as error:
                if error is not transaction.conflict:
                    raise
                conflict = error
        assert conflict is not None  # noqa: S101 - there is at least one round
        raise conflict

    def delete_matching(self, pattern: str, *, where: Mapping[Any, Any] | None = None) -> int:
        """Remove the entries that match, and return how many were living; arguments as in `search`.

        Works in bounded atomic pieces, so that other writers never wait long: an error or the end of the process leaves
        some removed and the others in place.

        Raises:
            InvalidPattern, InvalidFilter: a bad argument.
        """
        query = Query(self._scope.pattern(pattern), filters.parse(where))
        return self._gateway.call(self._gateway.repository.remove, self._scope.partition, query)

    def clear(self) -> int:
        """Remove every entry of this handle, and return how many were living; as `delete_matching`.

        That is the partition's entries, or of a scoped handle those under its prefix. Policies and other partitions
        stay, and versions go on from where they were (R12).
        """
        query = Query(self._scope.under(""))
        return self._gateway.call(self._gateway.repository.remove, self._scope.partition, query)
