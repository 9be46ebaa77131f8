"""From a URL or a host's client to a repository.

    redis://[user:password@]host[:6379][/db]                  rediss://… with TLS
    unix:///path/to/socket[?db=n]                             a password goes before an @: unix://:password@/path
    redis+sentinel://[user:password@]host[:26379],host…/service[/db]     rediss+sentinel://…
    redis+cluster://[user:password@]host[:6379],host…                    rediss+cluster://…

Options may stand in the query: `?key_prefix=myapp&timeout=5`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from agentmem.errors import ConfigurationError, SchemaMismatch
from agentmem.options import read_options
from agentmem.redis import errors
from agentmem.redis.connections import HostConnections, OwnConnections
from agentmem.redis.layout import VERSION, Layout
from agentmem.redis.options import RedisClientOptions, RedisOptions
from agentmem.redis.repository import RedisRepository
from agentmem.redis.servers import ClusterServers, OneServer, Servers
from agentmem.urls import redact

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_CREATE: Final = "connect with create='auto', which makes one"


class Address(NamedTuple):
    """A URL, taken apart.

    Attributes:
        kind: `redis`, `unix`, `sentinel` or `cluster`.
        tls: whether connections are encrypted.
        hosts: host and port of each.
        path: what follows the hosts, without its first slash.
        username, password: or None.
        query: what stands after the question mark.
    """

    kind: str
    tls: bool
    hosts: list[tuple[str, int]]
    path: str
    username: str | None
    password: str | None
    query: dict[str, str]


def open_url(url: str, given: dict[str, Any]) -> RedisRepository:
    """Open a store by URL.

    Raises:
        ConfigurationError: a malformed URL, an unknown option.
        SchemaMismatch: the store has another layout.
        Unavailable, PermissionDenied: the server cannot be reached.
    """
    servers, options = open_servers(url, given)
    which = f" -o key_prefix={options.key_prefix}" if "key_prefix" in given else ""
    return _opened(servers, options, redact(url), f"run `agentmem db upgrade --url {redact(url)}{which}`")


def open_servers(url: str, given: Mapping[str, Any]) -> tuple[Servers, RedisOptions]:
    """Where a URL leads and what it asks for, whatever is stored there; the caller closes the servers.

    Raises:
        ConfigurationError, Unavailable, PermissionDenied: as `open_url`.
    """
    address = parse(url)
    query = dict(address.query)
    database = query.pop("db", None)
    options = read_options(RedisOptions, {**query, **given})
    shared = _shared(address, options)
    if address.kind == "cluster":
        if _database(database or address.path or None, url):
            raise ConfigurationError(f"a cluster has one database: {redact(url)}")
        return _cluster(address, options, shared), options
    if address.kind == "sentinel":
        service, _, number = address.path.partition("/")
        found = _database(number or database, url)
        return _sentinel(address, options, shared, unquote(service), found), options
    return _one(address, options, {**shared, "db": _database(database or _path_database(address), url)}), options


def open_client(client: redis.Redis | redis.RedisCluster, given: dict[str, Any]) -> RedisRepository:
    """Use a host's client: its connection pool and its options; it is never closed by us.

    Raises:
        ConfigurationError: an unknown option.
        SchemaMismatch, Unavailable, PermissionDenied: as `open_url`.
    """
    options = read_options(RedisClientOptions, given)
    if isinstance(client, redis.RedisCluster):
        servers: Servers = ClusterServers(
            client, _opener_of(client), own=False, capacity=options.pool_size, timeout=options.pool_timeout
        )
        return _opened(servers, options, "redis+cluster (a host's client)", _CREATE)
    servers = OneServer(HostConnections(client.connection_pool, timeout=options.pool_timeout))
    return _opened(servers, options, "redis (a host's client)", _CREATE)


def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ConfigurationError: it is malformed; the message shows no password.
    """
    wrong = ConfigurationError(f"not a Redis URL: {redact(url)}")
    try:
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        account, _, hosts = parts.netloc.rpartition("@")
        username, _, password = account.partition(":")
        port = SENTINEL_PORT if kind == "sentinel" else PORT
        addresses = [_host_and_port(host, port) for host in hosts.split(",")] if hosts else []
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise wrong from None  # not `from` the error, which may quote a password
    complete = parts.path and not addresses if scheme == "unix" else addresses and (len(addresses) == 1 or kind)
    if parts.fragment or not complete:
        raise wrong
    return Address(
        "unix" if scheme == "unix" else kind or "redis",
        scheme == "rediss",
        addresses,
        parts.path.removeprefix("/") if scheme != "unix" else unquote(parts.path),
        unquote(username) or None,
        unquote(password) or None,
        query,
    )


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
    number = int(port) if port else default
    if not host or not 0 < number < 2**16:
        raise ValueError(text)
    return unquote(host.strip("[]")), number


def _path_database(address: Address) -> str | None:
    return address.path if address.kind == "redis" and address.path else None


