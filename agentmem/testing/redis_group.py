"""Several local servers that act as one Redis."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from agentmem.testing.processes import START_TIMEOUT_SECONDS, ServerError, new_password, wait_until
from agentmem.testing.redis_server import RedisServer

if TYPE_CHECKING:
    from agentmem.testing.redis_local import RedisProgram

# They wait for each other several times over.
_TIMEOUT_SECONDS: Final = 2 * START_TIMEOUT_SECONDS


class RedisGroup(RedisServer):
    """Servers that are started, stopped and killed together; each may also be stopped or killed by itself.

    Args:
        kind: `wheels` or `local`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.password = new_password()
        self._is_set_up = False

    @property
    @abstractmethod
    def servers(self) -> Sequence[RedisProgram]:
        """All of them, in the order in which they are started."""

    @property
    def version(self) -> str:
        """The program's version, known before a start."""
        return self.servers[0].version

    @property
    def running(self) -> bool:
        """Whether all are up."""
        return all(server.running for server in self.servers)

    def start(self) -> None:
        if self.running:
            return
        for server in self.servers:
            server.start()
        if not self._is_set_up:
            self._set_up()
            self._is_set_up = True
        self.wait_ready()

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def close(self) -> None:
        # Their data goes anyway, and a server in good order would wait for its replicas to catch up.
        self.kill()
        for server in self.servers:
            server.close()
        self._is_set_up = False

    @abstractmethod
    def wait_ready(self) -> None:
        """Return when all servers agree that all is well.

        Raises:
            ServerError: they do not within a minute.
        """

    @abstractmethod
    def _set_up(self) -> None:
        """Make one of them all, once."""


def hosts_of(servers: Sequence[RedisProgram]) -> str:
    """Where they are, as a URL has it."""
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Poll until it is true; a server that cuts off its clients, as one that changes its role does, says no.

    Raises:
        ServerError: it is not within a minute; the text says for what.
    """
    from redis import ConnectionError as Cut

    def holds() -> bool:
        try:
            return condition()
        except Cut:
            return False

    if not wait_until(holds, _TIMEOUT_SECONDS):
        raise ServerError(f"waited {_TIMEOUT_SECONDS:.0f} s in vain until {what}")
