"""Redis for tests, in a container of a Docker engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from agentmem.testing.kinds import ContainerServer
from agentmem.testing.processes import new_password
from agentmem.testing.redis_server import RedisServer, make_url

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}


class ContainerRedis(ContainerServer, RedisServer):
    """The official image in a container, on a fixed port of the Docker host, so that its URL outlives a restart.

    Args:
        image: which image; Redis 6.2 or later.
        options: settings of the server beyond its defaults.
    """

    inner_port: ClassVar[int] = 6379
    stop_signal: ClassVar[str] = "SIGTERM"

    def __init__(self, image: str = "redis:7", *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(image)
        self._options = {**_DEFAULTS, **(options or {})}
        self._password = new_password()

    def url(self, database: int = 0) -> str:
        return make_url("redis", self._password, f"{self._address}/{database}")

    def _configure(self, container: Any) -> None:
        settings = {**self._options, "requirepass": self._password}
        # Options alone: the image's entry point knows the program.
        container.with_command([part for name, value in settings.items() for part in (f"--{name}", *value.split(" "))])
