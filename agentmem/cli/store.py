"""Commands on a whole partition or store: stats, partitions, clear, purge."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentmem.cli.command import Run
from agentmem.cli.inputs import show_duration
from agentmem.cli.output import counted, moment, plain, to_json

if TYPE_CHECKING:
    from agentmem.entries import Partition, Stats


def stats(run: Run) -> None:
    """Show how much the store holds, and what its server says."""
    with run.memory() as memory:
        account = memory.stats()
    if run.as_json:
        run.output.line(to_json(_document(account)))
    else:
        run.output.fields(_lines(account))


def _document(account: Stats) -> dict[str, Any]:
    # Not asdict(): it copies by pickling rules, and the mappings may be read-only views.
    document = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
    return {**document, "partitions": dict(account.partitions), "server": dict(account.server)}


def _lines(account: Stats) -> list[tuple[str, str]]:
    lines = [
        ("backend", f"{account.backend} {account.server_version}"),
        ("entries", str(account.entries)),
        ("expired, not purged", str(account.expired_pending)),
        ("bytes of values", str(account.value_bytes)),
    ]
    lines += [(f"partition {plain(name)}", str(count)) for name, count in account.partitions.items()]
    lines += [(f"server {name}", to_json(value)) for name, value in account.server.items() if name != "warnings"]
    return lines + [("warning", warning) for warning in account.server.get("warnings", ())]


def partitions(run: Run) -> None:
    """List the partitions and their policies."""
    with run.memory() as memory:
        found = memory.partitions()
    if run.as_json:
        run.output.items(map(_policy, found))
    else:
        run.output.table(("partition", "default TTL", "namespace", "created", "description"), map(_row, found))


def _policy(partition: Partition) -> dict[str, Any]:
    return {
        "name": partition.name,
        "default_ttl": partition.default_ttl.total_seconds() if partition.default_ttl else None,
        "namespace": partition.namespace,
        "description": partition.description,
        "created_at": partition.created_at.isoformat() if partition.created_at else None,
    }


def _row(partition: Partition) -> tuple[str, ...]:
    created = moment(partition.created_at) if partition.created_at else ""
    texts = plain(partition.namespace or ""), created, plain(partition.description or "")
    return (plain(partition.name), show_duration(partition.default_ttl), *texts)


def clear(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove every entry of the partition, after a question."""
    with run.memory() as memory:
        name = plain(run.partition_name())
        run.confirm(f"Remove {counted(memory.count())} of partition {name}?", yes=yes)
        removed = memory.clear()
    run.output.answer({"removed": removed}, f"removed {counted(removed)}")


def purge(
    run: Run,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", metavar="SECONDS", help="Stop after so long.")
    ] = None,
) -> None:
    """Remove the expired entries of all partitions from the disk; they are invisible already."""
    with run.memory() as memory:
        removed = memory.purge_expired(max_seconds=max_seconds)
    run.output.answer({"removed": removed}, f"removed {counted(removed, 'expired ')}")
