"""What `memory.check()` looks for in a stored entry, on every backend."""

from __future__ import annotations

from collections.abc import Iterator

from agentmem import keys, values
from agentmem.entries import Problem, Record
from agentmem.errors import CorruptEntry, InvalidKey
from agentmem.moments import from_microseconds


def problems_of(partition: str, record: Record) -> Iterator[Problem]:
    """What is wrong with one stored entry, whatever holds it."""
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
    if record.updated_us < record.created_us:
        updated, created = from_microseconds(record.updated_us), from_microseconds(record.created_us)
        yield Problem("timestamps", partition, key, f"updated {updated} before created {created}")
