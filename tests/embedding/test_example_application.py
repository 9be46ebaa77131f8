"""The example of a host with an Alembic of its own: neither proposes anything of the other's, and both work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from agentmem import migrations
from agentmem.sql.engines import normalised

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "host_application_alembic"
NAMES: dict[str, dict[str, Any]] = {
    "beside": {},
    "prefix": {"table_prefix": "memory_"},
    "schema": {"schema": "memory"},
    "both": {"schema": "Odd \"na'me", "table_prefix": "Ä "},
    # Which is where the host's own tables are.
    "public": {"schema": "public"},
}


class Host(NamedTuple):
    """The application, in a copy of its folder."""

    folder: Path
    url: str
    names: dict[str, Any]

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTMEM_", "MEMORY_"))}
        said = {f"MEMORY_{name.upper()}": value for name, value in self.names.items()}
        return subprocess.run(
            [sys.executable, "-W", "error", *command],
            cwd=folder or self.folder,
            env={**kept, **said, "DATABASE_URL": self.url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def alembic(self, *words: str) -> str:
        done = self.run("-m", "alembic", *words)
        return done.stdout + done.stderr

    def our_alembic(self, *words: str) -> str:
        names = [word for name, value in self.names.items() for word in ("-x", f"{name}={value}")]
        done = self.run("-m", "alembic", "-x", f"url={self.url}", *names, *words, folder=ROOT)
        return done.stdout + done.stderr


@pytest.fixture(
    params=[
        *(("sqlite", name) for name in ("beside", "prefix")),
        *(pytest.param(("postgresql", name), marks=pytest.mark.postgres) for name in NAMES),
    ],
    ids="-".join,
)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    database, names = request.param
    url = request.getfixturevalue("sqlite_url" if database == "sqlite" else "postgres_url")
    folder = shutil.copytree(EXAMPLE, tmp_path / "host", ignore=shutil.ignore_patterns("__pycache__"))
    return Host(folder, normalised(make_url(url)).render_as_string(hide_password=False), NAMES[names])


@pytest.fixture
def rows(host: Host) -> Iterator[Callable[[str], list[Any]]]:
    engine: Engine = create_engine(host.url)

    def run(statement: str) -> list[Any]:
        with engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    yield run
    engine.dispose()


@pytest.mark.slow
def test_a_host_with_an_alembic_of_its_own(host: Host, rows: Callable[[str], list[Any]]) -> None:
    done = host.run("app.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "after a roll-back: None\nafter a commit: {'summary': 'two books'}\n"
    for check in (host.alembic, host.our_alembic):
        assert check("check") == "No new upgrade operations detected.\n"
    host.alembic("revision", "--autogenerate", "-m", "nothing", "--rev-id", "b2")
    (written,) = host.folder.glob("migrations/versions/b2_*.py")
    assert "op." not in written.read_text()
    assert rows("SELECT version_num FROM alembic_version") == [("a1",)]
    # Ours goes and comes, and the host's row stays; what was kept is not proposed away either.
    migrations.downgrade(host.url, "base", **host.names)
    assert host.alembic("current") == "a1\n"
    written.unlink()
    assert host.alembic("check") == "No new upgrade operations detected.\n"
    migrations.upgrade(host.url, **host.names)
    assert rows("SELECT version_num FROM alembic_version") == [("a1",)]
    assert rows("SELECT id FROM orders") == [(7,)]


@pytest.mark.slow
def test_without_the_filter_the_host_would_drop_our_tables(host: Host) -> None:
    host.run("app.py")
    environment = host.folder / "migrations" / "env.py"
    environment.write_text(environment.read_text().replace("include_name=", "opts="))
    assert "memory_entries" in host.alembic("check")
