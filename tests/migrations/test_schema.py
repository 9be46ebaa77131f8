"""How a database is found to be behind or ahead, and what the user is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from agentmem import migrations
from agentmem.errors import SchemaMismatch
from agentmem.sql import schema

VERSIONS = Path(__file__).resolve().parents[2] / "alembic" / "versions"


def test_the_known_revisions_are_those_of_the_scripts():
    revisions = [step.revision for step in migrations.history()]
    assert tuple(revisions) == schema.KNOWN
    assert revisions[-1] == schema.HEAD


def test_history_is_one_line_from_the_first_to_the_last():
    steps = migrations.history()
    assert [step.down_revision for step in steps] == [None, *schema.KNOWN[:-1]]
    assert all(step.description.endswith(".") for step in steps)


def test_files_are_named_after_revision_and_purpose():
    names = sorted(path.name for path in VERSIONS.glob("*.py"))
    assert [name.partition("_")[0] for name in names] == list(schema.KNOWN)


def test_no_revision_imports_agentmem():
    assert [path.name for path in VERSIONS.glob("*.py") if "agentmem" in path.read_text()] == []


def test_alembic_is_not_shadowed_by_our_folder():
    assert not (VERSIONS.parent / "__init__.py").exists()


def test_a_database_without_a_schema_is_told_the_command(url):
    with pytest.raises(SchemaMismatch, match="has no agentmem schema yet") as caught:
        migrations.check(url)
    assert "run `agentmem db upgrade --url " in str(caught.value)


def test_a_database_that_is_behind_is_told_the_command(url, query, monkeypatch):
    migrations.upgrade(url)
    query("DELETE FROM agentmem_version")
    query("INSERT INTO agentmem_version VALUES ('0000')")
    monkeypatch.setattr(schema, "KNOWN", ("0000", *schema.KNOWN))
    with pytest.raises(SchemaMismatch) as caught:
        migrations.check(url)
    assert f"is at revision 0000, this version of agentmem needs revision {schema.HEAD}: run `" in str(caught.value)


def test_a_database_that_is_ahead_asks_for_a_newer_agentmem(url, query):
    migrations.upgrade(url)
    query("UPDATE agentmem_version SET version_num = '7000'")
    with pytest.raises(SchemaMismatch) as caught:
        migrations.check(url)
    expected = (
        f"upgrade agentmem: the database is at revision 7000, newer than this version knows (up to {schema.HEAD})"
    )
    assert str(caught.value) == expected


@pytest.mark.parametrize("place", ["postgresql://u:hunter2@h/db", "postgresql://h/db?user=u&password=hunter2"])
def test_no_password_is_shown(place):
    for form in (place, make_url(place)):
        with pytest.raises(SchemaMismatch) as caught:
            schema.compare(None, form)
        assert "hunter2" not in str(caught.value)
        assert "h/db" in str(caught.value)


def test_to_look_makes_no_file(tmp_path):
    url = f"sqlite:///{tmp_path / 'missing.db'}"
    assert migrations.current(url) is None
    with pytest.raises(SchemaMismatch):
        migrations.check(url)
    assert list(tmp_path.iterdir()) == []


def test_a_file_below_the_home_folder_is_looked_at_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    migrations.upgrade("sqlite:///~/memory.db")
    assert (tmp_path / "memory.db").exists()
    assert migrations.current("sqlite:///~/memory.db") == schema.HEAD
    migrations.check("sqlite:///~/memory.db")
    assert migrations.current("sqlite:///~/missing.db") is None


def test_to_read_the_revision_does_not_abort_a_transaction(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
        assert schema.read_revision(connection) is None
        with pytest.raises(SchemaMismatch):
            schema.verify(connection, engine.url)
        connection.execute(text("INSERT INTO orders VALUES (1)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM orders")).all() == [(1,)]


def test_verify_is_content_with_the_head(engine):
    migrations.upgrade(engine)
    with engine.connect() as connection:
        schema.verify(connection, engine.url)


def test_to_compare_revisions_does_not_import_alembic():
    script = "import sys, agentmem.sql.schema, agentmem.sql.migrations; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=VERSIONS.parents[1], check=False).returncode == 0