def _database(text: str | None, url: str) -> int:
    if text is None:
        return 0
    if not text.isdecimal():
        raise ConfigurationError(f"a database of Redis is a number: {redact(url)}")
    return int(text)


def _shared(address: Address, options: RedisOptions) -> dict[str, Any]:
    """What all connections are made with. redis-py's own retries are off: it cannot know what is safe (R18)."""
    return {
        "username": options.username or address.username,
        "password": address.password,
        "socket_timeout": options.timeout,
        "socket_connect_timeout": options.connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **(options.tls() if address.tls else {}),
    }


def _one(address: Address, options: RedisOptions, shared: dict[str, Any]) -> Servers:
    if address.kind == "unix":
        arguments = {name: value for name, value in shared.items() if name != "socket_keepalive"}
        over_socket: Any = UnixDomainSocketConnection
        return _own(lambda: over_socket(path=address.path, **arguments), options)
    host, port = address.hosts[0]
    made = _connection_class(address)
    return _own(lambda: made(host=host, port=port, **shared), options)


def _connection_class(address: Address) -> type[Connection]:
    return SSLConnection if address.tls else Connection


def _own(
    open_one: Callable[[], ConnectionInterface], options: RedisOptions, release: Callable[[], None] | None = None
) -> Servers:
    connections = OwnConnections(open_one, capacity=options.pool_size, timeout=options.pool_timeout)
    return OneServer(connections, release)


def _sentinel(address: Address, options: RedisOptions, shared: dict[str, Any], service: str, number: int) -> Servers:
    if not service:
        raise ConfigurationError("a Sentinel URL names its service: redis+sentinel://host:26379/mymaster")
    made = _connection_class(address)
    timeouts = {name: shared[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")}
    account = {"username": options.sentinel_username, "password": options.sentinel_password}
    tls = {"ssl": True, **options.tls()} if address.tls else {}
    sentinels = redis.Sentinel(address.hosts, sentinel_kwargs={**timeouts, **account, **tls})

    def open_one() -> ConnectionInterface:
        # redis-py swaps whoever answered to the front of its list; two threads at once would overwrite the others.
        asked = copy(sentinels)
        asked.sentinels = list(sentinels.sentinels)
        host, port = asked.discover_master(service)
        sentinels.sentinels = asked.sentinels
        return made(host=host, port=port, db=number, **shared)

    def release() -> None:
        for sentinel in sentinels.sentinels:
            sentinel.close()

    return _own(open_one, options, release)


def _cluster(address: Address, options: RedisOptions, shared: dict[str, Any]) -> Servers:
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
    made = _connection_class(address)
    try:
        cluster = redis.RedisCluster(startup_nodes=nodes, ssl=address.tls, **shared)
    except (RedisError, RedisClusterException) as error:
        raise errors.translate(error, uncertain=False) from error
    return ClusterServers(
        cluster,
        lambda host, port: made(host=host, port=port, **shared),
        own=True,
        capacity=options.pool_size,
        timeout=options.pool_timeout,
    )


def _opener_of(client: redis.RedisCluster) -> Callable[[str, int], ConnectionInterface]:
    """Connections as a host's cluster client makes them."""

    def open_one(host: str, port: int) -> ConnectionInterface:
        node = client.get_node(host=host, port=port) or client.get_random_node()
        pool: ConnectionPool = client.get_redis_connection(node).connection_pool
        arguments = {**pool.connection_kwargs, "host": host, "port": port, "retry": Retry(NoBackoff(), 0)}
        connection: ConnectionInterface = pool.connection_class(**arguments)
        return connection

    return open_one


def _opened(servers: Servers, options: RedisClientOptions, location: str, remedy: str) -> RedisRepository:
    layout = Layout(options.key_prefix, declare=not servers.together)
    try:
        _check_layout(servers, layout, remedy, create=options.create != "never")
    except BaseException:
        servers.close()
        raise
    return RedisRepository(
        servers,
        layout,
        location=location,
        max_value_bytes=options.max_value_bytes,
        replicas=(options.wait_replicas, options.wait_timeout),
    )


def _check_layout(servers: Servers, layout: Layout, remedy: str, *, create: bool) -> None:
    found = read_layout(servers, layout)
    if found is None and create:
        servers.tell(layout.layout, b"SET", layout.layout, VERSION, b"NX")
        return
    if found is None:
        raise SchemaMismatch(f"there is no store below {layout.prefix!r}: {remedy}")
    if found != VERSION:
        raise SchemaMismatch(
            f"the store below {layout.prefix!r} has layout {found!r}, agentmem here {VERSION!r}: upgrade agentmem"
        )


def read_layout(servers: Servers, layout: Layout) -> str | None:
    """The layout of what is stored; None where there is no store."""
    found = servers.ask(layout.layout, b"GET", layout.layout)
    return None if found is None else found.decode("utf-8", "replace")
