"""A PostgreSQL primary and its standby, for tests: what is left, and how fast, when the primary is gone?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentmem.testing.postgres_local import LocalPostgres
from agentmem.testing.postgres_server import USER, PostgresServer
from agentmem.testing.processes import START_TIMEOUT_SECONDS, ServerError, wait_until

STANDBY = "standby"
"""The name under which the standby is known to the primary."""


class _Standby(LocalPostgres):
    """A server whose cluster is a copy of another one's, which must run, and follows it by streaming."""

    def __init__(self, primary: LocalPostgres, binaries: Path, *, kind: str, options: Mapping[str, str]) -> None:
        super().__init__(binaries, kind=kind, options=options)
        self._primary = primary
        self._password = primary._password

    def _initialise(self, directory: Path) -> None:
        self._tool(
            "pg_basebackup",
            f"--pgdata={directory / 'data'}",
            f"--dbname={self._primary.url()}?application_name={STANDBY}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            directory=directory,
        )


class PostgresPair(PostgresServer):
    """A primary and a standby that follows it by streaming replication; its URL names both.

    Args:
        binaries: the directory with `initdb`, `postgres` and `pg_basebackup`.
        kind: `wheels` or `local`.
        synchronous: whether a commit on the primary waits until the standby has it on its disk.
        options: settings of both servers.
        standby_options: settings of the standby beyond them, such as `{"recovery_min_apply_delay": "300ms"}`.

    Attributes:
        primary: the server that begins as the primary.
        standby: the one that begins as its standby.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        kind: str = "local",
        synchronous: bool = False,
        options: Mapping[str, str] | None = None,
        standby_options: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._synchronous = synchronous
        self.primary = LocalPostgres(binaries, kind=kind, options=options)
        both = {**(options or {}), **(standby_options or {})}
        self.standby = _Standby(self.primary, binaries, kind=kind, options=both)
        self._follows = False

    def url(self, database: str = "postgres") -> str:
        """The URL of whichever of the two takes writes: `postgresql://…/database?host=…,…&target_session_attrs=…`."""
        password = quote(self.primary._password, safe="")
        place = f"host=127.0.0.1,127.0.0.1&port={self.primary.port},{self.standby.port}"
        return f"postgresql://{USER}:{password}@/{quote(database)}?{place}&target_session_attrs=read-write"

    @property
    def running(self) -> bool:
        return self.primary.running and self.standby.running

    def start(self) -> None:
        self.primary.start()
        self.standby.start()
        if not self._follows:
            self.wait_until_in_step()
            if self._synchronous:
                self.primary._execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
                self.primary._execute("SELECT pg_reload_conf()")
            self._follows = True

    def stop(self) -> None:
        self.primary.stop()
        self.standby.stop()

    def kill(self) -> None:
        self.primary.kill()
        self.standby.kill()

    def close(self) -> None:
        self.standby.close()
        self.primary.close()
        self._follows = False

    def failover(self) -> None:
        """Kill the primary and promote the standby; it takes writes when this returns."""
        self.primary.kill()
        self.standby._execute("SELECT pg_promote()")

    def wait_until_in_step(self) -> None:
        """Return when the standby has replayed all that the primary has written until now.

        Raises:
            ServerError: it does not within half a minute.
        """
        position = self._value(self.primary, "SELECT pg_current_wal_flush_lsn()")
        question = f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{position}', false)"
        if not wait_until(lambda: bool(self._value(self.standby, question)), START_TIMEOUT_SECONDS):
            raise ServerError(f"the standby does not follow within {START_TIMEOUT_SECONDS:.0f} s")

    def _value(self, server: LocalPostgres, question: str) -> Any:
        with server._connect() as connection:
            row = connection.execute(question.encode()).fetchone()
            return row and row[0]
