"""Which part of a store a handle speaks of, and the two ways across its border: keys in, entries and errors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentmem import values
from agentmem.entries import Entry, Record
from agentmem.errors import (
    AgentMemError,
    CorruptEntry,
    InvalidArgument,
    InvalidKey,
    InvalidOperation,
    LeaseLost,
    NamespaceError,
    VersionConflict,
)
from agentmem.keys import MAX_KEY_BYTES, Pattern, validate_key, validate_partition, validate_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentmem.values import Codec

# The key that is the prefix itself would be "" inside of the scope, which is no key (R1): so it is outside.
_ANY_KEY: Final = Pattern.parse("?*")


class Scope:
    """A partition, a prefix in it, and how values are written there. Immutable.

    To its handle, keys outside of the prefix do not exist.
    A key or pattern is called absolute when it is the repository's, relative when it is the caller's, and the two are
    the same for a handle without a prefix.

    Args:
        partition: its name.
        prefix: what every absolute key begins with; literal.
        namespace: what every absolute key that is written must begin with (R4); None for anything.
        codec: translates values; None for JSON alone.
        max_value_bytes: the repository's limit for an encoded value.
        entry_class: what entries are made of.

    Raises:
        InvalidKey: a bad name, prefix or namespace.
    """

    __slots__ = ("codec", "entry_class", "max_value_bytes", "namespace", "partition", "prefix")

    def __init__(
        self,
        partition: str,
        *,
        prefix: str = "",
        namespace: str | None = None,
        codec: Codec | None = None,
        max_value_bytes: int,
        entry_class: type[Entry] = Entry,
    ) -> None:
        if codec is not None and not (hasattr(codec, "to_json") and hasattr(codec, "from_json")):
            raise InvalidArgument(f"a codec has the methods to_json and from_json, {type(codec).__name__} has not")
        self.partition = validate_partition(partition)
        self.prefix = validate_prefix(prefix)
        self.namespace = None if namespace is None else validate_prefix(namespace, "namespace")
        self.codec = codec
        self.max_value_bytes = max_value_bytes
        self.entry_class = entry_class

    def replaced(self, **changes: Any) -> Scope:
        """Another scope, as this one but for what is given."""
        same: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return Scope(**(same | changes))

    def narrowed(self, prefix: str) -> Scope:
        """The scope of what lies under a relative prefix.

        Raises:
            InvalidKey: an empty prefix, which would narrow nothing and so is hardly meant.
        """
        if not validate_prefix(prefix):
            raise InvalidKey("a scope's prefix must not be empty")
        return self.replaced(prefix=self.prefix + prefix)

    # Keys and patterns in.

    def absolute(self, key: str) -> str:
        """The repository's key for a caller's.

        Raises:
            InvalidKey: see R1.
        """
        name = validate_key(key)
        if not self.prefix:
            return name
        absolute = self.prefix + name
        size_bytes = len(absolute.encode())
        if size_bytes > MAX_KEY_BYTES:
            raise InvalidKey(
                f"the key {name[:80]!r} is {size_bytes:,} bytes of UTF-8 together with the prefix of its handle, "
                f"the limit is {MAX_KEY_BYTES:,} bytes"
            )
        return absolute

    def writable(self, key: str) -> str:
        """As `absolute`, for a key that something is to be stored at.

        Raises:
            InvalidKey: see R1.
            NamespaceError: the absolute key does not begin with the handle's namespace (R4).
        """
        absolute = self.absolute(key)
        if self.namespace is not None and not absolute.startswith(self.namespace):
            raise NamespaceError(key, self.namespace, scoped=bool(self.prefix))
        return absolute

    def pattern(self, text: str) -> Pattern:
        """The repository's pattern for a caller's.

        Raises:
            InvalidPattern: see R3.
        """
        pattern = Pattern.parse(text)
        if self.prefix and pattern.is_prefix and not pattern.prefix:
            pattern = _ANY_KEY
        return pattern.prefixed(self.prefix)

    def under(self, prefix: str) -> Pattern:
        """The pattern of every key that begins with a relative, literal prefix; "" for the whole scope.

        Raises:
            InvalidKey: not text, too long, with a NUL or a lone surrogate.
        """
        checked = validate_prefix(prefix)
        if self.prefix and not checked:
            return _ANY_KEY.prefixed(self.prefix)
        return Pattern.under(self.prefix + checked)

    # Entries and errors out.

    def relative(self, key: str) -> str:
        """The caller's key for a repository's."""
        return key.removeprefix(self.prefix)

    def entry(self, record: Record) -> Entry:
        """The caller's entry for a repository's record."""
        return self.entry_class(record, self.codec, record.key[len(self.prefix) :])

    def entries(self, records: Iterable[Record]) -> list[Entry]:
        """As `entry` of each."""
        if self.prefix:
            return [self.entry(record) for record in records]
        made, codec = self.entry_class, self.codec
        return [made(record, codec) for record in records]

    def encode(self, value: Any, root: str = "value") -> str:
        """The JSON text of a value.

        Raises:
            InvalidValue: JSON cannot hold it (R7).
            ValueTooLarge: above the limit (R8).
        """
        return values.encode(value, max_bytes=self.max_value_bytes, codec=self.codec, root=root)

    def decode(self, body: str | None, key: str) -> Any:
        """The value of a JSON text.

        Args:
            body: as it is stored.
            key: whose it is, relative, for the error.

        Raises:
            CorruptEntry: it cannot be decoded (R10).
        """
        return values.decode(body, key, self.codec)

    def localised(self, error: AgentMemError) -> AgentMemError:
        """An error from behind the port in the caller's words: with a relative key, and an entry for a record."""
        if isinstance(error, VersionConflict):
            current = self.entry(error.current) if isinstance(error.current, Record) else error.current
            return VersionConflict(self.relative(error.key), error.expected, current)
        if not self.prefix:
            return error
        if isinstance(error, NamespaceError):
            return NamespaceError(self.relative(error.key), error.namespace, scoped=True)
        if isinstance(error, LeaseLost):
            return type(error)(self.relative(error.name), error.items)
        if isinstance(error, InvalidOperation | CorruptEntry):
            return type(error)(self.relative(error.key), error.reason)
        return error
