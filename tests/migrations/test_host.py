"""Inside of somebody else's database and process: theirs is left alone, and ours is not proposed away."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import inspect, text

import agentmem
from agentmem import migrations
from agentmem.errors import BackendError, ConfigurationError
from agentmem.sql import include_declared, include_name, include_name_for, metadata, metadata_for, schema

ENVIRONMENT = """
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table
import agentmem.sql

host = MetaData()
Table("orders", host, Column("id", Integer, primary_key=True))
context.configure(connection=context.config.attributes["connection"], {options})
with context.begin_transaction():
    context.run_migrations()
"""
FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "aaa", None
def upgrade():
    op.create_table("orders", sa.Column("id", sa.Integer, primary_key=True))
"""
SECOND = """
from agentmem import migrations
from alembic import context, op
revision, down_revision = "bbb", "aaa"
def upgrade():
    op.execute("INSERT INTO orders (id) VALUES (1)")
    migrations.upgrade(op.get_bind())
    op.execute("INSERT INTO orders (id) VALUES (2)")
    assert context.get_revision_argument() == "bbb"
"""
EXCLUDED = "target_metadata=host, include_name=agentmem.sql.include_name"
INCLUDED = "target_metadata=[host, agentmem.sql.metadata], compare_server_default=True"
DECLARED = f"{INCLUDED}, include_name=agentmem.sql.include_declared"


class Host:
    """An application with its own Alembic, on the engine's database."""

    def __init__(self, folder: Path, engine):
        self._engine = engine
        self._folder = folder
        (folder / "versions").mkdir()
        (folder / "versions" / "first.py").write_text(FIRST)
        (folder / "script.py.mako").write_text("")

    def add(self, name, content):
        (self._folder / "versions" / name).write_text(content)

    def run(self, name, *arguments, options=EXCLUDED):
        (self._folder / "env.py").write_text(ENVIRONMENT.replace("{options}", options))
        with self._engine.connect() as connection:
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(self._folder))
            config.set_main_option("path_separator", "os")
            getattr(command, name)(config, *arguments)


@pytest.fixture
def host(tmp_path, engine):
    folder = tmp_path / "host"
    folder.mkdir()
    return Host(folder, engine)


@pytest.mark.parametrize("first", ["host", "agentmem"])
def test_two_alembics_in_one_database_never_meet(host, url, query, first):
    steps = [lambda: host.run("upgrade", "head"), lambda: migrations.upgrade(url)]
    for step in steps if first == "host" else reversed(steps):
        step()
    assert query("SELECT version_num FROM alembic_version") == [("aaa",)]
    assert query("SELECT version_num FROM agentmem_version") == [(schema.HEAD,)]
    migrations.downgrade(url, "base")
    assert query("SELECT version_num FROM alembic_version") == [("aaa",)]
    host.run("upgrade", "head")
    migrations.upgrade(url)
    migrations.check(url)


@pytest.mark.parametrize("options", [EXCLUDED, INCLUDED, f"{EXCLUDED}, include_schemas=True"])
def test_a_hosts_autogenerate_proposes_nothing_of_ours(host, url, options, recwarn):
    host.run("upgrade", "head", options=options)
    migrations.upgrade(url)
    host.run("check", options=options)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("options", [EXCLUDED, DECLARED])
@pytest.mark.parametrize("names", [{}, {"table_prefix": "am_"}], ids=["plain", "prefix"])
def test_an_index_that_a_partition_asked_for_is_not_proposed_away(host, url, autogenerate, options, names):
    host.run("upgrade", "head")
    migrations.upgrade(url, **names)
    with agentmem.connect(url, **names) as memory:
        memory.partition("jobs", index_values=True)
    options = options.replace("sql.metadata", f"sql.metadata_for(**{names!r})") if names else options
    host.run("check", options=options.replace("sql.include_name", f"sql.include_name_for(**{names!r})"))
    given = [word for name, value in names.items() for word in ("-x", f"{name}={value}")]
    succeeded, said = autogenerate("-x", f"url={url}", *given, "check")
    assert succeeded, said


def test_include_declared_is_about_those_indexes_alone(engine_of_postgres, postgres_url):
    migrations.upgrade(postgres_url, table_prefix="am_")
    with agentmem.connect(postgres_url, table_prefix="am_") as memory:
        memory.partition("jobs", index_values=True)
    found = {row["name"] for row in inspect(engine_of_postgres).get_indexes("am_memory_entries")}
    kept = {name for name in found if include_declared(name, "index", {"table_name": "am_memory_entries"})}
    assert (len(found), kept) == (2, {"ix_am_memory_entries_expires_at"})
    assert include_declared("ix_memory_entries_value_0123456789abcdef", "index", {})
    assert include_declared(None, "index", {})
    assert include_declared("memory_entries", "table", {})


