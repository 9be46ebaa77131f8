"""For the env.py of a host whose Alembic looks at a database that agentmem's tables are in as well.

A host chooses one of two ways, not to be mixed. It leaves our tables out, by `include_name` or `include_name_for`; or
it lists `metadata` or `metadata_for` in its `target_metadata`, with `include_declared` where partitions are indexed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from agentmem.sql.models import metadata
from agentmem.sql.naming import Naming

if TYPE_CHECKING:
    from sqlalchemy import MetaData

IncludeName = Callable[[str | None, str, Mapping[str, str | None]], bool]

_USUAL_SCHEMA: Final = "public"
_VALUE_INDEX: Final = re.compile(r"ix_.*memory_entries_value_[0-9a-f]{15}", re.DOTALL)


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Tell Alembic which names are the host's: all but agentmem's tables, which autogenerate would drop otherwise.

    `context.configure(..., include_name=agentmem.sql.include_name)`, for tables under their own names in the schema
    that the connection's search path leads to; `include_name_for` is for all others.
    """
    return _include_default(name, type_, parent_names)


def include_name_for(*, schema: str | None = None, table_prefix: str = "") -> IncludeName:
    """As `include_name`, for tables that were given a schema or a prefix: what is returned is the filter.

    Of a host with a filter of its own both must agree: `lambda *about: mine(*about) and ours(*about)`.

    Args:
        schema: as the option of `connect`. A host's table of the same name in another schema stays the host's.
            Alembic calls the schema that the connection's search path leads to None: where that is another one than
            `public` and agentmem's too, it is None here as well.
        table_prefix: as the option of `connect`.

    Raises:
        ConfigurationError: no such names are possible.
    """
    naming = Naming(schema, table_prefix)
    # A downgrade to base keeps the data under these names.
    ours = {naming.table(f"{name}{kept}") for name in metadata.tables for kept in ("", "_kept")}
    schemas = {None, _USUAL_SCHEMA} if schema == _USUAL_SCHEMA else {schema}

    def include(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
        return type_ != "table" or name not in ours or parent_names.get("schema_name") not in schemas

    return include


def include_declared(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Tell Alembic to compare all but the indexes that partitions have got by `index_values`.

    `context.configure(target_metadata=[mine, agentmem.sql.metadata], include_name=agentmem.sql.include_declared)`: no
    metadata declares them, because any process may ask for one, so that autogenerate would drop them. For any schema
    and prefix.
    """
    return type_ != "index" or _VALUE_INDEX.fullmatch(name or "") is None


def metadata_for(*, schema: str | None = None, table_prefix: str = "") -> MetaData:
    """Our tables as they are called with a schema or a prefix, for a host's `target_metadata`.

    With a schema Alembic must be told to look beyond the connection's own, by `include_schemas=True`.

    Args:
        schema: as the option of `connect`.
        table_prefix: as the option of `connect`.

    Returns:
        `metadata` itself when neither is given, else a copy.

    Raises:
        ConfigurationError: no such names are possible.
    """
    return Naming(schema, table_prefix).tables(metadata)


_include_default: Final = include_name_for()
