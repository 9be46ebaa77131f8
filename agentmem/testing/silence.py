"""Connections that are cut without a word: what is sent gets no answer, as behind a firewall that forgot them."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentmem.testing.faults import FaultProxy

_SO_ATTACH_FILTER: Final = 26
# The shortest program for the kernel's packet filter (Documentation/networking/filter.rst): keep 0 bytes of any packet.
_DROP_EVERYTHING: Final = struct.pack("HBBI", 0x06, 0, 0, 0)


def can_swallow() -> bool:
    """Whether this system can: Linux, as anybody."""
    return sys.platform == "linux"


def swallow(proxy: FaultProxy) -> None:
    """Let every packet vanish that a client sends on the connections that are open now: it is not even acknowledged.

    New connections work. The proxy cannot undo it; `cut` and `refuse` end it.
    """
    for conversation in list(proxy._conversations):
        if conversation._client.fileno() >= 0:  # else it has ended
            _deafen(conversation._client)


def _deafen(connection: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_EVERYTHING)
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
