"""Alembic's own command in a checkout, and migrations as scripts."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, make_url

from agentmem import migrations
from agentmem.errors import ConfigurationError
from agentmem.sql import schema
from agentmem.testing.servers import local_postgres_binaries, wheel_postgres_binaries

ROOT = Path(__file__).resolve().parents[2]


def test_upgrade_with_an_option(url, alembic, schema_of):
    done = alembic("-x", f"url={url}", "upgrade", "head")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    migrations.check(url)


def test_upgrade_with_an_environment_variable(url, alembic):
    done = alembic("upgrade", "head", AGENTMEM_URL=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert alembic("current", AGENTMEM_URL=url).stdout == f"{schema.HEAD} (head)\n"


def test_the_option_is_stronger_than_the_variable(sqlite_url, alembic, tmp_path):
    other = tmp_path / "other.db"
    assert alembic("-x", f"url={sqlite_url}", "upgrade", "head", AGENTMEM_URL=f"sqlite:///{other}").returncode == 0
    assert not other.exists()


def test_without_a_url_it_asks_for_one(alembic):
    done = alembic("upgrade", "head")
    assert done.returncode != 0
    assert "Give -x url=… or set AGENTMEM_URL" in done.stdout + done.stderr


def test_it_names_what_is_wrong_without_the_password(alembic):
    done = alembic("-x", "url=postgresql://u:hunter2@127.0.0.1:1/x", "upgrade", "head")
    assert done.returncode != 0
    assert "connection failed" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_no_drift_between_models_and_head(url, alembic):
    migrations.upgrade(url)
    done = alembic("-x", f"url={url}", "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No new upgrade operations detected.\n", "")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE partitions ADD COLUMN extra INTEGER",
        "ALTER TABLE memory_entries DROP COLUMN metadata",
        "DROP INDEX ix_memory_entries_expires_at",
        "DROP TABLE partitions",
    ],
)
def test_drift_is_found(url, query, autogenerate, change):
    migrations.upgrade(url)
    query(change)
    ok, output = autogenerate("-x", f"url={url}", "check")
    assert not ok
    assert "New upgrade operations detected" in output


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE partitions ALTER COLUMN namespace TYPE integer USING 1",
        "ALTER TABLE partitions ALTER COLUMN version_floor SET DEFAULT 1",
        "ALTER TABLE memory_entries ALTER COLUMN body DROP NOT NULL",
    ],
)
def test_drift_of_types_is_found(postgres_url, query_postgres, autogenerate, change):
    migrations.upgrade(postgres_url)
    query_postgres(change)
    assert not autogenerate("-x", f"url={postgres_url}", "check")[0]


def test_drift_of_the_generated_column_is_found(postgres_url, query_postgres, autogenerate):
    migrations.upgrade(postgres_url)
    query_postgres("ALTER TABLE memory_entries DROP COLUMN value")
    query_postgres("ALTER TABLE memory_entries ADD COLUMN value jsonb GENERATED ALWAYS AS (body::jsonb) STORED")
    # Alembic cannot change such a column, so it only warns.
    with pytest.warns(UserWarning, match="Computed default on memory_entries.value"):
        autogenerate("-x", f"url={postgres_url}", "check")


def test_a_new_revision_is_numbered_and_prints_the_rules(sqlite_url, autogenerate, tmp_path):
    migrations.upgrade(sqlite_url)
    ini = tmp_path / "alembic.ini"
    places = f"version_locations = {tmp_path / 'new'}{os.pathsep}%(here)s/alembic/versions"
    ini.write_text(
        (ROOT / "alembic.ini").read_text().replace("[alembic]", f"[alembic]\n{places}").replace("%(here)s", str(ROOT))
    )
    options = ["--version-path", str(tmp_path / "new"), "--autogenerate"]
    assert autogenerate("-x", f"url={sqlite_url}", "revision", "-m", "Add things", *options, ini=ini)[0]
    [path] = (tmp_path / "new").glob("*.py")
    assert path.name == f"{int(schema.HEAD) + 1:04d}_add_things.py"
    assert "lock_timeout is 0.8 s" in path.read_text()
    assert f'down_revision = "{schema.HEAD}"' in path.read_text().replace("'", '"')
    compile(path.read_text(), path.name, "exec")


def psql() -> Path:
    for folder in (*wheel_postgres_binaries(), *local_postgres_binaries()):
        if (folder / "psql").exists():
            return folder / "psql"
    return Path("psql")


def run_script(url: str, script: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(make_url(url).database))) as database:
            database.executescript(script)
        return
    command = [str(psql()), url, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_makes_the_same_schema(url, schema_of, query, tables):
    migrations.upgrade(url)
    online = schema_of(url)
    migrations.downgrade(url, "base")
    for table in sorted(tables(url)):
        query(f"DROP TABLE {table}")
    run_script(url, migrations.sql(url))
    assert schema_of(url) == online
    migrations.check(url)


def test_the_script_back_and_forth(url, query):
    migrations.upgrade(url)
    run_script(url, migrations.sql(url, f"{schema.HEAD}:base"))
    assert migrations.current(url) is None
    migrations.upgrade(url)
    migrations.check(url)


def test_alembics_own_script_is_the_same(url, alembic):
    done = alembic("-x", f"url={url}", "upgrade", "head", "--sql")
    assert done.stderr == ""
    assert done.stdout == migrations.sql(url)


@pytest.mark.parametrize("target", ["postgresql", "postgres", "postgresql://u:hunter2@nowhere.invalid/x"])
def test_a_script_for_postgresql_bounds_its_locks(target):
    script = migrations.sql(target)
    assert script.startswith("BEGIN;\n\nSET LOCAL lock_timeout = '800ms';\n")
    assert script.rstrip().endswith("COMMIT;")
    assert "hunter2" not in script


def test_a_script_down_from_the_head():
    for target in ("sqlite", "postgresql"):
        assert migrations.sql(target, "head:0001") == migrations.sql(target, f"{schema.HEAD}:0001")
        assert f"{schema.HEAD} -> " in migrations.sql(target, "head:0001")


def test_a_script_of_a_range_that_is_not():
    with pytest.raises(ConfigurationError, match="0999"):
        migrations.sql("sqlite", "0999")
    with pytest.raises(ConfigurationError, match="mysql"):
        migrations.sql("mysql")


def test_lz4_where_the_server_has_it(postgres_url, query_postgres):
    migrations.upgrade(postgres_url)
    [(methods,)] = query_postgres("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'")
    found = query_postgres(
        "SELECT attname, attcompression::text FROM pg_attribute "
        "WHERE attrelid = 'memory_entries'::regclass AND attname IN ('body', 'value') ORDER BY 1"
    )
    expected = "l" if "lz4" in methods else ""
    assert found == [("body", expected), ("value", expected)]


def test_the_environment_is_a_file_of_ours(alembic):
    # The name alembic means the installed package everywhere, the checkout's folder notwithstanding.
    spec = importlib.util.find_spec("alembic")
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith("__init__.py")
    assert alembic("history").stdout.endswith(f"<base> -> {schema.KNOWN[0]}, Partitions and memory entries.\n")


def test_a_model_without_a_migration_is_found(url, engine):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from agentmem.sql import metadata

    migrations.upgrade(url)
    changed = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["partitions"].append_column(Column("colour", Integer))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert [change[0] for change in compare_metadata(context, changed)] == ["add_column"]
        assert compare_metadata(context, metadata) == []
