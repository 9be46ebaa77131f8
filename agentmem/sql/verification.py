"""`memory.check()` for the SQL repository: what its books could have wrong, told and not repaired."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentmem.entries import Problem
from agentmem.inspection import problems_of

if TYPE_CHECKING:
    from agentmem.sql.dialect import Dialect
    from agentmem.sql.statements import Reads

PAGE = 500


def problems(rows: Callable[[str, dict[str, Any]], Any], dialect: Dialect, reads: Reads) -> list[Problem]:
    """Walk every stored entry, dead ones too, in pages."""
    found = [
        Problem("orphan", name, None, "entries in a partition that is not registered")
        for (name,) in rows(reads.orphans, {})
    ]
    partition, key = "", ""
    while page := rows(reads.walk, {"partition": partition, "key": key, "limit": PAGE}):
        for row in page:
            found.extend(problems_of(row[0], dialect.record(row[1:])))
        partition, key = page[-1][:2]
    return found
