"""Which revisions there are, which one a database is at, and the wait for somebody else to upgrade it."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection

from agentmem.errors import SchemaMismatch, Unavailable
from agentmem.sql.migration_errors import translated
from agentmem.sql.migration_locks import Deadline
from agentmem.sql.migration_targets import Target, is_missing_file, naming_of, opened, shown
from agentmem.sql.naming import Naming
from agentmem.sql.schema import HEAD, KNOWN, compare, read_revision, refuse_newer

if TYPE_CHECKING:
    from alembic.config import Config

LOOK_SECONDS: Final = 0.5
"""How long who waits for an upgrade pauses between two looks."""


class Revision(NamedTuple):
    """One step of the schema's history.

    Attributes:
        revision: its number, such as `0001`.
        down_revision: the one before; None for the first.
        description: what it does, in a sentence.
    """

    revision: str
    down_revision: str | None
    description: str


def history() -> list[Revision]:
    """Return all revisions, oldest first."""
    from alembic.script import ScriptDirectory

    scripts = [*ScriptDirectory.from_config(config()).walk_revisions()]
    return [Revision(s.revision, _only(s.down_revision), s.doc) for s in reversed(scripts)]


def current(target: Target, *, schema: str | None = None, table_prefix: str = "") -> str | None:
    """Return the revision that the database is at; None when agentmem was never set up there.

    Raises:
        Unavailable, PermissionDenied, ConfigurationError: as `upgrade`.
    """
    return _look(target, naming_of(target, schema, table_prefix))


def check(target: Target, *, schema: str | None = None, table_prefix: str = "") -> None:
    """Make sure that the database is at the revision that this version of agentmem works with.

    Raises:
        SchemaMismatch: it is behind or ahead; the text names the command to run.
        Unavailable, PermissionDenied, ConfigurationError: as `upgrade`.
    """
    naming = naming_of(target, schema, table_prefix)
    compare(_look(target, naming), shown(target), naming)


def pending(target: Target, *, schema: str | None = None, table_prefix: str = "") -> list[Revision]:
    """Return what an upgrade would run, in its order; nothing is changed, and no lock is taken.

    Raises:
        SchemaMismatch: the database is ahead of this version of agentmem.
        Unavailable, PermissionDenied, ConfigurationError: as `upgrade`.
    """
    found = current(target, schema=schema, table_prefix=table_prefix)
    refuse_newer(found)
    return history()[0 if found is None else KNOWN.index(found) + 1 :]


def wait(target: Target, seconds: float, *, schema: str | None = None, table_prefix: str = "") -> None:
    """Wait until somebody else has brought the database to the revision that this version of agentmem works with.

    For processes that must not migrate themselves, such as pods whose role may not. A server that does not answer yet
    is waited for as well.

    Args:
        target: a URL, an Engine or a Connection.
        seconds: how long.
        schema: where the tables are.
        table_prefix: what their names begin with.

    Raises:
        SchemaMismatch: the database is still behind when the time is over, or ahead: that at once.
        Unavailable: the server does not answer when the time is over.
        PermissionDenied, ConfigurationError: as `upgrade`.
    """
    naming, deadline = naming_of(target, schema, table_prefix), Deadline(seconds)
    while True:
        try:
            found = _look(target, naming, deadline)
        except Unavailable as error:
            if not error.retryable or not deadline.left:
                raise
        else:
            refuse_newer(found)
            if found == HEAD:
                return
            if not deadline.left:
                _give_up(found, target, naming, seconds)
        time.sleep(min(LOOK_SECONDS, deadline.left))


def _give_up(found: str | None, target: Target, naming: Naming, seconds: float) -> None:
    try:
        compare(found, shown(target), naming)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"waited {seconds:g} s in vain for an upgrade: {error}") from None


def _look(target: Target, naming: Naming, deadline: Deadline | None = None) -> str | None:
    if is_missing_file(target):
        return None
    seconds = None if deadline is None else math.ceil(deadline.left)
    with translated(), opened(target, connect_seconds=seconds) as connection:
        return revision_on(connection, naming)


def revision_on(connection: Connection, naming: Naming) -> str | None:
    """Read the revision, and leave no transaction open that was not."""
    was_open = connection.in_transaction()
    try:
        return read_revision(connection, naming)
    finally:
        if not was_open:
            connection.rollback()


def config(output: io.StringIO | None = None, **attributes: Any) -> Config:
    """Alembic's settings for our scripts.

    Args:
        output: where a script of SQL goes.
        attributes: what alembic/env.py reads.
    """
    from alembic.config import Config

    settings = Config(output_buffer=output, attributes=attributes)
    # The one option: nothing of a user's, such as a password, goes through the interpolation of Alembic's settings.
    settings.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


def _scripts() -> Path:
    shipped = Path(__file__).with_name("alembic_scripts")
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "alembic"


def _only(revision: str | tuple[str, ...] | list[str] | None) -> str | None:
    return revision if isinstance(revision, str) or revision is None else ", ".join(revision)
