"""Where things lie in Redis, and how an entry is written. Pure; docs/backends/redis.md draws it.

Below a prefix that the store has for itself, by default `agentmem`:

    agentmem:layout             the version of all this
    agentmem:partitions         the names of the partitions, a sorted set without scores
    agentmem:{name}:m           a partition's hash: created, ttl, namespace, description, floor, bytes
    agentmem:{name}:k           its keys, a sorted set without scores: the order by bytes is the order by code point
    agentmem:{name}:x           its keys that expire, by millisecond
    agentmem:{name}:s           the sizes of those keys' bodies, for when Redis has taken the entries away
    agentmem:{name}:e:<key>     an entry
    agentmem:{name}:q           its queues that hold anything, a sorted set without scores
    agentmem:{name}:qi:<queue>  a queue's items, a hash: headers, bodies, and `n`, the last id
    agentmem:{name}:qr:<queue>  ids that are ready, by priority; qd: delayed, by time; ql: leased, by the lease's end;
                                qb: blocked, by group; qx: dead; qc: leased, by the claim's request
    agentmem:{name}:qk:<queue>  dedup keys to ids, a hash; qh: groups to the id that has the turn
    agentmem:{name}:t           its Q-tables that hold anything, a sorted set without scores
    agentmem:{name}:t:<table>   the states of one, likewise
    agentmem:{name}:v:<table>NUL<state>    a state's hash: of each action its value and its visits, `0.25 3`

The braces are Redis Cluster's hash tag: a partition is one slot, so a script can do in it whatever it likes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from agentmem.entries import Record
from agentmem.keys import Pattern
from agentmem.repository import Position

VERSION: Final = "1"
HEADER: Final = struct.Struct(">BQQQQH")
"""Format, version, created_at, updated_at, expires_at (0: never), bytes of metadata; times in microseconds."""

_FORMAT: Final = 1
_ESCAPED: Final = re.compile(r"[%{}]")
_ESCAPES: Final = re.compile(r"%([0-9A-F]{2})")
_LAST: Final = b"\xff"
_LARGEST: Final = 2**53 - 1  # what scripts can reckon with exactly


class Place(NamedTuple):
    """A partition's names in Redis, as bytes.

    Attributes:
        meta: the hash.
        listing: the keys in order.
        entry: what an entry's name begins with.
        queues: the queues in order; what is published for a queue has its name, a colon and the queue's.
        tables: the Q-tables in order; the states of one have its name, a colon and the table's.
        keys: what a script is given: how many keys, and which.
    """

    meta: bytes
    listing: bytes
    entry: bytes
    queues: bytes
    tables: bytes
    keys: tuple[int | bytes, ...]


class Layout:
    """The names of one store.

    Args:
        prefix: what all of them begin with.
        declare: whether scripts are given all of a partition's books, so that Redis Cluster refuses a script while only
            some of them are on its node, instead of stopping it in the middle.
    """

    def __init__(self, prefix: str, *, declare: bool = False) -> None:
        self.prefix = prefix
        self._declare = declare
        self.layout = f"{prefix}:layout".encode()
        self.partitions = f"{prefix}:partitions".encode()
        self.everything = f"{prefix}:{{*}}:*".encode()
        self._places: dict[str, Place] = {}

    def place(self, partition: str) -> Place:
        """The names of a partition. Injective: percent signs and braces in it are escaped, so it ends where it ends."""
        try:
            return self._places[partition]
        except KeyError:
            escaped = _ESCAPED.sub(lambda sign: f"%{ord(sign[0]):02X}", partition)
            base = f"{self.prefix}:{{{escaped}}}:".encode()
            books = tuple(base + letter for letter in (b"m", b"k", b"x", b"s")[: 4 if self._declare else 1])
            place = Place(base + b"m", base + b"k", base + b"e:", base + b"q", base + b"t", (len(books), *books))
            if len(self._places) > 10_000:
                self._places.clear()
            self._places[partition] = place
            return place

    def parse(self, name: bytes) -> tuple[str, bytes, bytes]:
        """The partition, the kind and the entry's key of a name that matches `everything`."""
        escaped, _, rest = name[len(self.prefix) + 2 :].partition(b"}:")
        partition = _ESCAPES.sub(lambda escape: chr(int(escape[1], 16)), escaped.decode("utf-8", "replace"))
        kind, _, key = rest.partition(b":")
        return partition, kind, key


def unpack(key: str, value: bytes, *, bodies: bool = True) -> Record:
    """Read an entry. What agentmem did not write becomes a record that cannot be decoded (R10).

    Args:
        key: which.
        value: what is stored.
        bodies: False where `value` is a header alone.
    """
    header = read_header(value)
    if header is None:
        # No JSON begins with a NUL; behind it the bytes are kept, should the entry be touched.
        foreign = "\0" + value.decode("utf-8", "surrogateescape") if bodies else None
        return Record(key, foreign, 0, 0, 0, None, None)
    version, created, updated, expires, length = header
    start = HEADER.size + length
    body = metadata = None
    if bodies:
        # A body that is no UTF-8 must fail when it is decoded, and stay as it is when its entry is touched.
        body = value[start:].decode("utf-8", "surrogateescape")
        metadata = decoded(value[HEADER.size : start])
    return record_of(key, body, metadata, (version, created, updated, expires))


def record_of(key: str, body: str | None, metadata: str | None, stamps: Sequence[int]) -> Record:
    """An entry of its parts; the stamps are version, created_at, updated_at and expires_at (0: never)."""
    version, created, updated, expires = stamps
    return Record(
        key,
        body,
        version,
        created,
        updated,
        expires or None,
        metadata,
    )


def read_header(value: bytes) -> tuple[int, int, int, int, int] | None:
    """Version, created_at, updated_at, expires_at and the bytes of metadata; None where agentmem did not write them."""
    if len(value) < HEADER.size:
        return None
    form, *numbers = HEADER.unpack_from(value)
    version, created, updated, expires, length = numbers
    if form != _FORMAT or max(version, created, updated, expires) > _LARGEST:
        return None
    return version, created, updated, expires, length


def encoded(text: str | None) -> bytes:
    """A body or metadata as it is stored."""
    return (text or "").encode("utf-8", "surrogateescape")


def decoded(metadata: bytes) -> str | None:
    """Metadata as `unpack` has it: what is no UTF-8 must fail when it is decoded as JSON, not before."""
    return metadata.decode("utf-8", "surrogateescape") or None


def lexical_range(pattern: Pattern, after: Position | None = None, *, descending: bool = False) -> tuple[bytes, bytes]:
    """The bounds of a walk in the index, for ZRANGEBYLEX or, descending, ZREVRANGEBYLEX.

    Args:
        pattern: which keys; its literal prefix bounds the walk.
        after: where it goes on; None for its beginning.
        descending: the direction.
    """
    first = pattern.prefix.encode()
    beyond = first + _LAST  # no byte of UTF-8 is as high
    lowest, highest = ((b"(" if pattern.is_below else b"[") + first, b"(" + beyond) if first else (b"-", b"+")
    if after is None:
        return (highest, lowest) if descending else (lowest, highest)
    point = after.key.encode()
    bound = (b"[" if after.inclusive else b"(") + point
    if descending:
        return (highest if first and point >= beyond else bound), lowest
    begins_before = point < first or (point == first and after.inclusive)
    return (lowest if begins_before else bound), highest


def says_it_all(pattern: Pattern) -> bool:
    """Whether every key in the pattern's range matches."""
    return pattern.is_prefix or pattern.is_below