def test_without_precautions_a_hosts_autogenerate_would_drop_our_tables(host, url):
    host.run("upgrade", "head")
    migrations.upgrade(url)
    with pytest.raises(CommandError, match="memory_entries"):
        host.run("check", options="target_metadata=host")


def test_what_a_downgrade_kept_is_not_proposed_away_either(host, url):
    host.run("upgrade", "head")
    migrations.upgrade(url)
    migrations.downgrade(url, "base")
    host.run("check")


def test_our_autogenerate_proposes_nothing_of_a_host(host, url, autogenerate):
    host.run("upgrade", "head")
    migrations.upgrade(url)
    assert autogenerate("-x", f"url={url}", "check")[0]


def test_a_hosts_own_migration_can_run_ours(host, url, query):
    host.add("second.py", SECOND)
    host.run("upgrade", "bbb")
    assert query("SELECT id FROM orders ORDER BY id") == [(1,), (2,)]
    assert query("SELECT version_num FROM alembic_version") == [("bbb",)]
    migrations.check(url)


def test_a_hosts_script_has_no_connection_to_run_ours_on():
    # op.get_bind() is None there.
    with pytest.raises(ConfigurationError, match=r"not on NoneType; .* `migrations.sql`"):
        migrations.upgrade(None)  # type: ignore[arg-type]  # as a host's script would


def test_a_hosts_failed_migration_takes_ours_back(host, url, query, tables):
    host.add("second.py", SECOND + "    raise ValueError('no')\n")
    with pytest.raises(ValueError, match="no"):
        host.run("upgrade", "bbb", options=f"{EXCLUDED}, transactional_ddl=True, transaction_per_migration=True")
    assert migrations.current(url) is None
    assert query("SELECT id FROM orders") == []
    assert query("SELECT version_num FROM alembic_version") == [("aaa",)]


def test_include_name_is_about_our_tables_alone():
    ours = {*metadata.tables, *(f"{name}_kept" for name in metadata.tables if name != schema.VERSION_TABLE)}
    assert not any(include_name(name, "table", {}) for name in ours)
    assert include_name("orders", "table", {})
    assert include_name("partitions", "schema", {})
    assert include_name(None, "schema", {})
    assert include_name("partitions", "column", {"table_name": "orders"})
    assert include_name("partitions", "table", {"schema_name": "audit"}), "somebody else's, in another schema"


def test_include_name_for_knows_names_and_places():
    filtered = include_name_for(schema="agents", table_prefix="am_")
    assert not filtered("am_memory_entries", "table", {"schema_name": "agents"})
    assert not filtered("am_partitions_kept", "table", {"schema_name": "agents"})
    assert filtered("memory_entries", "table", {"schema_name": "agents"})
    assert filtered("am_memory_entries", "table", {"schema_name": None})
    assert filtered("agents", "schema", {})
    for place in ("public", None):
        assert not include_name_for(schema="public")("partitions", "table", {"schema_name": place})
    for function in (include_name_for, metadata_for):
        with pytest.raises(ConfigurationError, match="table_prefix"):
            function(table_prefix="x" * 30)


@pytest.mark.parametrize("names", [{"table_prefix": "am_"}, {"schema": "agents"}, {"schema": "public"}], ids="-".join)
def test_a_host_can_include_our_metadata_under_other_names(host, url, names):
    if url.startswith("sqlite"):
        names = {"table_prefix": "am_"}
    options = f"target_metadata=[host, agentmem.sql.metadata_for(**{names!r})], include_schemas=True"
    host.run("upgrade", "head", options=options)
    migrations.upgrade(url, **names)
    host.run("check", options=options)
    assert metadata_for() is metadata


def test_logging_is_the_hosts(url, capfd):
    root, alembic_logger = logging.getLogger(), logging.getLogger("alembic")
    before = [(logger.level, logger.disabled, list(logger.handlers)) for logger in (root, alembic_logger)]
    names = set(logging.root.manager.loggerDict)
    migrations.upgrade(url)
    migrations.downgrade(url, "base")
    assert [(logger.level, logger.disabled, list(logger.handlers)) for logger in (root, alembic_logger)] == before
    assert not any(logging.getLogger(name).disabled for name in names)
    assert capfd.readouterr() == ("", "")


def test_no_password_is_logged(postgres_url, caplog):
    with caplog.at_level(logging.DEBUG):
        migrations.upgrade(postgres_url)
    assert "Running upgrade" in caplog.text
    assert postgres_url.split(":")[2].split("@")[0] not in caplog.text


def test_a_table_of_the_hosts_with_our_name_is_not_taken_over(engine, url, query):
    query("CREATE TABLE partitions (id INTEGER)")
    with pytest.raises(BackendError, match=r"partitions.* already exists"):
        migrations.upgrade(url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO partitions VALUES (1)"))
    assert query("SELECT id FROM partitions") == [(1,)]
