"""Redis for tests, run from its own program: the one inside a wheel or the one installed on the machine."""

from __future__ import annotations

import contextlib
import subprocess
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote

from agentmem.testing.kinds import LocalServer
from agentmem.testing.processes import ServerError, ServerProcess, new_password
from agentmem.testing.redis_server import RedisServer, make_url, require_driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_CONFIGURATION: Final = "redis.conf"
_SOCKET: Final = "redis.sock"
_EMPTY: Final = '""'

# Relative paths are in the server's directory.
_DEFAULTS: Final = {
    "bind": "127.0.0.1",
    "unixsocket": _SOCKET,
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    # A replica's first copy is due at once: the delay is meant for many of them.
    "repl-diskless-sync-delay": "0",
}
_TLS: Final = {
    "port": "0",
    "tls-cert-file": "server.pem",
    "tls-key-file": "server.key",
    "tls-ca-cert-file": "ca.pem",
    "tls-auth-clients": "no",
    "tls-replication": "yes",
}

# The nodes of a cluster also talk on the port that is higher by this, which should be below the ephemeral ones too.
_CLUSTER_BUS = 10_000
_FIRST_EPHEMERAL_PORT = 32_768


class RedisProgram(LocalServer, RedisServer):
    """Redis's own program, with a configuration file that is written once and may be rewritten by the server itself.

    Args:
        program: the file `redis-server`.
        kind: `wheels` or `local`.
    """

    product: ClassVar[str] = "redis"
    arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, program: Path, *, kind: str = "local") -> None:
        require_driver()
        super().__init__(program, kind=kind)

    @abstractmethod
    def _settings(self) -> list[str]:
        """The lines of the configuration, the port's included."""

    def _prepare(self, directory: Path) -> None:
        """Nothing is needed, by default."""

    def _configure(self, directory: Path) -> None:
        (directory / _CONFIGURATION).write_text("\n".join([*self._settings(), ""]))

    def _launch(self, directory: Path) -> ServerProcess:
        return ServerProcess([self._program.absolute(), _CONFIGURATION, *self.arguments], directory=directory)

    def _is_ready(self, process: ServerProcess) -> bool:
        # It answers, its data is loaded, and it is not somebody else who was quicker to take the port.
        import redis

        with contextlib.suppress(redis.RedisError), self.client(socket_timeout=1.0) as client:
            client.ping()
            return bool(client.info("server")["process_id"] == process.pid)
        return False


class LocalRedis(RedisProgram):
    """A server in a temporary directory (`$TMPDIR`), run from Redis's own program: in a wheel or installed.

    It listens on a free TCP port of 127.0.0.1 and on a Unix socket, asks for a password (one that needs quoting in a
    URL), and keeps its data in an append-only file, synced every second: what a killed server had confirmed is surely
    there again with the option `appendfsync` at `always` alone.

    Args:
        program: the file `redis-server`.
        kind: `wheels` or `local`.
        options: settings of the server beyond its defaults, such as `{"appendfsync": "always"}`.
        users: users beyond the default one, as an ACL file has them: `"reader on >word ~* +@read"`.
        tls: speak TLS instead, with a certificate of an authority of its own, which the URL names.
        password: of the default user; by default a random one.
    """

    def __init__(
        self,
        program: Path,
        *,
        kind: str = "local",
        options: Mapping[str, str] | None = None,
        users: Iterable[str] = (),
        tls: bool = False,
        password: str | None = None,
    ) -> None:
        super().__init__(program, kind=kind)
        if tls and not has_tls(program):
            raise ServerError(f"{program} was built without TLS")
        self.password = password or new_password()
        self._options = {**_DEFAULTS, **(_TLS if tls else {}), **(options or {})}
        self._users = list(users)
        self._tls = tls
        if self._options.get("cluster-enabled") == "yes":
            self._ports_below = _FIRST_EPHEMERAL_PORT - _CLUSTER_BUS

    def url(self, database: int = 0) -> str:
        place = f"127.0.0.1:{self._port}/{database}"
        if self._tls:
            return make_url("rediss", self.password, place, ssl_ca_certs=str(self._home() / "ca.pem"))
        return make_url("redis", self.password, place)

    def socket_url(self, database: int = 0) -> str:
        """The URL of a database by way of the Unix socket: `unix://:password@/path/redis.sock?db=0`."""
        return make_url("unix", self.password, quote(str(self._home() / _SOCKET)), db=str(database))

    def _settings(self) -> list[str]:
        return [
            f"{'tls-port' if self._tls else 'port'} {self._port}",
            f'requirepass "{self.password}"',
            f'masterauth "{self.password}"',
            *(f"{name} {value or _EMPTY}" for name, value in self._options.items()),
            *(f"user {user}" for user in self._users),
        ]

    def _prepare(self, directory: Path) -> None:
        if self._tls:
            _certify(directory)

    def _home(self) -> Path:
        if self._directory is None:
            raise ServerError("the server was not started")
        return self._directory


def has_tls(program: Path) -> bool:
    """Whether a `redis-server` was built with TLS."""
    # It names the first setting that it does not know, and ends.
    text = "tls-port 0\nno-such-setting yes\n"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    return "no-such-setting" in done.stdout + done.stderr


def _certify(directory: Path) -> None:
    import trustme  # comes with the extra [test]; who needs no TLS can do without

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "server.key"))
    for each in certificate.cert_chain_pems:
        each.write_to_path(str(directory / "server.pem"), append=True)
