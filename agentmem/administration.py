"""What `Memory` administers: partitions, derived handles, statistics, expiry, health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from agentmem import arguments
from agentmem.errors import ConfigurationError, InvalidArgument
from agentmem.handle import Handle
from agentmem.keys import validate_partition, validate_prefix
from agentmem.repository import Policy
from agentmem.ttl import UNSET, MaybeTTL, Unset, to_milliseconds
from agentmem.typed import ModelCodec, TypedEntry, TypedMemory

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from agentmem.entries import Partition, Problem, Stats
    from agentmem.memory import Memory

M = TypeVar("M")

MaybeText = str | Unset | None


class Administration(Handle):
    """The administering part of `Memory`.

    A scoped handle raises PermissionDenied for what reaches beyond its prefix. All methods may raise Unavailable and
    Closed.
    """

    def stats(self) -> Stats:
        """Return one consistent account of the store, or of a scoped handle's part of it (R28)."""
        repository, scope = self._gateway.repository, self._scope
        if scope.prefix:
            return self._gateway.call(repository.statistics, scope.partition, scope.under(""))
        return self._gateway.call(repository.statistics)

    def purge_expired(self, *, batch: int = 1000, max_seconds: float | None = None) -> int:
        """Remove expired entries of all partitions, and return how many (R23).

        Works in short steps, so that writers never wait long. Nobody needs to call it for the sake of what is seen:
        expired entries are invisible anyway, they only take room.

        Args:
            batch: how many entries to remove in one step at most.
            max_seconds: begin no further step after this time; None goes on to the end.

        Raises:
            InvalidArgument: a bad argument. PermissionDenied: a scoped handle.
        """
        self._refuse_in_scope("purge_expired")
        batch = arguments.whole("batch", batch)
        seconds = arguments.seconds_or_none("max_seconds", max_seconds)
        end = None if seconds is None else time.monotonic() + seconds
        total = 0
        while True:
            purged = self._gateway.call(self._gateway.repository.purge, batch)
            total += purged
            if purged < batch or (end is not None and time.monotonic() >= end):
                return total

    def partition(
        self,
        name: str,
        *,
        default_ttl: MaybeTTL = UNSET,
        namespace: MaybeText = UNSET,
        description: MaybeText = UNSET,
        index_values: bool | Unset = UNSET,
        **unknown: Any,
    ) -> Self:
        """Return a handle on another partition of the same store, and set the partition's policy if one is given.

        Without a policy there is no I/O. A policy is stored and holds for every handle on the partition, in every
        process; what is left out stands. The handle's own codec and namespace go along.

        Args:
            name: 1 to 128 bytes under the rules of keys (R5).
            default_ttl: what `put` without a TTL means there; None for never.
            namespace: the prefix that every key written there must have (R4); None for any.
            description: for people; None for none.
            index_values: whether equalities in `where` are to be looked up in an index of the values. Advice about
                speed: what is found is the same with and without. PostgreSQL builds or drops the index before this
                returns, while others read and write, and its writes cost more from then on; where it is as it should
                be, nothing is done. SQLite and Redis have no such index, and ignore it.
            unknown: refused.

        Raises:
            InvalidKey: a bad name or namespace. InvalidTTL, InvalidArgument: a bad policy.
            ConfigurationError: an unknown policy, or `index_values` on a handle of `using`: no transaction builds it.
            PermissionDenied: a scoped handle; or the role does not own the tables that it would have to index.
            Unavailable: others, or a transaction that began before, were in the way of the index for a minute.
        """
        self._refuse_in_scope("partition")
        if unknown:
            raise ConfigurationError(
                f"unknown policy {', '.join(sorted(unknown))!r}: known are default_ttl, namespace, description and "
                "index_values"
            )
        checked = validate_partition(name)
        handle = self._derive(self._scope.replaced(partition=checked))
        policy = Policy(
            None if default_ttl is UNSET else to_milliseconds(default_ttl),
            None if namespace is UNSET else validate_prefix("" if namespace is None else namespace, "namespace"),
            None if description is UNSET else _description(description),
            None if index_values is UNSET else arguments.flag("index_values", index_values),
        )
        if policy != Policy():
            repository = self._gateway.repository
            self._gateway.call(repository.define_partition, checked, policy)
        return handle

    def partitions(self) -> list[Partition]:
        """List the store's partitions with their policies, sorted by name.

        Raises:
            PermissionDenied: a scoped handle.
        """
        self._refuse_in_scope("partitions")
        return self._gateway.call(self._gateway.repository.partitions)

    def drop_partition(self, name: str) -> int:
        """Remove a partition with its entries and its policy; return how many entries were living.

        Raises:
            InvalidKey: a bad name. PermissionDenied: a scoped handle.
        """
        self._refuse_in_scope("drop_partition")
        checked = validate_partition(name)
        return self._gateway.call(self._gateway.repository.drop_partition, checked)

    def scoped(self, prefix: str) -> Self:
        """Return a handle that can neither see nor touch a key outside of a prefix.

        Its keys are relative, in results, patterns, cursors and errors as well, and scopes nest. The prefix is literal:
        end it in `/`, or the scope `user/1` covers `user/10`, too. A namespace keeps its absolute meaning.

        Raises:
            InvalidKey: an empty or bad prefix.
        """
        return self._derive(self._scope.narrowed(prefix))

    @overload
    def typed(self, model: type[M]) -> TypedMemory[M]: ...
    @overload
    def typed(self, model: Any) -> TypedMemory[Any]: ...
    def typed(self, model: Any) -> TypedMemory[Any]:
        """Return a handle whose values are instances of a pydantic model, validated when put and when got.

        It stores what the model dumps as JSON; this handle's own codec has no part in it.

        Args:
            model: a pydantic model, or any other type that pydantic's TypeAdapter takes.

        Raises:
            ConfigurationError: pydantic takes no such type.
        """
        scope = self._scope.replaced(codec=ModelCodec(model), entry_class=TypedEntry)
        return TypedMemory(cast("Memory", self._derive(scope)))

    def using(self, transaction: Connection | Session) -> Self:
        """Return a handle whose calls are part of a host's SQLAlchemy transaction, on the same database.

        What it writes is seen by that transaction at once and by others when the host commits; a rollback of the host
        takes it back. A call that raises has changed nothing, and the host's transaction is still good. The handle ends
        with the transaction (Closed), and belongs to whoever uses that: it is for one thread at a time. Rows that it
        writes stay locked until then, on SQLite the whole database does.

        Args:
            transaction: a Connection or a Session; one without a transaction begins one, as SQLAlchemy does at the
                first statement.

        Raises:
            ConfigurationError: a connection to another kind of database or in autocommit mode, or a backend without
                SQL transactions.
        """
        gateway = self._gateway
        repository = gateway.call(gateway.repository.joined, transaction)
        return type(self)(repository, scope=self._scope, lifetime=gateway.lifetime, derived=True)

    def check(self) -> list[Problem]:
        """Verify the store's own books: versions, times, orphans, indexes, decodability.

        Looks at everything, so it may take long on a large store. An empty list is good news.

        Raises:
            PermissionDenied: a scoped handle.
        """
        self._refuse_in_scope("check")
        return self._gateway.call(self._gateway.repository.verify)

    def ping(self) -> None:
        """Make one round trip.

        Raises:
            Unavailable: there was no answer.
        """
        self._gateway.call(self._gateway.repository.ping)


def _description(text: object) -> str:
    if text is None:
        return ""
    try:
        if not isinstance(text, str) or b"\0" in text.encode():
            raise InvalidArgument("a description is a str without NUL")
    except UnicodeEncodeError as error:
        raise InvalidArgument("a description holds no lone surrogates") from error
    return str.__str__(text)
