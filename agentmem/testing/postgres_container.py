"""PostgreSQL for tests, in a container of a Docker engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from agentmem.testing.kinds import ContainerServer
from agentmem.testing.postgres_server import USER, PostgresServer, make_url
from agentmem.testing.processes import new_password

if TYPE_CHECKING:
    from collections.abc import Mapping


class ContainerPostgres(ContainerServer, PostgresServer):
    """The official image in a container, on a fixed port of the Docker host, so that its URL outlives a restart.

    Args:
        image: which image; PostgreSQL 13 or later.
        options: settings of the server beyond its defaults.
    """

    inner_port: ClassVar[int] = 5432
    stop_signal: ClassVar[str] = "SIGQUIT"

    def __init__(self, image: str = "postgres:15", *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(image)
        self._options = {"max_connections": "200", **(options or {})}
        self._password = new_password()

    def url(self, database: str = "postgres") -> str:
        return make_url(self._password, self._address, database)

    def _configure(self, container: Any) -> None:
        container.with_command(["postgres", *(f"--{name}={value}" for name, value in self._options.items())])
        container.with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=self._password, POSTGRES_DB="postgres")
