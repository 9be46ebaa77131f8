"""PostgreSQL for tests, run from its own binaries: those inside a wheel or those installed on the machine."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, ClassVar

from agentmem.testing.kinds import LocalServer, give_to, output_of
from agentmem.testing.postgres_server import USER, PostgresServer, make_url
from agentmem.testing.processes import ServerError, ServerProcess, new_password, unprivileged_account

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DEFAULTS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    # Files in the data directory, which go with it, also when the server was killed.
    "dynamic_shared_memory_type": "mmap",
}


class LocalPostgres(LocalServer, PostgresServer):
    """A cluster in a temporary directory (`$TMPDIR`), run from PostgreSQL's own binaries: in a wheel or installed.

    It listens on a free TCP port of 127.0.0.1, asks for a password (one that needs quoting in a URL), keeps fsync on,
    and where the binaries have ICU it sorts as English does, so that an order left to the server's locale shows.

    Args:
        binaries: the directory with `initdb` and `postgres`.
        kind: `wheels` or `local`.
        options: settings of the server beyond its defaults, such as `{"wal_level": "logical"}`.
    """

    product: ClassVar[str] = "postgres"

    def __init__(self, binaries: Path, *, kind: str = "local", options: Mapping[str, str] | None = None) -> None:
        super().__init__(binaries / "postgres", kind=kind, account=unprivileged_account())
        self._binaries = self._programs = binaries
        self._options = {**_DEFAULTS, **(options or {})}
        self._password = new_password()

    def url(self, database: str = "postgres") -> str:
        return make_url(self._password, f"127.0.0.1:{self._port}", database)

    def _prepare(self, directory: Path) -> None:
        self._make_programs_reachable(directory)
        self._initialise(directory)

    def _launch(self, directory: Path) -> ServerProcess:
        settings = {**self._options, "port": str(self._port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        # SIGQUIT is PostgreSQL's immediate shutdown: no wait for clients or a checkpoint; the next start recovers.
        return ServerProcess(
            [self._programs / "postgres", "-D", directory / "data", *options],
            directory=directory,
            account=self._account,
            stop_signal=signal.SIGQUIT,
        )

    def _is_ready(self, process: ServerProcess) -> bool:
        # The server writes its state to the eighth line; a file that a killed server left behind has another id.
        try:
            lines = (process.directory / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == process.pid and lines[7].strip() == "ready"

    def _release(self, directory: Path) -> None:
        # A killed server leaves a segment of System V shared memory behind, and these are few per machine: its next
        # start finds and removes it.
        if (directory / "data" / "postmaster.pid").exists():
            with contextlib.suppress(ServerError):
                self.start()
            self.stop()

    def _make_programs_reachable(self, directory: Path) -> None:
        self._programs = self._binaries
        try:
            self._tool("postgres", "--version", directory=directory)
        except PermissionError:
            if self._account is None:
                raise
            # An environment below root's home is closed to the account that the server runs as: it gets a copy.
            # Opening up the directories above instead is not ours to do.
            self._programs = _copy_installation(self._binaries, directory / "installation")
            give_to(self._account, directory / "installation")

    def _initialise(self, directory: Path) -> None:
        password_file = directory / "password"
        password_file.write_text(self._password)
        password_file.chmod(0o600)
        if self._account:
            give_to(self._account, password_file)
        # --no-sync concerns the files that initdb writes, not the running server.
        self._tool(
            "initdb",
            f"--pgdata={directory / 'data'}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
            *self._locale_options(),
            directory=directory,
        )
        password_file.unlink()

    def _locale_options(self) -> list[str]:
        config = self._binaries / "pg_config"
        if int(self.version.split(".")[0]) >= 15 and config.exists() and "with-icu" in output_of(config, "--configure"):
            return ["--locale=C", "--locale-provider=icu", "--icu-locale=en"]
        return ["--no-locale"]

    def _tool(self, name: str, *arguments: str, directory: Path) -> None:
        options = self._account.popen_options() if self._account else {}
        done = subprocess.run(
            [self._programs / name, *arguments], cwd=directory, capture_output=True, text=True, check=False, **options
        )
        if done.returncode:
            raise ServerError(f"{name} failed with exit code {done.returncode}:\n{done.stderr}{done.stdout}")


def _copy_installation(binaries: Path, target: Path) -> Path:
    installation, package = binaries.parent, binaries.parent.parent
    # A wheel's shared libraries lie beside its package, and the binaries find them there by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    copy = shutil.copytree(installation, target / package.name / installation.name, symlinks=True)
    return copy / binaries.name
