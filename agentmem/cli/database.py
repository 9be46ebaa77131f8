"""`agentmem db …`: the migrations of agentmem's own tables (agentmem.sql.migrations).

Redis has none: a store there is made with one layout. What a deploy script runs works with its URLs all the same.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Annotated, Final

import typer

from agentmem.cli.command import Command, Run, shared_options
from agentmem.cli.output import to_json
from agentmem.errors import ConfigurationError, SchemaMismatch, Unavailable

_LOOK_SECONDS: Final = 0.5

UpTo = Annotated[str, typer.Argument(metavar="REVISION", help="Up to which one, such as 0001.")]
To = Annotated[str, typer.Argument(metavar="REVISION", help="Which one, such as 0001, or base for none.")]


def upgrade(
    run: Run,
    revision: UpTo = "head",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Bring the schema up to this version of agentmem; does nothing where it is already. On Redis: make the store."""
    if dry_run:
        _show_pending(run)
        return
    if run.is_redis:
        _make_store(run, revision)
        return
    from agentmem.sql import migrations

    migrations.upgrade(run.place(), revision, **run.naming)
    _show_revision(run)


def _show_pending(run: Run) -> None:
    if run.is_redis:
        revisions = [] if revision_of(run) else ["a store"]
    else:
        from agentmem.sql import migrations

        revisions = [f"{each.revision} {each.description}" for each in migrations.pending(run.place(), **run.naming)]
    run.output.answer({"pending": revisions}, "\n".join(revisions) or "nothing to do")


def _make_store(run: Run, revision: str) -> None:
    from agentmem.redis.layout import VERSION

    if revision not in ("head", VERSION):
        raise ConfigurationError(f"a store on Redis has layout {VERSION} and no revisions such as {revision!r}")
    run.memory(create="always").close()
    run.output.answer({"revision": VERSION}, f"layout {VERSION}: Redis has nothing to migrate")


def downgrade(run: Run, revision: To) -> None:
    """Go back to a revision; what can be kept is kept for the next upgrade."""
    from agentmem.sql import migrations

    migrations.downgrade(run.place(), revision, **run.naming)
    _show_revision(run)


def stamp(run: Run, revision: To) -> None:
    """Record that the database is at a revision, and change nothing else."""
    from agentmem.sql import migrations

    migrations.stamp(run.place(), revision, **run.naming)
    _show_revision(run)


def current(run: Run) -> None:
    """Show the revision that the database is at, or a store's layout on Redis; none where there is no store yet."""
    _show_revision(run)


def _show_revision(run: Run) -> None:
    revision = revision_of(run)
    text = f"layout {revision}" if revision and run.is_redis else revision
    run.output.answer({"revision": revision}, text or "none")


def revision_of(run: Run) -> str | None:
    """The revision of a database, the layout of a store on Redis; None where agentmem was never set up."""
    if not run.is_redis:
        from agentmem.sql import migrations

        return migrations.current(run.place(), **run.naming)
    with suppress(SchemaMismatch):  # it is said below; a missing driver is said here
        run.memory(create="never").close()
    from agentmem.redis import survey

    return survey.current(run.place(), run.options)


def check(
    run: Run,
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", min=0, help="Wait so long for somebody else to upgrade it."),
    ] = None,
) -> None:
    """Exit 5 unless the schema is the one that this version of agentmem works with."""
    if run.is_redis:
        _wait_for_store(run, wait or 0.0)
    else:
        from agentmem.sql import migrations

        if wait is None:
            migrations.check(run.place(), **run.naming)
        else:
            migrations.wait(run.place(), wait, **run.naming)
    run.output.answer({"revision": revision_of(run)}, "the schema is up to date")


def _wait_for_store(run: Run, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            run.memory(create="never").close()
        except (SchemaMismatch, Unavailable):
            if time.monotonic() >= end:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


def history(run: Run) -> None:
    """List the revisions of the schema on SQLite and PostgreSQL, oldest first."""
    from agentmem.sql import migrations

    revisions = migrations.history()
    if run.as_json:
        run.output.items(revision._asdict() for revision in revisions)
    else:
        run.output.table(
            ("revision", "after", "description"),
            ((revision.revision, revision.down_revision or "", revision.description) for revision in revisions),
        )


def sql(run: Run, revision: UpTo = "head") -> None:
    """Write a migration as a script of SQL, without connecting; 0001:base goes back."""
    from agentmem.sql import migrations

    script = migrations.sql(run.place(), revision, **run.naming)
    if run.as_json:
        run.output.line(to_json({"sql": script}))
    else:
        sys.stdout.write(script)


def _group() -> None:
    """Keep the database's schema in order."""


app = typer.Typer()
app.callback()(shared_options(_group))
for _function in (upgrade, downgrade, current, check, history, sql, stamp):
    app.command(cls=Command)(shared_options(_function))
