"""What memory gives back: entries, pages, statistics, partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast, overload

from agentmem import values
from agentmem.moments import expiry, from_microseconds

if TYPE_CHECKING:
    from agentmem.values import Codec

T = TypeVar("T")


class Record(NamedTuple):
    """An entry as a repository holds it: body and metadata are JSON text that is never parsed there.

    `body` is None where a query asked for no bodies; `metadata` is None when it is empty. Times are microseconds since
    1970, in UTC: what servers reckon in, and what costs nothing until somebody asks an Entry for a datetime.
    """

    key: str
    body: str | None
    version: int
    created_us: int
    updated_us: int
    expires_us: int | None
    metadata: str | None


record_from: Callable[[Sequence[Any]], Record] = partial(tuple.__new__, Record)
"""A Record of its fields in order: a row as it is, without a call of Python's for each."""


_UNREAD: Final = object()
"""In place of a value that was not decoded yet: an unset slot would cost an exception at each first look."""


class Entry:
    """One remembered value and what is known about it. Immutable; all times are aware UTC datetimes.

    The value is decoded when it is first asked for and belongs to the caller: changing it changes nothing stored.
    So a listing that holds one undecodable entry can still be walked: only that entry's `value` raises.

    Attributes:
        key: relative to the handle that gave it.
    """

    __slots__ = ("_codec", "_record", "_value", "key")

    key: str
    _record: Record
    _codec: Codec | None
    _value: Any

    def __init__(self, record: Record, codec: Codec | None = None, key: str | None = None) -> None:
        _set_key(self, record.key if key is None else key)
        _set_record(self, record)
        _set_codec(self, codec)
        _set_value(self, _UNREAD)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Entry is immutable: {name} cannot be set")

    __delattr__ = __setattr__  # type: ignore[assignment]  # the same refusal; only its signature differs

    @property
    def version(self) -> int:
        """Strictly increases over all writes to the key; never used twice."""
        return self._record.version

    @property
    def created_at(self) -> datetime:
        """The first put of the living entry."""
        return from_microseconds(self._record.created_us)

    @property
    def updated_at(self) -> datetime:
        """The last write."""
        return from_microseconds(self._record.updated_us)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends, or None for never."""
        return expiry(self._record.expires_us)

    @property
    def value(self) -> Any:
        """The value, decoded.

        Raises:
            CorruptEntry: what is stored cannot be decoded.
        """
        value = self._value
        if value is _UNREAD:
            value = values.decode(self._record.body, self.key, self._codec)
            _set_value(self, value)
        return value

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata, a new dict at each call; empty when none was given.

        Raises:
            CorruptEntry: what is stored is not a JSON object.
        """
        return values.decode_metadata(self._record.metadata, self.key)

    @property
    def body(self) -> str:
        """The exact JSON text that is stored."""
        return cast("str", self._record.body)  # None in listings of keys alone, which make no entries

    def _identity(self) -> tuple[object, ...]:
        return (self.key, *self._record[1:])

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, Entry) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        body = self._record.body
        if body is not None and len(body) > 60:
            body = body[:57] + "..."
        return f"Entry({self.key!r}, {body}, version={self.version}, expires_at={self.expires_at})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._record._replace(key=self.key), self._codec)


# The slots' own setters: `Entry.__setattr__` refuses, and going by `object.__setattr__` looks each name up again.
_set_key = Entry.__dict__["key"].__set__
_set_record = Entry.__dict__["_record"].__set__
_set_codec = Entry.__dict__["_codec"].__set__
_set_value = Entry.__dict__["_value"].__set__


def record_of(entry: Entry | None) -> Record | None:
    """What an entry was made of; its key is absolute."""
    return None if entry is None else entry._record


class Page(Sequence[T], Generic[T]):
    """One page of a search: a sequence of what was found, and the cursor of the next page.

    Attributes:
        cursor: give it to the same search to go on; None on the last page.
    """

    __slots__ = ("_items", "cursor")

    def __init__(self, items: Sequence[T], cursor: str | None) -> None:
        self._items = items
        self.cursor = cursor

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    # Sequence's own asks for each item by its index.
    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"Page({list(self._items)!r}, cursor={self.cursor!r})"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition and its policy.

    Attributes:
        name: 1 to 128 bytes.
        default_ttl: what `put` without a TTL means here; None for never.
        namespace: the prefix that every key written here must have; None for any.
        description: for people.
        created_at: when it was first written to or defined.
    """

    name: str
    default_ttl: timedelta | None = None
    namespace: str | None = None
    description: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """One consistent account of a store, with the same names on every backend.

    Attributes:
        entries: living entries.
        expired_pending: entries past their expiry that still take room.
        value_bytes: bytes of the living entries' JSON text.
        partitions: living entries by partition; an empty partition counts 0.
        backend: `sqlite`, `postgresql`, `redis`, …
        server_version: as the server calls it.
        server: what only this backend has to tell.
    """

    entries: int
    expired_pending: int
    value_bytes: int
    partitions: Mapping[str, int]
    backend: str
    server_version: str
    server: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `memory.check()` found wrong in a store's books.

    Attributes:
        kind: a stable word: `corrupt_value`, `corrupt_metadata`, `invalid_key`, `version`, `timestamps`, `orphan`,
            `index`, `learned_value`.
        partition: where.
        key: which entry or Q-table, or None for the partition itself.
        detail: what was found, for people.
    """

    kind: str
    partition: str
    key: str | None
    detail: str
