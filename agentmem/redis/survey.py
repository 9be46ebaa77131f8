"""What a URL leads to, whether or not there is a store of ours: for `agentmem db` and `agentmem doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.redis import information
from agentmem.redis.backend import open_servers, read_layout
from agentmem.redis.layout import Layout

if TYPE_CHECKING:
    from agentmem.redis.servers import Servers


class Survey(NamedTuple):
    """What was found.

    Attributes:
        layout: of the store; None where there is none.
        server_version: as the server calls it.
        server: as `Stats.server`.
    """

    layout: str | None
    server_version: str
    server: dict[str, Any]


def current(url: str) -> str | None:
    """The layout of a store, None where there is none; writes nothing.

    Raises:
        ConfigurationError, Unavailable, PermissionDenied: as `agentmem.connect`.
    """
    with _opened(url) as (servers, layout):
        return read_layout(servers, layout)


def survey(url: str) -> Survey:
    """Look at the store and at the server; writes nothing.

    Raises:
        ConfigurationError, Unavailable, PermissionDenied: as `agentmem.connect`.
    """
    with _opened(url) as (servers, layout):
        return Survey(read_layout(servers, layout), *information.server(servers))


@contextmanager
def _opened(url: str) -> Iterator[tuple[Servers, Layout]]:
    servers, options = open_servers(url, {})
    try:
        yield servers, Layout(options.key_prefix)
    finally:
        servers.close()
