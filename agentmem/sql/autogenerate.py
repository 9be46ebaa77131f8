"""For the env.py of a host whose Alembic looks at a database that agentmem's tables are in as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentmem.sql.models import metadata

#: A downgrade to base keeps the data under these names.
_KEPT: Final = frozenset(f"{name}_kept" for name in metadata.tables)
_OURS: Final = _KEPT | frozenset(metadata.tables)


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Tell Alembic which names are the host's: all but agentmem's tables, which autogenerate would drop otherwise.

    `context.configure(..., include_name=agentmem.sql.include_name)`. It is one of two ways, not to be mixed: a host
    that lists `agentmem.sql.metadata` in its `target_metadata` needs no `include_name`.
    """
    return type_ != "table" or name not in _OURS
