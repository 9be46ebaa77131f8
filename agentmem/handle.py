"""What every part of `Memory` stands on: a scope, a gateway, and the life of a handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from agentmem.errors import PermissionDenied
from agentmem.gateway import Gateway, Lifetime
from agentmem.scope import Scope
from agentmem.urls import redact

if TYPE_CHECKING:
    from types import TracebackType

    from agentmem.coordination.fencing import Fence
    from agentmem.repository import Repository
    from agentmem.values import Codec


class Handle:
    """A scope of a repository, and the way there.

    Args:
        repository: the store. It stays the caller's, who closes it, unless `lifetime` says otherwise.
        partition: the partition that the handle is bound to.
        namespace: what every key that is written must begin with (R4); None for anything.
        codec: translates values that JSON lacks; None for JSON alone.
        scope: in place of the three before it.
        lifetime: of the connection; None for a new one.
        derived: whether the connection outlives this handle.

    Raises:
        InvalidKey: a bad partition's name or namespace.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        partition: str = "default",
        namespace: str | None = None,
        codec: Codec | None = None,
        scope: Scope | None = None,
        lifetime: Lifetime | None = None,
        derived: bool = False,
    ) -> None:
        self._scope = scope or Scope(
            partition, namespace=namespace, codec=codec, max_value_bytes=repository.max_value_bytes
        )
        self._gateway = Gateway(repository, self._scope, lifetime or Lifetime(repository, owned=False))
        self._is_derived = derived

    def _derive(self, scope: Scope) -> Self:
        """Another handle on the same connection. Closing it closes nothing else."""
        gateway = self._gateway
        gateway.check_open()
        return type(self)(gateway.repository, scope=scope, lifetime=gateway.lifetime, derived=True)

    def _fenced(self, fence: Fence) -> Self:
        """A handle that writes only while a lease stands; see `Memory.fenced`."""
        from agentmem.coordination.fencing import FencedRepository, token_of

        gateway = self._gateway
        gateway.check_open()
        repository = FencedRepository(gateway.repository, token_of(fence, self._scope.partition))
        return type(self)(repository, scope=self._scope, lifetime=gateway.lifetime, derived=True)

    def _refuse_in_scope(self, what: str) -> None:
        if self._scope.prefix:
            raise PermissionDenied(f"{what} reaches beyond the prefix that this handle is confined to")

    def close(self) -> None:
        """Close this handle for good; every later call raises Closed. Idempotent (R35).

        The handle that `connect` gave also ends the connection, its threads, and every handle derived from it; a host's
        own engine, client or repository stays open. Closing a derived handle closes just that.
        """
        self._gateway.closed = True
        if not self._is_derived:
            self._gateway.lifetime.end()

    def __enter__(self) -> Self:
        self._gateway.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        repository = self._gateway.repository
        location = getattr(repository, "location", None)
        parts = [type(self).__name__, repository.name]
        if location:
            parts.append(redact(location))
        parts.append(f"partition={self._scope.partition!r}")
        if self._scope.prefix:
            parts.append(f"prefix={self._scope.prefix!r}")
        if self._gateway.closed or self._gateway.lifetime.closed:
            parts.append("closed")
        return f"<{' '.join(parts)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        lifetime = self._gateway.lifetime
        reopen = lifetime.reopen
        if reopen is None or not lifetime.owns(self._gateway.repository):
            raise TypeError(
                f"{self!r} cannot be pickled: only what agentmem.connect() opened by a URL that another process can "
                "reach can be opened there again, without a host's transaction and without a fence"
            )
        return reopen, (self._scope.partition, self._scope.prefix, self._scope.namespace)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # An agent's state that is copied as a whole shares the handle: it serves any number of threads, and a second
        # connection that nobody closes is hardly meant.
        return self


def repository_of(handle: Handle) -> Repository:
    """The port's implementation behind a handle: for tools such as `agentmem doctor`, and for backends' own tests."""
    return handle._gateway.repository
