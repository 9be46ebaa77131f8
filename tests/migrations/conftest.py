"""Databases of both kinds, what can be seen of their schema, and processes that start together."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import Engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A host's engine on it, as hosts make them: the drivers' defaults."""
    with engine_on(url) as engine:
        yield engine


@contextmanager
def engine_on(url: str, **options: Any) -> Iterator[Engine]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), **options)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def query(url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Run a statement in a transaction of its own, past agentmem; gives its rows."""
    return lambda statement: run_statement(url, statement)


def run_statement(url: str, statement: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(make_url(url).database or "")) as database, database:
            return database.execute(statement).fetchall()
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def tables() -> Callable[[str], set[str]]:
    return tables_of


def tables_of(url: str) -> set[str]:
    statement = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    if url.startswith("sqlite"):
        statement = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    return {row[0] for row in run_statement(url, statement)}


_POSTGRES_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), o.collname, a.attnotnull, a.attgenerated::text,
           a.attcompression::text, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation o ON o.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1, a.attnum
"""


@pytest.fixture
def schema_of() -> Callable[[str], list[Any]]:
    """Everything that a server tells about the tables in a database."""

    def describe(url: str) -> list[Any]:
        if url.startswith("sqlite"):
            rows = run_statement(url, "SELECT type, name, sql FROM sqlite_master ORDER BY name")
            # RENAME quotes the name, and a script has no tabs.
            return [(kind, name, " ".join((sql or "").replace('"', "").split())) for kind, name, sql in rows]
        indexes = run_statement(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1")
        return [*run_statement(url, _POSTGRES_COLUMNS), *indexes]

    return describe


@pytest.fixture
def alembic(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Alembic's own command in the checkout, with the environment given."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTMEM_")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "alembic", *words],
            cwd=ROOT,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run


@pytest.fixture
def autogenerate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[bool, str]]:
    """Alembic's own command in this process: whether it succeeded, and what it said."""

    def run(*words: str, ini: Path = ROOT / "alembic.ini") -> tuple[bool, str]:
        import alembic.config

        monkeypatch.setattr(sys, "path", [*sys.path])
        try:
            alembic.config.main(["-c", str(ini), *words])
        except SystemExit:
            return False, "".join(capsys.readouterr())
        return True, "".join(capsys.readouterr())

    return run


# To import takes longer than to migrate, so it comes before the start.
_PROLOGUE = "import sys, alembic.command, agentmem.migrations; print('ready', flush=True); sys.stdin.readline()"


@pytest.fixture
def race() -> Callable[..., list[tuple[int, str]]]:
    """Run a script in several processes that start at the same moment; gives each one's exit code and errors."""

    def run(script: str, arguments: list[str], count: int) -> list[tuple[int, str]]:
        command = [sys.executable, "-W", "error", "-c", f"{_PROLOGUE}\n{script}", *arguments]
        return _start_and_wait([_start(command) for _ in range(count)])

    return run


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _start_and_wait(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        errors = [process.communicate(timeout=100)[1] for process in processes]
        return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def host_engine() -> Callable[..., Any]:
    """Make a host's engine with options of its own; the test disposes of it by a `with` block."""
    return engine_on


@pytest.fixture
def query_postgres(postgres_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """As `query`, for tests of PostgreSQL alone."""
    return lambda statement: run_statement(postgres_url, statement)


@pytest.fixture
def engine_of_postgres(postgres_url: str) -> Iterator[Engine]:
    """As `engine`, for tests of PostgreSQL alone."""
    with engine_on(postgres_url) as engine:
        yield engine
