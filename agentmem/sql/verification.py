"""`memory.check()` for the SQL repository: what its books could have wrong, told and not repaired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agentmem.entries import Partition, Problem
from agentmem.inspection import problems_of

if TYPE_CHECKING:
    from agentmem.sql.connections import Link
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
        for row, record in zip(page, dialect.records(row[1:] for row in page), strict=True):
            found.extend(problems_of(row[0], record))
        partition, key = page[-1][:2]
    return found


def index_problems(dialect: Dialect, partitions: Sequence[Partition], link: Link) -> list[Problem]:
    """Indexes of values that cost each write and serve no search: their build was broken off."""
    detail = "the index of its values was begun and not finished: set index_values anew, to True or to False"
    names = [partition.name for partition in partitions]
    return [Problem("index", name, None, detail) for name in dialect.unfinished_indexes(link, names)]
