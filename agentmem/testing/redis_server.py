"""Redis for tests: what every server of it can do, and one that somebody else runs.

Stores are told apart by their keys alone, since a cluster has one database only: a URL with `?key_prefix=…` names the
store whose keys all begin with that prefix and a colon.
"""

from __future__ import annotations

import importlib.util
import re
import secrets
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from agentmem.testing.kinds import RemoteServer
from agentmem.testing.processes import Server, ServerError, version_number

if TYPE_CHECKING:
    import redis

_KEY_PREFIX: Final = "key_prefix"
_TIMEOUT_SECONDS: Final = 10.0
_BATCH: Final = 1000


class RedisServer(Server):
    """A Redis server for tests, or several that act as one.

    Safe to use from several threads and processes at once: every store has a prefix of its own.
    """

    @abstractmethod
    def url(self, database: int = 0) -> str:
        """The URL of a database of this server, password included: `redis://:password@host:port/database`."""

    @cached_property
    def version(self) -> str:
        """The server's version as it calls it, such as `7.0.15`. Asks a running server."""
        with self.client() as client:
            return version_number(str(client.info("server")["redis_version"]))

    def check(self) -> None:
        require_driver()
        import redis

        try:
            with self.client() as client:
                client.ping()
        except (redis.RedisError, redis.RedisClusterException) as error:
            raise ServerError(f"Redis ({self.kind}) does not answer: {error}") from error

    def client(self, database: int = 0, **options: Any) -> redis.Redis:
        """A client of redis-py, to go around agentmem with. It retries nothing. The caller closes it.

        Args:
            database: which.
            options: of redis-py's connections.
        """
        return open_client(self.url(database), **options)

    def new_store(self) -> str:
        """The URL of a store that is empty, because nobody else has its prefix: `…?key_prefix=agentmem-0123`."""
        return store_url(self.url(), f"agentmem-{secrets.token_hex(8)}")

    def drop_store(self, url: str) -> None:
        """Remove all keys of a store, found by SCAN: at the cost of all keys of its database. Idempotent.

        Args:
            url: as `new_store` gave it.

        Raises:
            ServerError: the URL has no prefix, or one that might be a pattern.
        """
        prefix = key_prefix(url)
        with open_client(url) as client:
            found: list[bytes] = []
            for key in client.scan_iter(match=f"{prefix}:*", count=_BATCH):
                found.append(key)
                if len(found) == _BATCH:
                    client.unlink(*found)
                    found.clear()
            if found:
                client.unlink(*found)


class RemoteRedis(RemoteServer, RedisServer):
    """A server that somebody else runs: it gives stores, and is never started, stopped, killed or flushed by us.

    Args:
        url: of any form that `open_client` knows.
        kind: `url`, or the kind of the server that another process of the same run started.
    """

    def __init__(self, url: str, *, kind: str = "url") -> None:
        self.kind = kind
        self._url = urlsplit(url)

    def url(self, database: int = 0) -> str:
        """The URL as it was given, or with another database than that one's."""
        if database and self._url.scheme not in ("redis", "rediss"):
            raise ServerError(f"{self._url.scheme} is taken as it was given, with its own database alone")
        return (self._url._replace(path=f"/{database}") if database else self._url).geturl()


def open_client(url: str, **options: Any) -> redis.Redis:
    """A client of redis-py that retries nothing; a store's prefix in the URL is passed over.

    Args:
        url: one of these, the login being for the servers that hold data:
            `redis://[user]:password@host:port/database`, `rediss://…` with TLS, `unix://[user]:password@/path?db=0`,
            `redis+cluster://[user]:password@host:port[,host:port…]`, whose hosts are any of its nodes,
            `redis+sentinel://[user]:password@host:port[,host:port…]/service[/database]`, whose hosts are sentinels,
            with `?sentinel_password=…` if they ask for one themselves.
        options: of redis-py's connections.

    Raises:
        ServerError: redis-py is missing.
    """
    require_driver()
    import redis.backoff
    import redis.retry

    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    given = {"socket_timeout": _TIMEOUT_SECONDS, "retry": once, **options}
    query = {name: value for name, value in _query(url).items() if name != _KEY_PREFIX}
    parts = urlsplit(url)
    if parts.scheme == "redis+sentinel":
        return _open_by_sentinels(parts, **given, **query)
    if parts.scheme == "redis+cluster":
        return _open_cluster(parts, **given, **query)
    return redis.Redis.from_url(_with_query(url, query), **given)


def _open_by_sentinels(parts: SplitResult, sentinel_password: str | None = None, **options: Any) -> redis.Redis:
    from redis.sentinel import Sentinel

    service, _, database = parts.path.removeprefix("/").partition("/")
    asked = {"socket_timeout": _TIMEOUT_SECONDS, "password": sentinel_password}
    sentinels: Any = Sentinel(_hosts(parts), sentinel_kwargs=asked)  # a class without types
    master: redis.Redis = sentinels.master_for(service, db=int(database or 0), **_login(parts), **options)
    return master


def _open_cluster(parts: SplitResult, **options: Any) -> redis.Redis:
    from redis.cluster import ClusterNode, RedisCluster

    nodes = [ClusterNode(host, port) for host, port in _hosts(parts)]
    cluster: Any = RedisCluster(startup_nodes=nodes, **_login(parts), **options)
    return cluster  # type: ignore[no-any-return]  # not a Redis by its type, but by what it can do


def _hosts(parts: SplitResult) -> list[tuple[str, int]]:
    addresses = parts.netloc.rpartition("@")[2].split(",")
    return [(host, int(port)) for host, _, port in (each.rpartition(":") for each in addresses)]


def _login(parts: SplitResult) -> dict[str, Any]:
    return {"username": unquote(parts.username or "") or None, "password": unquote(parts.password or "") or None}


def store_url(url: str, prefix: str) -> str:
    """The URL with a prefix for all keys of a store."""
    return _with_query(url, {**_query(url), _KEY_PREFIX: prefix})


def key_prefix(url: str) -> str:
    """The prefix of a store's keys in its URL, without the colon.

    Raises:
        ServerError: there is none, or not one that `new_store` made.
    """
    prefix = _query(url).get(_KEY_PREFIX, "")
    if not re.fullmatch(r"[a-z0-9-]+", prefix):
        raise ServerError(f"no {_KEY_PREFIX} of lower-case letters, digits and hyphens in the URL, but {prefix!r}")
    return prefix


def make_url(scheme: str, password: str, place: str, **query: str) -> str:
    """The URL of something that we started, at a place such as `127.0.0.1:6379/0`."""
    return _with_query(f"{scheme}://:{quote(password, safe='')}@{place}", query)


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _with_query(url: str, query: dict[str, str]) -> str:
    return urlsplit(url)._replace(query=urlencode(query)).geturl()


def require_driver() -> None:
    """Make sure that redis-py is there.

    Raises:
        ServerError: it is not.
    """
    if importlib.util.find_spec("redis") is None:
        raise ServerError("a Redis server needs redis-py: install the extra [redis]")
