"""Where agentmem's tables are in a host's database: a schema of their own, a prefix to their names, or neither."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import MetaData
from sqlalchemy.sql.elements import quoted_name

from agentmem.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect

LONGEST_SCHEMA: Final = 63
LONGEST_PREFIX: Final = 24
"""PostgreSQL cuts names at 63 bytes, and the longest of ours is an index's of 39."""

_FORBIDDEN: Final = set("%{}:\\$\0")
"""Signs that mean something in the text of a statement; all others are quoted."""
_DEFAULT_LOCK: Final = int.from_bytes(b"agentmem", "big")


def _check(option: str, name: str, longest: int, shortest: int = 0) -> None:
    try:
        size = len(name.encode())
    except (AttributeError, UnicodeEncodeError):  # no text, or a lone surrogate
        size = -1
    if not shortest <= size <= longest or _FORBIDDEN & set(name):
        limits = f"{shortest} to {longest} bytes, without %, {{, }}, :, \\, $ and NUL"
        raise ConfigurationError(f"option {option!r}: {limits}, not {name!r}")


@dataclass(frozen=True, slots=True)
class Naming:
    """How the tables are called.

    Attributes:
        schema: PostgreSQL's; None for the one that the connection's search path leads to.
        table_prefix: what the names of tables, indexes and constraints begin with.
    """

    schema: str | None = None
    table_prefix: str = ""

    def __post_init__(self) -> None:
        if self.schema is not None:
            _check("schema", self.schema, LONGEST_SCHEMA, shortest=1)
        _check("table_prefix", self.table_prefix, LONGEST_PREFIX)

    def table(self, name: str) -> str:
        """The name of one of our tables."""
        return self.table_prefix + name

    def other(self, name: str) -> str:
        """The name of an index or a constraint, whose own begins with its kind: `ix_`, `pk_`."""
        kind, _, rest = name.partition("_")
        return f"{kind}_{self.table_prefix}{rest}"

    def quoted(self, name: str, dialect: Dialect) -> str:
        """A table's name for the text of a statement."""
        quote = dialect.identifier_preparer.quote
        table = quote(self.table(name))
        return table if self.schema is None else f"{quote(self.schema)}.{table}"

    def tables(self, metadata: MetaData) -> MetaData:
        """Copies of tables under these names."""
        if self == DEFAULT:
            return metadata
        copies = MetaData(schema=self.schema, naming_convention=metadata.naming_convention)
        for table in metadata.sorted_tables:
            copy = table.to_metadata(copies, schema=cast("Any", self.schema), name=self.table(table.name))
            for index in copy.indexes:
                index.name = quoted_name(self.other(str(index.name)), quote=None)
        return copies

    def options(self) -> str:
        """What a command must be told, for messages."""
        given = {"schema": self.schema, "table_prefix": self.table_prefix}
        return "".join(f" -o {shlex.quote(f'{name}={value}')}" for name, value in given.items() if value)

    @property
    def lock_key(self) -> int:
        """The number of the advisory lock under which these tables are migrated."""
        if self == DEFAULT:
            return _DEFAULT_LOCK
        digest = hashlib.sha256(f"{self.schema or ''}\0{self.table_prefix}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=False) >> 1


DEFAULT: Final = Naming()


def apply_to(compiler: Any, naming: Naming, names: set[str]) -> Any:
    """Make a SQLAlchemy dialect write some tables under other names.

    Args:
        compiler: a dialect of our own, not a host's.
        naming: how they are called.
        names: which tables.
    """
    if naming == DEFAULT:
        return compiler
    preparer_class: Any = compiler.preparer

    class Preparer(preparer_class):  # type: ignore[misc]  # its class depends on the dialect
        def quote(self, ident: str, force: Any = None) -> str:
            return str(super().quote(naming.table(ident) if ident in names else ident))

    compiler.identifier_preparer = Preparer(compiler)
    compiler.identifier_preparer.schema_for_object = lambda table: naming.schema if table.name in names else None
    return compiler
