"""PgBouncer for tests: the program that is installed on this machine, in front of any PostgreSQL server."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit

from agentmem.testing.kinds import LocalServer, give_to, output_of
from agentmem.testing.processes import ServerError, ServerProcess, unprivileged_account, version_number

if TYPE_CHECKING:
    from agentmem.testing.postgres_server import PostgresServer

_CONFIGURATION: Final = "pgbouncer.ini"
_USERS: Final = "users.txt"

_DEFAULTS: Final = {
    "pool_mode": "transaction",
    "auth_type": "scram-sha-256",
    "max_client_conn": "1000",
    "default_pool_size": "20",
    "unix_socket_dir": "",
    "log_connections": "0",
    "log_disconnections": "0",
}


def pgbouncer_programs() -> list[Path]:
    """The `pgbouncer` on PATH or in /usr/sbin: one or none."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    return [Path(found)] if found else []


def program_version(program: Path) -> str:
    """The version of a `pgbouncer`, such as `1.18.0`."""
    return version_number(output_of(program, "--version"))


def bears_prepared_statements(program: Path) -> bool:
    """Whether its version can keep track of them (`max_prepared_statements`)."""
    return tuple(int(part) for part in program_version(program).split(".")) >= (1, 21)


class PgBouncer(LocalServer):
    """PgBouncer in front of one server, by default in transaction mode, in a temporary directory (`$TMPDIR`).

    Args:
        program: the file `pgbouncer`.
        server: what stands behind it; it must run before.
        options: settings beyond the defaults, such as `{"pool_mode": "session"}`.
    """

    product: ClassVar[str] = "pgbouncer"

    def __init__(self, program: Path, server: PostgresServer, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(program, kind="local", account=unprivileged_account())
        self._server = server
        self._options = {**_DEFAULTS, **(options or {})}

    def url(self, url: str) -> str:
        """The way through it to a database of the server.

        Args:
            url: the database's own, as the server gives it.
        """
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{account}{at}127.0.0.1:{self._port}").geturl()

    def check(self) -> None:
        """Make sure that it takes connections.

        Raises:
            ServerError: it does not.
        """
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=5).close()
        except OSError as error:
            raise ServerError(f"PgBouncer does not answer: {error}") from error

    def _prepare(self, directory: Path) -> None:
        parts = urlsplit(self._server.url())
        words = (unquote(parts.username or ""), unquote(parts.password or ""))
        (directory / _USERS).write_text(" ".join('"' + word.replace('"', '""') + '"' for word in words) + "\n")

    def _configure(self, directory: Path) -> None:
        parts = urlsplit(self._server.url())
        lines = [
            "[databases]",
            f"* = host={parts.hostname} port={parts.port or 5432}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self._port}",
            f"auth_file = {directory / _USERS}",
            *(f"{name} = {value}" for name, value in self._options.items()),
        ]
        (directory / _CONFIGURATION).write_text("\n".join([*lines, ""]))
        if self._account:
            give_to(self._account, directory)

    def _launch(self, directory: Path) -> ServerProcess:
        # SIGINT ends every version of it as soon as no transaction is open.
        return ServerProcess(
            [self._program, directory / _CONFIGURATION],
            directory=directory,
            account=self._account,
            stop_signal=signal.SIGINT,
        )

    def _is_ready(self, process: ServerProcess) -> bool:
        return "process up" in process.log_tail() and self.answers()
