"""Which server a partition is on: one for all of them, or a cluster's."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from redis.crc import key_slot
from redis.exceptions import RedisClusterException, RedisError

from agentmem.errors import Unavailable
from agentmem.pool.connections import Connections
from agentmem.redis import errors
from agentmem.redis.connections import HostConnections, Link, OwnConnections, Redirected

if TYPE_CHECKING:
    from redis.cluster import ClusterNode, RedisCluster
    from redis.connection import ConnectionInterface

    from agentmem.redis.layout import Place
    from agentmem.redis.scripts import Script

T = TypeVar("T")
Work = Callable[[Link], T]

REDIRECTIONS = 8
"""How often a call follows a slot that moves."""


class Servers(ABC):
    """Finds the connections for a key.

    Attributes:
        together: whether all keys are on one server, so that one transaction can look at several partitions.
    """

    together: bool

    @abstractmethod
    def read(self, key: bytes, work: Callable[[Link], T]) -> T:
        """Run `work` on the server of a key; once more where a connection breaks."""

    @abstractmethod
    def write(self, key: bytes, work: Callable[[Link], T]) -> T:
        """Run `work` on the server of a key, exactly once."""

    def ask(self, key: bytes, *command: Any) -> Any:
        """The answer to one command that reads."""
        return self.read(key, lambda link: link.ask(*command))

    def run(self, place: Place, script: Script, *arguments: Any) -> Any:
        """The answer of a script that reads."""
        return self.read(place.meta, lambda link: link.run(script, place, *arguments))

    def tell(self, key: bytes, *command: Any) -> Any:
        """The answer to one command that writes what it would write again: so it may be sent again, as if it read."""
        return self.ask(key, *command)

    @abstractmethod
    def each(self) -> Iterator[Connections[Link]]:
        """Every server that holds data."""

    @abstractmethod
    def dedicated(self) -> ConnectionInterface:
        """A connection to a server that hears all that is published, not connected yet; beside the pool's."""

    @abstractmethod
    def close(self) -> None:
        """The end; a host's client stays open."""


class OneServer(Servers):
    """All keys are on one server.

    Args:
        connections: to it.
        release: closes what was opened beside them.
    """

    together = True

    def __init__(
        self, connections: OwnConnections | HostConnections, release: Callable[[], None] | None = None
    ) -> None:
        self._connections = connections
        self._release = release

    def read(self, key: bytes, work: Callable[[Link], T]) -> T:
        return self._connections.read(work)

    def write(self, key: bytes, work: Callable[[Link], T]) -> T:
        return self._connections.write(work)

    def each(self) -> Iterator[Connections[Link]]:
        yield self._connections

    def dedicated(self) -> ConnectionInterface:
        return self._connections.dedicated()

    def close(self) -> None:
        self._connections.close()
        if self._release is not None:
            self._release()


class ClusterServers(Servers):
    """Redis Cluster: redis-py knows which node has which slot, the connections are of our own pools.

    Args:
        cluster: a client, used for its map of slots alone.
        open_one: makes a connection to a host and port.
        own: whether the client is ours to close.
        pool: capacity and time-out of each node's pool.
    """

    together = False

    def __init__(
        self,
        cluster: RedisCluster,
        open_one: Callable[[str, int], ConnectionInterface],
        *,
        own: bool,
        **pool: Any,
    ) -> None:
        self._cluster = cluster
        self._open_one = open_one
        self._own = own
        self._pool = pool
        self._nodes: dict[tuple[str, int], OwnConnections] = {}

    def read(self, key: bytes, work: Callable[[Link], T]) -> T:
        return self._routed(key, lambda node, then: node.read(then), work)

    def write(self, key: bytes, work: Callable[[Link], T]) -> T:
        return self._routed(key, lambda node, then: node.write(then), work)

    def each(self) -> Iterator[Connections[Link]]:
        self._learn()  # no call about a key would notice that another node took over
        for node in self._cluster.get_primaries():
            yield self._at(node.host, int(node.port))

    def dedicated(self) -> ConnectionInterface:
        """Of any node, since they pass on what is published; another one each time, should one be away."""
        self._learn()
        node = random.choice(self._cluster.get_primaries())  # noqa: S311 - spreads load, keeps no secret
        return self._at(node.host, int(node.port)).dedicated()

    def close(self) -> None:
        for connections in list(self._nodes.values()):
            connections.close()
        if self._own:
            self._cluster.close()

    def _routed(
        self, key: bytes, call: Callable[[OwnConnections, Callable[[Link], T]], T], work: Callable[[Link], T]
    ) -> T:
        slot = key_slot(key)
        target, then = self._owner(slot), work
        for _ in range(REDIRECTIONS):
            try:
                return call(target, then)
            except Redirected as redirected:
                # Nothing was done there: so also a write may go on to where the slot is.
                target = self._at(redirected.host, redirected.port)
                then = _asking(work) if redirected.asking else work
                if not redirected.asking:
                    self._learn()
            except Unavailable as error:
                # Before anything was sent, or refused: another node may have taken over.
                self._learn()
                following = self._owner(slot)
                if following is target or not error.retryable:
                    raise
                target = following
        raise Unavailable("the slot moved again and again: the cluster is being resharded")

    def _owner(self, slot: int) -> OwnConnections:
        """By the map as it is; one that does not know the slot is out of date.

        The map is replaced as a whole when it changes. redis-py reads it under a lock, which a fork might find taken.
        """
        for look_again in (True, False):
            nodes: list[ClusterNode] | None = self._cluster.nodes_manager.slots_cache.get(slot)
            if nodes:
                return self._at(nodes[0].host, int(nodes[0].port))
            if look_again:
                self._learn()
        raise Unavailable(f"no node of the cluster serves slot {slot}")

    def _learn(self) -> None:
        try:
            self._cluster.nodes_manager.initialize()
        except (RedisError, RedisClusterException) as error:
            raise errors.translate(error, uncertain=False) from error

    def _at(self, host: str, port: int) -> OwnConnections:
        found = self._nodes.get((host, port))
        if found is None:
            # Without a lock, for the sake of forks: the first of several threads wins, and nothing was opened yet.
            made = OwnConnections(lambda: self._open_one(host, port), **self._pool)
            found = self._nodes.setdefault((host, port), made)
        return found


def _asking(work: Callable[[Link], T]) -> Callable[[Link], T]:
    def ask(link: Link) -> T:
        link.asking = True
        try:
            return work(link)
        finally:
            link.asking = False

    return ask
