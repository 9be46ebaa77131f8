"""Commands on one entry: put, get, entry, delete, increment, touch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentmem.cli.command import Run
from agentmem.cli.exits import NotFound
from agentmem.cli.inputs import parse_json, parse_number, parse_object, parse_ttl, read_value
from agentmem.cli.output import entry_document, moment, plain, shown, to_json

if TYPE_CHECKING:
    from agentmem.entries import Entry

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key, such as plan/42/result.", show_default=False)]
TimeToLive = Annotated[
    str | None,
    typer.Option("--ttl", metavar="TTL", help="Seconds, or 30s, 5m, 2h, 7d, or never."),
]
IfVersion = Annotated[
    int | None, typer.Option("--if-version", metavar="N", help="Only if the entry has this version; else exit 3.")
]


def put(
    run: Run,
    *,
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE|-", help="JSON. Missing or -: read from standard input.", show_default=False),
    ] = None,
    as_text: Annotated[bool, typer.Option("--text", help="The value is a string, not JSON.")] = False,
    ttl: TimeToLive = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="A JSON object beside the value.")
    ] = None,
    if_version: IfVersion = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if there is no entry; else exit 3.")] = False,
) -> None:
    """Store a value under a key."""
    options: dict[str, Any] = {"ttl": parse_ttl(ttl), "metadata": parse_object(metadata, "--metadata")}
    content = read_value(value, as_text=as_text)
    with run.memory() as memory:
        entry = memory.put(key, content, if_version=if_version, if_absent=if_absent, **options)
        _confirm_write(run, "stored", entry)


def get(
    run: Run,
    key: Key,
    as_text: Annotated[
        bool, typer.Option("--text", help="Write a string as it is: no quotes, no escapes, no line feed added.")
    ] = False,
    default: Annotated[
        str | None, typer.Option("--default", metavar="JSON", help="What to write where there is no entry.")
    ] = None,
) -> None:
    """Write the value of a key as JSON; exit 1 when there is none."""
    fallback = None if default is None else parse_json(default, "--default")
    with run.memory() as memory:
        entry = memory.entry(key)
        if entry is None and default is None:
            raise NotFound(key)
        value = fallback if entry is None else entry.value
    if as_text and isinstance(value, str) and not run.as_json:
        # Not by way of the text layer, which has an encoding and line ends of its own.
        end = "\n" if run.output.terminal and not value.endswith("\n") else ""
        sys.stdout.buffer.write((value + end).encode())
    else:
        run.output.value(value)


def entry(run: Run, key: Key) -> None:
    """Show an entry: value, version, times, metadata; exit 1 when there is none."""
    with run.memory() as memory:
        found = memory.entry(key)
    if found is None:
        raise NotFound(key)
    if run.as_json:
        run.output.line(to_json(entry_document(found)))
    else:
        run.output.fields(_fields(found))


def _fields(entry: Entry) -> list[tuple[str, str]]:
    return [
        ("key", plain(entry.key)),
        ("version", str(entry.version)),
        ("created", moment(entry.created_at)),
        ("updated", moment(entry.updated_at)),
        ("expires", moment(entry.expires_at)),
        ("metadata", shown(lambda: entry.metadata)),
        ("value", shown(lambda: entry.value)),
    ]


def delete(run: Run, key: Key, if_version: IfVersion = None) -> None:
    """Remove an entry; exit 1 when there is none."""
    with run.memory() as memory:
        if not memory.delete(key, if_version=if_version):
            raise NotFound(key)
    run.output.answer({"deleted": True}, f"deleted {plain(key)}")


def increment(
    run: Run,
    key: Key,
    by: Annotated[str, typer.Argument(metavar="BY", help="What to add; may be negative or a fraction.")] = "1",
    initial: Annotated[
        str, typer.Option("--initial", metavar="NUMBER", help="What to start from where there is no entry.")
    ] = "0",
    ttl: TimeToLive = None,
) -> None:
    """Add to a number atomically and write the new one."""
    amounts: dict[str, Any] = {"by": parse_number(by, "BY"), "initial": parse_number(initial, "--initial")}
    with run.memory() as memory:
        number = memory.increment(key, ttl=parse_ttl(ttl), **amounts)
    run.output.line(to_json(number))


def touch(
    run: Run,
    key: Key,
    ttl: Annotated[str, typer.Argument(metavar="TTL", help="Seconds, or 30s, 5m, 2h, 7d, or never.")],
) -> None:
    """Give an entry a new time to live; exit 1 when there is none."""
    duration: Any = parse_ttl(ttl)
    with run.memory() as memory:
        if not memory.touch(key, duration):
            raise NotFound(key)
        found = memory.entry(key)
    if found is None:
        raise NotFound(key)
    _confirm_write(run, "touched", found)


def _confirm_write(run: Run, verb: str, entry: Entry) -> None:
    text = f"{verb} {plain(entry.key)} (version {entry.version}, expires {moment(entry.expires_at)})"
    run.output.answer(entry_document(entry) if run.as_json else None, text)
