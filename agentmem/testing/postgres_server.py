"""PostgreSQL for tests: what every server of it can do, and one that somebody else runs."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from agentmem.testing.kinds import RemoteServer
from agentmem.testing.processes import Server, ServerError, version_number

if TYPE_CHECKING:
    import psycopg

USER = "agentmem"


class PostgresServer(Server):
    """A PostgreSQL server for tests.

    Safe to use from several threads and processes at once: every database has a name of its own.
    """

    @abstractmethod
    def url(self, database: str = "postgres") -> str:
        """The URL of a database of this server, password included: `postgresql://user:password@host:port/database`."""

    @cached_property
    def version(self) -> str:
        """The server's version as it calls it, such as `18.4`. Asks a running server."""
        with self._connect() as connection:
            return version_number(connection.info.parameter_status("server_version") or "")

    def check(self) -> None:
        self._connect().close()

    def new_database(self, template: str | None = None) -> str:
        """Create a database and return its URL.

        Args:
            template: the URL of a database of this server to clone; nobody may be connected to it. None: empty.
        """
        name = f"agentmem_{secrets.token_hex(8)}"
        clone = f' TEMPLATE "{database_name(template)}"' if template else ""
        self._execute(f'CREATE DATABASE "{name}"{clone}')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, its connections with it. Idempotent."""
        self._execute(f'DROP DATABASE IF EXISTS "{database_name(url)}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            import psycopg
        except ImportError as error:
            raise ServerError("a PostgreSQL server needs psycopg: install the extra [postgres]") from error
        try:
            return psycopg.connect(self.url(), autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise ServerError(f"PostgreSQL ({self.kind}) does not answer: {error}") from error


class RemotePostgres(RemoteServer, PostgresServer):
    """A server that somebody else runs: it gives databases, and is never started, stopped or killed by us.

    Args:
        url: of any database whose user may create databases.
        kind: `url`, or the kind of the server that another process of the same run started.
    """

    def __init__(self, url: str, *, kind: str = "url") -> None:
        self.kind = kind
        self._url = urlsplit(url)._replace(scheme="postgresql")

    def url(self, database: str | None = None) -> str:
        return (self._url if database is None else self._url._replace(path=f"/{database}")).geturl()


def make_url(password: str, address: str, database: str) -> str:
    """The URL of a database of a server that we started."""
    return f"postgresql://{USER}:{quote(password, safe='')}@{address}/{database}"


def database_name(url: str) -> str:
    """The name of the database in a URL."""
    return unquote(urlsplit(url).path.removeprefix("/"))
