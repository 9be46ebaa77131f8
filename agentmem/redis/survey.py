"""What a URL leads to, whether or not there is a store of ours: for `agentmem db` and `agentmem doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def current(url: str, options: Mapping[str, Any]) -> str | None:
    """The layout of a store, None where there is none; writes nothing. Options are those of `agentmem.connect`.

    Raises:
        ConfigurationError, Unavailable, PermissionDenied: as `agentmem.connect`.
    """
    with _opened(url, options) as (servers, layout):
        return read_layout(servers, layout)


def survey(url: str, options: Mapping[str, Any]) -> Survey:
    """Look at the store and at the server; writes nothing. Options are those of `agentmem.connect`.

    Raises:
        ConfigurationError, Unavailable, PermissionDenied: as `agentmem.connect`.
    """
    with _opened(url, options) as (servers, layout):
        return Survey(read_layout(servers, layout), *information.server(servers))


@contextmanager
def _opened(url: str, given: Mapping[str, Any]) -> Iterator[tuple[Servers, Layout]]:
    servers, options = open_servers(url, given)
    try:
        yield servers, Layout(options.key_prefix)
    finally:
        servers.close()
