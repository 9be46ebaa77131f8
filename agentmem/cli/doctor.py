"""The command that looks whether everything is in order, and writes nothing while it does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentmem.cli.command import Run
from agentmem.cli.exits import ExitCode
from agentmem.cli.output import plain, to_json
from agentmem.cli.versions import installed
from agentmem.errors import AgentMemError
from agentmem.handle import repository_of
from agentmem.urls import redact, scheme_of

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.repository import Repository


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        settings: in force, without secrets.
        store: what the store tells of itself.
        problems: what is wrong, each with a type and a message.
        versions: of what is installed.
    """

    settings: dict[str, Any]
    store: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
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
    """Check versions, settings, connection, schema and clock; exit 1 when something is wrong."""
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
    from agentmem.sql import migrations

    place, store = run.place(), diagnosis.store
    store["schema"] = migrations.current(place)
    if store["schema"] is None and scheme_of(place).startswith("sqlite"):
        store["state"] = "not set up yet, the first use does it"
        return
    with run.memory(create="never") as memory:
        _measure(memory, store)
        if verify:
            diagnosis.problems += [
                {"type": problem.kind, "message": f"{plain(problem.partition)}: {problem.key!r}: {problem.detail}"}
                for problem in memory.check()
            ]


def _measure(memory: Memory, store: dict[str, Any]) -> None:
    repository = repository_of(memory)
    memory.ping()
    started = time.perf_counter()
    memory.ping()
    store["round_trip_ms"] = round((time.perf_counter() - started) * 1000, 3)
    store["clock_difference_ms"] = _clock_difference_ms(repository)
    account = memory.stats()
    store.update(backend=account.backend, server_version=account.server_version, entries=account.entries)


def _clock_difference_ms(repository: Repository) -> float:
    """How far the server's clock is ahead of ours, to half a round trip. For information: the server's decides."""
    before = datetime.now(UTC)
    theirs = repository.server_time()
    ours = before + (datetime.now(UTC) - before) / 2
    return round((theirs - ours).total_seconds() * 1000, 1)


def _print(run: Run, diagnosis: Diagnosis) -> None:
    output = run.output
    if run.as_json:
        document = {"ok": not diagnosis.problems, "problems": diagnosis.problems}
        output.line(
            to_json(
                {**document, "settings": diagnosis.settings, "store": diagnosis.store, "versions": diagnosis.versions}
            )
        )
        return
    parts = {"setting": diagnosis.settings, "store": diagnosis.store, "version": diagnosis.versions}
    lines = [(f"{part} {name}", _text(value)) for part, found in parts.items() for name, value in found.items()]
    lines += [("problem", f"{problem['type']}: {problem['message']}") for problem in diagnosis.problems]
    output.fields([*lines, ("verdict", "something is wrong" if diagnosis.problems else "all is well")])


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
