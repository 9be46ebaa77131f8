"""A Redis Cluster for tests: three masters with a replica each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentmem.testing.processes import ServerError
from agentmem.testing.redis_group import RedisGroup, hosts_of, wait_for
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_server import make_url

if TYPE_CHECKING:
    from pathlib import Path

_MASTERS: Final = 3
_SLOTS: Final = 16_384
_OPTIONS: Final = {
    "cluster-enabled": "yes",
    "cluster-announce-ip": "127.0.0.1",
    # Until a silent master is given up: long beside the pauses of a busy machine, short for a test that waits for it.
    "cluster-node-timeout": "3000",
}


class RedisCluster(RedisGroup):
    """Six local servers that form a cluster; a start takes a few seconds.

    A killed master is replaced by its replica some seconds later, and becomes that one's replica at its next start.

    Args:
        program: the file `redis-server`.
        kind: `wheels` or `local`.
        options: settings of each server beyond its defaults.

    Attributes:
        masters: those that begin as masters.
        replicas: those that begin as replicas, each of the master at the same place.
    """

    def __init__(self, program: Path, *, kind: str = "local", options: Mapping[str, str] | None = None) -> None:
        super().__init__(kind)
        nodes = [
            LocalRedis(program, kind=kind, options={**_OPTIONS, **(options or {})}, password=self.password)
            for _ in range(2 * _MASTERS)
        ]
        self.masters, self.replicas = nodes[:_MASTERS], nodes[_MASTERS:]

    @property
    def servers(self) -> Sequence[LocalRedis]:
        return [*self.masters, *self.replicas]

    def url(self, database: int = 0) -> str:
        """The URL: `redis+cluster://:password@127.0.0.1:port,127.0.0.1:port,…`; a cluster has one database."""
        if database:
            raise ServerError("a cluster has one database")
        return make_url("redis+cluster", self.password, hosts_of(self.servers))

    def wait_ready(self) -> None:
        """Return when all nodes that run agree that the cluster is whole, a killed master's replica in its place.

        Raises:
            ServerError: they do not within a minute.
        """
        wait_for("the nodes of the cluster agree that it is whole", self._is_whole)

    def _set_up(self) -> None:
        first, *others = self.servers
        for index, master in enumerate(self.masters):
            slots = range(index * _SLOTS // _MASTERS, (index + 1) * _SLOTS // _MASTERS)
            # Masters that meet with equal epochs must settle first whose is the higher one.
            _command(master, "SET-CONFIG-EPOCH", index + 1)
            _command(master, "ADDSLOTS", *slots)
        for other in others:
            _command(other, "MEET", "127.0.0.1", first.port)
        for master, replica in zip(self.masters, self.replicas, strict=True):
            identity = _command(master, "MYID")
            wait_for("a replica has heard of its master", partial(_replicates, replica, identity))

    def _is_whole(self) -> bool:
        running = [server for server in self.servers if server.running]
        replicas = len(running) - _MASTERS
        # A node's link to its master counts once the others have seen that it is a replica now.
        return all(_sees_all_well(server, replicas) for server in running) and all(map(_is_in_step, running))


def _command(server: LocalRedis, *words: Any) -> Any:
    with server.client() as client:
        return client.execute_command("CLUSTER", *words)


def _replicates(replica: LocalRedis, master: bytes) -> bool:
    from redis import ResponseError

    try:
        _command(replica, "REPLICATE", master)
    except ResponseError:
        return False
    return True


def _sees_all_well(server: LocalRedis, replicas: int) -> bool:
    if b"cluster_state:ok" not in _command(server, "INFO"):
        return False
    # address, flags and more of one node on each line; flags such as myself,slave or master,fail
    flags = [line.split()[2].split(b",") for line in _command(server, "NODES").splitlines()]
    return sum(b"slave" in each and not {b"fail", b"fail?"} & set(each) for each in flags) == replicas


def _is_in_step(server: LocalRedis) -> bool:
    with server.client() as client:
        return bool(client.info("replication").get("master_link_status", "up") == "up")
