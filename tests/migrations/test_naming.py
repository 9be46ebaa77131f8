"""Tables in a schema of their own, or with a prefix to their names: in migrations, in use, and beside others."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine, inspect, make_url

import agentmem
from agentmem import ConfigurationError, Put, SchemaMismatch, VersionConflict, migrations
from agentmem.sql import metadata, schema
from agentmem.sql.engines import normalised
from agentmem.sql.naming import Naming
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

NAMES: list[dict[str, Any]] = [
    {"schema": "agents"},
    {"table_prefix": "am_"},
    {"schema": "Odd \"na'me; DROP", "table_prefix": "Grüße - "},
]


def names_for(url: str) -> list[dict[str, Any]]:
    return NAMES if url.startswith("postgresql") else [{k: v for k, v in n.items() if k != "schema"} for n in NAMES[1:]]


@pytest.fixture(params=range(3))
def names(url: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    found = names_for(url)
    if request.param >= len(found):
        pytest.skip("SQLite has no schemas")
    return found[request.param]


def everything_works(memory: agentmem.Memory) -> None:
    """Every statement that names a table, and those of the slow paths."""
    memory.put("a", {"n": 1}, ttl=60)
    memory.put_many({f"many/{i}": i for i in range(1200)})
    memory.put_many({"few/1": 1, "few/2": 2})
    assert memory.get("a") == {"n": 1}
    assert memory.get_many(["a", "few/1"]) == {"a": {"n": 1}, "few/1": 1}
    assert memory.increment("n") == 1
    assert memory.append("list", 1, 2) == 2
    assert memory.merge("a", {"m": 2}).value == {"n": 1, "m": 2}
    assert memory.touch("a", None)
    version = memory.put("a", 1).version
    memory.put("a", 2, if_version=version)
    with pytest.raises(VersionConflict):
        memory.put("a", 3, if_absent=True)
    memory.apply([Put("b", 1), Put("c", 2)])
    memory.run(lambda tx: tx.put("d", tx.get("b")))
    assert len(memory.search("many/*", where={"@version": {"$gt": 0}}, order="updated", limit=7)) == 7
    assert memory.count("many/*") == 1200
    assert memory.delete_matching("many/*", where={"@version": {"$gt": 0}}) == 1200
    assert memory.pop("d") == 1
    assert memory.delete_many(["b", "c"]) == 2
    assert memory.partition("jobs", default_ttl=60, namespace="x/").put("x/1", 1).expires_at is not None
    assert memory.stats().partitions == {"default": 5, "jobs": 1}
    learned = memory.partition("jobs")
    assert learned.qtable("x/q").update_many([("s", "a", 1.0), ("s", "b", 1.0)]) == [0.1, 0.1]
    assert (learned.qtable("x/q").best("s"), learned.qtables()) == ("a", ["x/q"])
    assert memory.drop_partition("jobs") == 1
    assert learned.qtables() == []
    assert memory.purge_expired() == 0
    assert memory.check() == []
    assert memory.clear() == 5


def test_everything_works(url: str, names: dict[str, Any]) -> None:
    with agentmem.connect(url, create="always", **names) as memory:
        everything_works(memory)
    engine = create_engine(normalised(make_url(url)))
    with engine.connect() as connection:
        found = inspect(connection).get_table_names(schema=names.get("schema"))
        prefix = names.get("table_prefix", "")
        assert sorted(found) == sorted(prefix + name for name in metadata.tables)
        with agentmem.connect(engine, **names) as guest:
            guest.using(connection).put("key", 1)
            connection.commit()
            assert guest.get("key") == 1
    engine.dispose()


def test_installations_beside_each_other_know_nothing_of_each_other(url: str) -> None:
    everywhere: list[dict[str, Any]] = [{}, *names_for(url)]
    memories = [agentmem.connect(url, create="always", **names) for names in everywhere]
    for number, memory in enumerate(memories):
        memory.put("key", number)
    assert [memory.get("key") for memory in memories] == list(range(len(memories)))
    memories[1].drop_partition("default")
    assert [memory.count() for memory in memories] == [1, 0, *[1] * (len(memories) - 2)]
    migrations.downgrade(url, "base", **everywhere[-1])
    assert migrations.current(url, **everywhere[-1]) is None
    assert migrations.current(url) == schema.HEAD
    migrations.upgrade(url, **everywhere[-1])
    assert memories[-1].get("key") == len(memories) - 1
    for memory in memories:
        memory.close()


def test_many_at_once(url: str, names: dict[str, Any]) -> None:
    run_threads(6, lambda _: migrations.upgrade(url, **names))
    migrations.check(url, **names)
    with pytest.raises(SchemaMismatch, match="no agentmem schema"):
        migrations.check(url)


def test_the_message_names_the_command(url: str, names: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        agentmem.connect(url, create="never", **names)
    for name, value in names.items():
        assert f"-o {shlex.quote(f'{name}={value}')}" in str(caught.value)


def test_names_may_stand_in_the_url(url: str) -> None:
    asked = "table_prefix=am_&pool_size=2" + ("&schema=agents" if url.startswith("postgresql") else "")
    place = f"{url}?{asked}"
    with pytest.raises(SchemaMismatch, match="table_prefix=am_"):
        migrations.check(place)
    migrations.upgrade(place)
    migrations.check(place)
    assert "am_partitions" in migrations.sql(place)
    with agentmem.connect(place) as memory:
        memory.put("key", 1)
    names: dict[str, Any] = {"table_prefix": "am_", **({"schema": "agents"} if url.startswith("postgresql") else {})}
    with agentmem.connect(url, **names) as memory:
        assert memory.get("key") == 1
    with pytest.raises(ConfigurationError, match="pool_size"):
        agentmem.connect(f"{url}?pool_size=many")


@pytest.mark.parametrize("way", ["option", "variable"])
def test_alembics_own_command_takes_them_from_the_url_too(
    url: str, alembic: Callable[..., subprocess.CompletedProcess[str]], tables: Callable[[str], set[str]], way: str
) -> None:
    place = f"{url}?table_prefix=am_" + ("&schema=agents" if url.startswith("postgresql") else "")
    words, variables = (("-x", f"url={place}"), {}) if way == "option" else ((), {"AGENTMEM_URL": place})
    for command in ("upgrade", "check"):
        done = alembic(*words, command, *(["head"] if command == "upgrade" else []), **variables)
        assert (done.returncode, done.stderr) == (0, "")
    migrations.check(place)
    assert "partitions" not in tables(url)
    assert alembic(*words, "upgrade", "head", "--sql", **variables).stdout == migrations.sql(place)


def test_alembics_own_command_says_which_name_is_refused(
    url: str, alembic: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = alembic("-x", f"url={url}?table_prefix=a&table_prefix=b", "upgrade", "head")
    assert done.returncode != 0
    assert "option 'table_prefix': 0 to 24 bytes" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_makes_the_same(url: str, names: dict[str, Any]) -> None:
    script = migrations.sql(url, **names)
    engine = create_engine(normalised(make_url(url)))
    with engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        if engine.dialect.name == "sqlite":
            raw.executescript(script)
        else:
            raw.execute(script.replace("BEGIN;", "").replace("COMMIT;", ""))
    engine.dispose()
    with agentmem.connect(url, create="never", **names) as memory:
        everything_works(memory)


def test_a_script_finds_the_schema_that_is_there(postgres_url: str) -> None:
    """And needs no right to make one then."""
    script = migrations.sql(postgres_url, schema="agents").replace("BEGIN;", "").replace("COMMIT;", "")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA agents")
        connection.execute(script.encode())
    migrations.check(postgres_url, schema="agents")
    assert "CREATE SCHEMA" not in migrations.sql(postgres_url, "0001:base", schema="agents")


def test_models_and_migrations_agree(url: str, names: dict[str, Any]) -> None:
    """No drift, as `alembic check` says it."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrations.upgrade(url, **names)
    naming = Naming(**names)
    target = naming.tables(metadata)
    engine = create_engine(normalised(make_url(url)))

    def ours(name: str | None, type_: str, _: Any) -> bool:
        return name == naming.schema if type_ == "schema" else True

    with engine.connect() as connection:
        options = {
            "include_schemas": naming.schema is not None,
            "include_name": ours,
            "version_table": naming.table("agentmem_version"),
            "version_table_schema": naming.schema,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, target) == []
    engine.dispose()


@pytest.mark.parametrize(
    "options",
    [
        {"table_prefix": "x" * 25},
        {"table_prefix": "a%b"},
        {"table_prefix": "a:b"},
        {"table_prefix": "a$$b"},
        {"table_prefix": "a{b"},
        {"table_prefix": "a\0b"},
        {"table_prefix": "a\ud800"},
        {"table_prefix": 3},
        {"schema": "s" * 64},
        {"schema": ""},
    ],
    ids=ascii,
)
def test_names_that_are_refused(postgres_url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        agentmem.connect(postgres_url, **options)
    with pytest.raises(ConfigurationError):
        migrations.upgrade(postgres_url, **options)


def test_sqlite_has_no_schemas(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no schemas|has none"):
        agentmem.connect(sqlite_url, schema="agents")
    with pytest.raises(ConfigurationError, match="no schemas"):
        migrations.upgrade(sqlite_url, schema="agents")
