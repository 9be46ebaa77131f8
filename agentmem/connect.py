"""From a URL to a `Memory`: the only place that knows every backend, each imported when it is asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from agentmem import arguments, settings
from agentmem.errors import ConfigurationError, InvalidArgument
from agentmem.gateway import Lifetime
from agentmem.memory import Memory
from agentmem.repository import Repository
from agentmem.scope import Scope
from agentmem.ttl import UNSET, Unset
from agentmem.urls import is_private, redact, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis, RedisCluster
    from sqlalchemy import Engine

    from agentmem.values import Codec

_SQL_URL: Final = "agentmem.sql.backend:open_url"
_SQL_ENGINE: Final = "agentmem.sql.backend:open_engine"
_REDIS_URL: Final = "agentmem.redis.backend:open_url"
_REDIS_CLIENT: Final = "agentmem.redis.backend:open_client"

#: What opens a URL: called with it and the backend's options, it returns a Repository that is ours to close.
SCHEMES: Final = {
    "postgres": _SQL_URL,
    "postgresql": _SQL_URL,
    "postgresql+psycopg": _SQL_URL,
    "redis": _REDIS_URL,
    "redis+cluster": _REDIS_URL,
    "redis+sentinel": _REDIS_URL,
    "rediss": _REDIS_URL,
    "rediss+cluster": _REDIS_URL,
    "rediss+sentinel": _REDIS_URL,
    "sqlite": _SQL_URL,
    "sqlite+pysqlite": _SQL_URL,
    "unix": _REDIS_URL,
}

MaybeText = str | Literal[Unset.UNSET] | None


class _Opened(NamedTuple):
    repository: Repository
    owned: bool
    url: str | None = None


@dataclass(frozen=True)
class _Reopen:
    """How to open the same handle again, in a process that unpickled it."""

    url: str
    options: dict[str, Any]
    codec: Codec | None
    sweep_every: float | None

    def __call__(self, partition: str, prefix: str, namespace: str | None) -> Memory:
        repository = _open_url(self.url, self.options)
        lifetime = Lifetime(repository, owned=True, sweep_every=self.sweep_every, reopen=self)
        scope = Scope(
            partition,
            prefix=prefix,
            namespace=namespace,
            codec=self.codec,
            max_value_bytes=repository.max_value_bytes,
        )
        return Memory(repository, scope=scope, lifetime=lifetime)


def connect(
    url: str | Engine | Redis | RedisCluster | Repository | None = None,
    *,
    partition: str | Literal[Unset.UNSET] = UNSET,
    namespace: MaybeText = UNSET,
    codec: Codec | None = None,
    sweep_every: float | Literal[Unset.UNSET] | None = UNSET,
    **options: Any,
) -> Memory:
    """Open a memory.

    What is left out comes from the environment: AGENTMEM_URL, AGENTMEM_PARTITION, AGENTMEM_NAMESPACE and
    AGENTMEM_SWEEP_EVERY.

    Args:
        url: `sqlite:///file.db`, `sqlite://` (in memory, gone with the handle), `postgresql://…` or `redis://…`; or a
            host application's own SQLAlchemy Engine or client of redis-py, or a Repository, none of which is ever
            closed here. Left out, and without AGENTMEM_URL, it is a SQLite file in the user's data folder.
        partition: which partition the handle is bound to; "default" unless given.
        namespace: what every key that is written must begin with (R4).
        codec: translates values that JSON lacks, such as `agentmem.TypeCodec()`.
        sweep_every: seconds after which a thread removes expired entries, over and over; None, the default, for no
            thread.
        options: the backend's own.

    Returns:
        A handle that owns its connection: close it, or use it in a `with` block.

    Raises:
        ConfigurationError: an unknown scheme or option, a bad setting, or a driver that is not installed (R31).
        InvalidKey: a bad partition's name or namespace.
        Unavailable, SchemaMismatch: where the backend connects at once.
    """
    given = settings.load()
    place = given.url if url is None else url
    chosen: str = (given.partition or "default") if partition is UNSET else partition
    fenced = given.namespace if namespace is UNSET else namespace
    seconds = _sweep_seconds(given.sweep_every if sweep_every is UNSET else sweep_every)
    # Before there is a backend: bad arguments are refused before anything is opened.
    scope = Scope(chosen, namespace=fenced, codec=codec, max_value_bytes=0)
    opened = _open(place, options)
    repository = opened.repository
    reopen = None
    if opened.url is not None and not is_private(opened.url):
        reopen = _Reopen(_anchored(opened.url), options, codec, seconds)
    lifetime = Lifetime(repository, owned=opened.owned, sweep_every=seconds, reopen=reopen)
    return Memory(repository, scope=scope.replaced(max_value_bytes=repository.max_value_bytes), lifetime=lifetime)


def _open(place: Any, options: dict[str, Any]) -> _Opened:
    if place is None:
        place = default_url()
    if isinstance(place, str):
        return _Opened(_open_url(place, options), owned=True, url=place)
    if isinstance(place, Repository):
        if options:
            raise ConfigurationError(f"a Repository takes no options here: {', '.join(sorted(options))}")
        return _Opened(place, owned=False)
    # Whoever holds an Engine has imported SQLAlchemy: so it need not be imported to find out.
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is not None and isinstance(place, sqlalchemy.Engine):
        # The repository is ours and closes; the engine under it is not, and stays.
        return _Opened(_opener(_SQL_ENGINE)(place, options), owned=True)
    driver = sys.modules.get("redis")
    if driver is not None and isinstance(place, driver.Redis | driver.RedisCluster):
        return _Opened(_opener(_REDIS_CLIENT)(place, options), owned=True)
    raise ConfigurationError(
        f"connect takes a URL, a SQLAlchemy Engine, a redis client or a Repository, not {type(place).__module__}."
        f"{type(place).__qualname__}"
    )


def _open_url(url: str, options: dict[str, Any]) -> Repository:
    scheme = scheme_of(url)
    target = SCHEMES.get(scheme)
    if target is None:
        known = ", ".join(sorted(SCHEMES))
        raise ConfigurationError(f"unknown URL scheme {scheme!r} in {redact(url)!r}: known are {known}")
    return _opener(target)(url, options)


def _anchored(url: str) -> str:
    if SCHEMES[scheme_of(url)] is not _SQL_URL:
        return url
    from agentmem.sql.engines import anchored

    return anchored(url)


def _opener(target: str) -> Callable[[Any, dict[str, Any]], Repository]:
    module, _, function = target.partition(":")
    try:
        opener: Callable[[Any, dict[str, Any]], Repository] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ConfigurationError("Redis needs redis-py: install the extra `redis`") from error
    return opener


def default_url() -> str:
    """A SQLite file in the user's data folder, which is made when it is missing."""
    from platformdirs import user_data_path

    folder = user_data_path("agentmem", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the folder {folder} cannot be made: give a URL, or set AGENTMEM_URL") from error
    from agentmem.sql.engines import file_url

    return file_url(folder / "memory.db")


def _sweep_seconds(seconds: Any) -> float | None:
    try:
        return arguments.seconds_or_none("sweep_every", seconds)
    except InvalidArgument as error:
        raise ConfigurationError(str(error)) from None
