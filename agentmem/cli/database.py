"""`agentmem db …`: the migrations of agentmem's own tables (agentmem.sql.migrations)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agentmem.cli.command import Command, Run, shared_options
from agentmem.cli.output import to_json

UpTo = Annotated[str, typer.Argument(metavar="REVISION", help="Up to which one, such as 0001.")]
To = Annotated[str, typer.Argument(metavar="REVISION", help="Which one, such as 0001, or base for none.")]


def upgrade(run: Run, revision: UpTo = "head") -> None:
    """Bring the schema up to this version of agentmem; does nothing where it is already."""
    from agentmem.sql import migrations

    migrations.upgrade(run.place(), revision)
    _show_revision(run)


def downgrade(run: Run, revision: To) -> None:
    """Go back to a revision; what can be kept is kept for the next upgrade."""
    from agentmem.sql import migrations

    migrations.downgrade(run.place(), revision)
    _show_revision(run)


def stamp(run: Run, revision: To) -> None:
    """Record that the database is at a revision, and change nothing else."""
    from agentmem.sql import migrations

    migrations.stamp(run.place(), revision)
    _show_revision(run)


def current(run: Run) -> None:
    """Show the revision that the database is at; none where agentmem was never set up."""
    _show_revision(run)


def _show_revision(run: Run) -> None:
    from agentmem.sql import migrations

    revision = migrations.current(run.place())
    run.output.answer({"revision": revision}, revision or "none")


def check(run: Run) -> None:
    """Exit 5 unless the schema is the one that this version of agentmem works with."""
    from agentmem.sql import migrations

    place = run.place()
    migrations.check(place)
    run.output.answer({"revision": migrations.current(place)}, "the schema is up to date")


def history(run: Run) -> None:
    """List the revisions, oldest first."""
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

    script = migrations.sql(run.place(), revision)
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
