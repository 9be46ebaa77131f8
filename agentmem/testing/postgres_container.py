"""PostgreSQL for tests, in a container of a Docker engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentmem.testing.postgres_server import USER, PostgresServer, make_url, new_password
from agentmem.testing.processes import START_TIMEOUT_SECONDS, ServerError, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping


class ContainerPostgres(PostgresServer):
    """The official image in a container, on a fixed port of the Docker host, so that its URL outlives a restart.

    Args:
        image: which image; PostgreSQL 13 or later.
        options: settings of the server beyond its defaults.
    """

    kind = "containers"

    def __init__(self, image: str = "postgres:15", *, options: Mapping[str, str] | None = None) -> None:
        self._image = image
        self._options = {"max_connections": "200", **(options or {})}
        self._password = new_password()
        self._address = ""
        self._container: Any = None

    @property
    def running(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.status == "running")

    def url(self, database: str = "postgres") -> str:
        return make_url(self._password, self._address, database)

    def start(self) -> None:
        if self._container is None:
            self._create()
        elif not self.running:
            self._container.get_wrapped_container().start()
        if not wait_until(self._answers, START_TIMEOUT_SECONDS):
            raise ServerError(f"the container of {self._image} does not answer within {START_TIMEOUT_SECONDS:.0f} s")

    def stop(self) -> None:
        if self.running:
            self._container.get_wrapped_container().kill("SIGQUIT")
            self._container.get_wrapped_container().wait()

    def kill(self) -> None:
        if self.running:
            self._container.get_wrapped_container().kill("SIGKILL")
            self._container.get_wrapped_container().wait()

    def close(self) -> None:
        if self._container is not None:
            self._container.stop()
        self._container = None

    def _create(self) -> None:
        from docker.errors import DockerException
        from testcontainers.core.container import DockerContainer

        port = free_port()
        command = ["postgres", *(f"--{name}={value}" for name, value in self._options.items())]
        container = DockerContainer(self._image).with_bind_ports(5432, port).with_command(command)
        container.with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=self._password, POSTGRES_DB="postgres")
        try:
            self._container = container.start()
        except DockerException as error:
            raise ServerError(f"the container of {self._image} did not start: {error}") from error
        self._address = f"{container.get_container_host_ip()}:{port}"
