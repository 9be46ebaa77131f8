"""What servers of one kind have in common, whatever they serve: run here, in a container, or by somebody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from agentmem.testing.processes import (
    LAST_PORT,
    START_TIMEOUT_SECONDS,
    Account,
    Server,
    ServerError,
    ServerProcess,
    free_port,
    version_number,
    wait_until,
)


class LocalServer(Server):
    """A server run from its own program, in a temporary directory (`$TMPDIR`), on a free TCP port of 127.0.0.1.

    Args:
        program: what is run.
        kind: `wheels` or `local`.
        account: whom it runs as, and who owns the directory; None for ourselves.
    """

    #: What its directory is called after.
    product: ClassVar[str]

    def __init__(self, program: Path, *, kind: str, account: Account | None = None) -> None:
        self.kind = kind
        self._program = program
        self._account = account
        self._port = 0
        self._ports_below = LAST_PORT
        self._directory: Path | None = None
        self._process: ServerProcess | None = None

    @cached_property
    def version(self) -> str:
        """The program's version, known before a start."""
        return version_number(output_of(self._program, "--version"))

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The id of the running server's main process."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.pid

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1, the same from the first start until `close`."""
        return self._port

    def start(self) -> None:
        if self.running:
            return
        if self._directory is not None:
            self._run(self._directory)
            return
        self._directory = self._new_directory()
        self._prepare(self._directory)
        self._run_on_a_free_port(self._directory)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        self.stop()
        if self._directory is not None:
            self._release(self._directory)
            shutil.rmtree(self._directory)
        self._process = self._directory = None

    @abstractmethod
    def _prepare(self, directory: Path) -> None:
        """Fill the new directory, once."""

    @abstractmethod
    def _launch(self, directory: Path) -> ServerProcess:
        """Run the program, on the port of the moment; do not wait for it."""

    @abstractmethod
    def _is_ready(self, process: ServerProcess) -> bool:
        """Whether the process takes connections."""

    def _release(self, directory: Path) -> None:
        """Give back what the stopped server holds outside of its directory: nothing, of most."""

    def _configure(self, directory: Path) -> None:
        """Write the port down for a program that reads it from a file: before its first run, and for another port."""

    def _run_on_a_free_port(self, directory: Path, attempts: int = 3) -> None:
        self._port = free_port(below=self._ports_below)
        self._configure(directory)
        try:
            self._run(directory)
        except ServerError as error:
            # Taken between the look and the start.
            if attempts == 1 or "Address already in use" not in str(error):
                raise
            self._run_on_a_free_port(directory, attempts - 1)

    def _run(self, directory: Path) -> None:
        self.stop()  # also of a server that ended by itself, whose watchdog still waits
        process = self._process = self._launch(directory)
        process.wait_ready(lambda: self._is_ready(process))

    def _new_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix=f"agentmem-{self.product}-"))
        if self._account:
            give_to(self._account, directory)
        return directory


class ContainerServer(Server):
    """An image in a container, on a fixed port of the Docker host, so that its URL outlives a restart."""

    #: The server's port inside of the container.
    inner_port: ClassVar[int]
    #: What ends it and its connections at once, and in good order.
    stop_signal: ClassVar[str]

    kind = "containers"

    def __init__(self, image: str) -> None:
        self._image = image
        self._address = ""
        self._container: Any = None

    @property
    def running(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.status == "running")

    def start(self) -> None:
        if self._container is None:
            self._create()
        elif not self.running:
            self._container.get_wrapped_container().start()
        if not wait_until(self.answers, START_TIMEOUT_SECONDS):
            raise ServerError(f"the container of {self._image} does not answer within {START_TIMEOUT_SECONDS:.0f} s")

    def stop(self) -> None:
        self._signal(self.stop_signal)

    def kill(self) -> None:
        self._signal("SIGKILL")

    def close(self) -> None:
        if self._container is not None:
            self._container.stop()
        self._container = None

    @abstractmethod
    def _configure(self, container: Any) -> None:
        """Give the container of testcontainers its command and environment."""

    def _signal(self, name: str) -> None:
        if self.running:
            self._container.get_wrapped_container().kill(name)
            self._container.get_wrapped_container().wait()

    def _create(self) -> None:
        from docker.errors import DockerException
        from testcontainers.core.container import DockerContainer

        port = free_port()
        container = DockerContainer(self._image).with_bind_ports(self.inner_port, port)
        self._configure(container)
        try:
            self._container = container.start()
        except DockerException as error:
            raise ServerError(f"the container of {self._image} did not start: {error}") from error
        self._address = f"{container.get_container_host_ip()}:{port}"


class RemoteServer(Server):
    """A server that somebody else runs: it is used, and never started, stopped or killed by us."""

    @property
    def running(self) -> bool:
        return self.answers()

    def start(self) -> None:
        """Only make sure that it answers."""
        self.check()

    def stop(self) -> None:
        raise ServerError("this server was not started here, so it is not stopped here either")

    kill = stop

    def close(self) -> None:
        """Leave it as it is."""


def give_to(account: Account, path: Path) -> None:
    """Make an account the owner of a directory or file and all in it."""
    for each in (path, *path.rglob("*")):
        os.chown(each, account.uid, account.gid, follow_symlinks=False)


def output_of(program: Path, *arguments: str) -> str:
    """What a program prints.

    Raises:
        CalledProcessError: it failed.
    """
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout
