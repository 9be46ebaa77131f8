"""`memory.check()` for the SQL repository: what its books could have wrong, told and not repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agentmem import keys, values
from agentmem.entries import Problem, Record
from agentmem.errors import CorruptEntry, InvalidKey

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
            found.extend(_problems_of(row[0], dialect.record(row[1:])))
        partition, key = page[-1][:2]
    return found


def _problems_of(partition: str, record: Record) -> Iterator[Problem]:
    key = record.key
    try:
        keys.validate_key(key)
    except InvalidKey as error:
        yield Problem("invalid_key", partition, key, str(error))
    try:
        values.decode(record.body, key)
    except CorruptEntry as error:
        yield Problem("corrupt_value", partition, key, error.reason)
    try:
        values.decode_metadata(record.metadata, key)
    except CorruptEntry as error:
        yield Problem("corrupt_metadata", partition, key, error.reason)
    if record.version < 1:
        yield Problem("version", partition, key, f"version {record.version} is below 1")
    if record.updated_at < record.created_at:
        yield Problem("timestamps", partition, key, f"updated {record.updated_at} before created {record.created_at}")
