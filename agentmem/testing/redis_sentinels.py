"""A Redis watched by sentinels, for tests: a master, its replica, and three sentinels that put it in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from agentmem.testing.processes import ServerError
from agentmem.testing.redis_group import RedisGroup, hosts_of, wait_for
from agentmem.testing.redis_local import LocalRedis, RedisProgram
from agentmem.testing.redis_server import make_url

if TYPE_CHECKING:
    from pathlib import Path

SERVICE: Final = "mymaster"

_SENTINELS: Final = 3
_QUORUM: Final = 2
_OPTIONS: Final = {
    # How long after its silence a master counts as down: long beside the pauses of a busy machine.
    "down-after-milliseconds": "1000",
    "failover-timeout": "3000",
    "parallel-syncs": "1",
}


class Sentinel(RedisProgram):
    """One sentinel.

    Args:
        program: the file `redis-server`.
        kind: `wheels` or `local`.
        master: what it watches; it must run before.
        password: what it asks for, of clients and of other sentinels; None: it asks for none.
    """

    arguments: ClassVar[tuple[str, ...]] = ("--sentinel",)

    def __init__(self, program: Path, *, kind: str, master: LocalRedis, password: str | None) -> None:
        super().__init__(program, kind=kind)
        self._master = master
        self._password = password

    def url(self, database: int = 0) -> str:
        """The URL of the sentinel itself; it has one database, which is empty."""
        return make_url("redis", self._password or "", f"127.0.0.1:{self._port}/{database}")

    def state(self) -> dict[str, Any]:
        """What it thinks of the master: `SENTINEL MASTER`."""
        with self.client() as client:
            return dict(client.sentinel_master(SERVICE))

    def _settings(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self._port}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master.port} {_QUORUM}",
            f'sentinel auth-pass {SERVICE} "{self._master.password}"',
            *([f'requirepass "{self._password}"'] if self._password else []),
            *(f"sentinel {name} {SERVICE} {value}" for name, value in _OPTIONS.items()),
        ]


class _Replica(LocalRedis):
    """A server that begins as the replica of another one, which must run before."""

    def __init__(self, master: LocalRedis, program: Path, *, kind: str, options: Mapping[str, str]) -> None:
        super().__init__(program, kind=kind, options=options, password=master.password)
        self._master = master

    def _settings(self) -> list[str]:
        return [*super()._settings(), f"replicaof 127.0.0.1 {self._master.port}"]


class RedisSentinels(RedisGroup):
    """A master, its replica, and three sentinels that agree who is the master; a start takes a few seconds.

    Args:
        program: the file `redis-server`.
        kind: `wheels` or `local`.
        options: settings of the two servers that hold data, beyond their defaults.
        sentinel_password: what the sentinels ask for themselves; None: they ask for none.

    Attributes:
        first: the server that begins as the master.
        second: the one that begins as its replica.
        sentinels: the three.
    """

    def __init__(
        self,
        program: Path,
        *,
        kind: str = "local",
        options: Mapping[str, str] | None = None,
        sentinel_password: str | None = None,
    ) -> None:
        super().__init__(kind)
        self.sentinel_password = sentinel_password
        self.first = LocalRedis(program, kind=kind, options=options, password=self.password)
        self.second = _Replica(self.first, program, kind=kind, options=options or {})
        self.sentinels = [
            Sentinel(program, kind=kind, master=self.first, password=sentinel_password) for _ in range(_SENTINELS)
        ]

    @property
    def servers(self) -> Sequence[RedisProgram]:
        return [self.first, self.second, *self.sentinels]

    @property
    def master(self) -> LocalRedis:
        """The server that the sentinels name."""
        return self._roles()[0]

    def url(self, database: int = 0) -> str:
        """The URL: `redis+sentinel://:password@127.0.0.1:port,127.0.0.1:port,…/mymaster/0`.

        The password is that of the servers that hold data; that of the sentinels, if they ask for one, follows as
        `?sentinel_password=…`.
        """
        query = {"sentinel_password": self.sentinel_password} if self.sentinel_password else {}
        return make_url("redis+sentinel", self.password, f"{hosts_of(self.sentinels)}/{SERVICE}/{database}", **query)

    def failover(self) -> None:
        """Kill the master, and return when the sentinels have put the other in its place.

        The killed one comes back by `start`, as a replica, which takes the sentinels some ten seconds.

        Raises:
            ServerError: they do not within a minute, or there is no replica that runs.
        """
        master, other = self._roles()
        if not other.running:
            raise ServerError("there is no replica to put in the master's place")
        master.kill()
        wait_for("all sentinels name the replica as the master", lambda: self._names() == {other.port})
        wait_for("the replica is a master", lambda: _replication(other)["role"] == "master")

    def wait_ready(self) -> None:
        wait_for("the sentinels know each other and the replica is in step", self._is_whole)

    def _set_up(self) -> None:
        """Nothing: the sentinels find the replica and each other by way of the master."""

    def _is_whole(self) -> bool:
        if len(self._names()) > 1 or not all(map(_sees_all_well, self.sentinels)):
            return False
        master, other = map(_replication, self._roles())
        return (master["role"], other["role"], other.get("master_link_status")) == ("master", "slave", "up")

    def _names(self) -> set[int]:
        return {int(sentinel.state()["port"]) for sentinel in self.sentinels}

    def _roles(self) -> tuple[LocalRedis, LocalRedis]:
        return (self.first, self.second) if self._names() == {self.first.port} else (self.second, self.first)


def _sees_all_well(sentinel: Sentinel) -> bool:
    state = sentinel.state()
    return (state["flags"], state["num-slaves"], state["num-other-sentinels"]) == ("master", 1, _SENTINELS - 1)


def _replication(server: LocalRedis) -> dict[str, Any]:
    with server.client() as client:
        return dict(client.info("replication"))
