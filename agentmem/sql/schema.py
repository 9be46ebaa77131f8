"""Which schema this version of agentmem knows, and which one a database has: cheap, and without Alembic."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from agentmem.errors import SchemaMismatch
from agentmem.sql.naming import DEFAULT, Naming
from agentmem.urls import redact

#: Ours, so that a host's Alembic and its `alembic_version` never meet ours.
VERSION_TABLE: Final = "agentmem_version"

#: Every revision, oldest first. A test compares them with the scripts.
KNOWN: Final = ("0001", "0002", "0003", "0004")
HEAD: Final = KNOWN[-1]

_EXISTS: Final = {
    "postgresql": text("SELECT to_regclass(:name) IS NOT NULL"),
    "sqlite": text("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name)"),
}


def read_revision(connection: Connection, naming: Naming = DEFAULT) -> str | None:
    """Return the revision that the database is at; None when agentmem was never set up there.

    Two small queries, no lock, and nothing fails where the table is missing: an error would abort a transaction that
    a host has open on this connection.
    """
    dialect = connection.dialect
    table = naming.quoted(VERSION_TABLE, dialect)
    name = table if dialect.name == "postgresql" else naming.table(VERSION_TABLE)
    exists = connection.execute(_EXISTS[dialect.name], {"name": name}).scalar_one()
    return connection.execute(text(f"SELECT max(version_num) FROM {table}")).scalar_one() if exists else None


def verify(connection: Connection, url: object, naming: Naming = DEFAULT) -> None:
    """Make sure that the database is at the revision that this version of agentmem works with.

    Args:
        connection: is only read from.
        url: of the database, for the message; its password is not shown.
        naming: how the tables are called.

    Raises:
        SchemaMismatch: it is behind, or ahead; the text says what to do.
    """
    compare(read_revision(connection, naming), url, naming)


def compare(revision: str | None, url: object, naming: Naming = DEFAULT) -> None:
    """As `verify`, for a revision that was read already."""
    refuse_newer(revision)
    if revision == HEAD:
        return
    found = "has no agentmem schema yet" if revision is None else f"is at revision {revision}"
    raise SchemaMismatch(
        f"the database {found}, this version of agentmem needs revision {HEAD}: "
        f"run `agentmem db upgrade --url {redact(url)}{naming.options()}`"
    )


def refuse_newer(revision: str | None) -> None:
    """Refuse a database that a newer version of agentmem has upgraded.

    Raises:
        SchemaMismatch: the revision is none of KNOWN.
    """
    if revision is not None and revision not in KNOWN:
        raise SchemaMismatch(
            f"upgrade agentmem: the database is at revision {revision}, newer than this version knows (up to {HEAD})"
        )
