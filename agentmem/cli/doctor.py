"""The command that looks whether everything is in order, and writes nothing while it does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentmem.cli.command import Run
from agentmem.cli.database import revision_of
from agentmem.cli.exits import ExitCode
from agentmem.cli.output import plain, to_json
from agentmem.cli.versions import installed
from agentmem.errors import AgentMemError
from agentmem.handle import repository_of
from agentmem.urls import redact, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentmem.memory import Memory
    from agentmem.repository import Repository

#: What `Stats.server` may say about whether memories outlive a crash.
_DURABILITY: Final = (
    "role",
    "appendonly",
    "appendfsync",
    "save",
    "maxmemory_bytes",
    "maxmemory_policy",
    "connected_replicas",
    "min_replicas_to_write",
    "wait_replicas",
)


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        settings: in force, without secrets.
        store: what the store tells of itself.
        problems: what is wrong, each with a type and a message.
        warnings: what works and may still be regretted, such as a server that keeps nothing on disk.
        versions: of what is installed.
    """

    settings: dict[str, Any]
    store: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=installed)

    def blame(self, error: AgentMemError) -> None:
        """Note an error as a problem."""
        self.problems.append({"type": type(error).__name__, "message": redact(str(error))})


def doctor(
    run: Run,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read every entry and verify the store's own books; may take long.")
    ] = False,
) -> None:
    """Check versions, settings, connection, schema, clock and durability; exit 1 when something is wrong."""
    diagnosis = Diagnosis(_settings(run))
    try:
        _examine(run, diagnosis, verify=verify)
    except AgentMemError as error:
        diagnosis.blame(error)
    _print(run, diagnosis)
    if diagnosis.problems:
        raise typer.Exit(ExitCode.NOT_FOUND)


def _settings(run: Run) -> dict[str, Any]:
    given = run.settings()
    return {
        "url": redact(run.place()),
        "partition": run.partition_name(),
        "namespace": given.namespace,
        "sweep_every": given.sweep_every,
    }


def _examine(run: Run, diagnosis: Diagnosis, *, verify: bool) -> None:
    store = diagnosis.store
    look = _look_at_redis if run.is_redis else _look_at_sql
    if not look(run, diagnosis):
        store["state"] = "not set up yet, the first use does it"
        return
    with run.memory(create="never") as memory:
        _measure(memory, diagnosis)
        if verify:
            diagnosis.problems += [
                {"type": problem.kind, "message": f"{plain(problem.partition)}: {problem.key!r}: {problem.detail}"}
                for problem in memory.check()
            ]


def _look_at_sql(run: Run, diagnosis: Diagnosis) -> bool:
    """Note the schema; False where there is none and need not be."""
    from agentmem.sql import migrations

    schema = diagnosis.store["schema"] = migrations.current(run.place(), **run.naming)
    return schema is not None or not scheme_of(run.place()).startswith("sqlite")


def _look_at_redis(run: Run, diagnosis: Diagnosis) -> bool:
    """Note the layout and, where there is no store to ask for it later, the durability; False for no store."""
    layout = diagnosis.store["layout"] = revision_of(run)
    if layout is None:
        from agentmem.redis.survey import survey

        found = survey(run.place(), run.options)
        diagnosis.store.update(backend="redis", server_version=found.server_version)
        note_durability(found.server, diagnosis)
    return layout is not None


def _measure(memory: Memory, diagnosis: Diagnosis) -> None:
    repository, store = repository_of(memory), diagnosis.store
    memory.ping()
    started = time.perf_counter()
    memory.ping()
    store["round_trip_ms"] = round((time.perf_counter() - started) * 1000, 3)
    store["clock_difference_ms"] = _clock_difference_ms(repository)
    account = memory.stats()
    store.update(backend=account.backend, server_version=account.server_version, entries=account.entries)
    note_durability(account.server, diagnosis)


def note_durability(server: Mapping[str, Any], diagnosis: Diagnosis) -> None:
    """Note what decides whether memories outlive a crash; of a cluster all that its nodes say, where they differ."""
    diagnosis.warnings += server.get("warnings", ())
    told = [server, *server.get("nodes", ())]
    for name in _DURABILITY:
        values = list({each[name]: None for each in told if name in each})
        if values:
            diagnosis.store[name] = values[0] if len(values) == 1 else values
        elif name == "appendfsync" and "appendonly" in diagnosis.store:
            diagnosis.store[name] = "unknown: the server refuses CONFIG GET"


def _clock_difference_ms(repository: Repository) -> float:
    """How far the server's clock is ahead of ours, to half a round trip. For information: the server's decides."""
    before = datetime.now(UTC)
    theirs = repository.server_time()
    ours = before + (datetime.now(UTC) - before) / 2
    return round((theirs - ours).total_seconds() * 1000, 1)


def _print(run: Run, diagnosis: Diagnosis) -> None:
    output = run.output
    if run.as_json:
        document = {"ok": not diagnosis.problems, "problems": diagnosis.problems, "warnings": diagnosis.warnings}
        output.line(
            to_json(
                {**document, "settings": diagnosis.settings, "store": diagnosis.store, "versions": diagnosis.versions}
            )
        )
        return
    parts = {"setting": diagnosis.settings, "store": diagnosis.store, "version": diagnosis.versions}
    lines = [(f"{part} {name}", _text(value)) for part, found in parts.items() for name, value in found.items()]
    lines += [("problem", f"{problem['type']}: {problem['message']}") for problem in diagnosis.problems]
    lines += [("warning", warning) for warning in diagnosis.warnings]
    output.fields([*lines, ("verdict", _verdict(diagnosis))])


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.problems:
        return "something is wrong"
    return "it works, but mind the warnings" if diagnosis.warnings else "all is well"


def _text(value: Any) -> str:
    return "none" if value in (None, "") else str(value)
