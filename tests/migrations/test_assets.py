"""A stored database of every revision that was released is upgraded and used: tests/assets/make.py made them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import agentmem
from agentmem import SchemaMismatch, VersionConflict, migrations
from agentmem.memory import Memory
from agentmem.redis.layout import VERSION
from agentmem.sql import schema
from agentmem.testing.redis_server import RedisServer

STORED = Path(__file__).resolve().parents[1] / "assets" / "stored"
NAMES = sorted(path.name for path in STORED.iterdir() if path.suffix != ".json")


def restore_sqlite(request: pytest.FixtureRequest, source: Path) -> str:
    url = str(request.getfixturevalue("sqlite_url"))
    shutil.copy(source, url.removeprefix("sqlite:///"))
    return url


def restore_postgresql(request: pytest.FixtureRequest, source: Path) -> str:
    url = str(request.getfixturevalue("postgres_url"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(source.read_bytes())
    return url


def restore_redis(request: pytest.FixtureRequest, source: Path) -> str:
    server: RedisServer = request.getfixturevalue("redis_server")
    url = str(request.getfixturevalue("redis_url"))
    prefix = url.rpartition("key_prefix=")[2].encode()
    with server.client() as client:
        for line in source.read_text().splitlines():
            name, key, *rest = (word.encode("latin-1") for word in json.loads(line))
            client.execute_command(name.decode(), key.replace(b"\xabP\xbb", prefix, 1), *rest)
    return url


RESTORE: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {
    "sqlite": restore_sqlite,
    "postgresql": restore_postgresql,
    "redis": restore_redis,
}


@pytest.fixture(params=NAMES)
def stored(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The URL of a stored database, and what it holds."""
    revision, backend = request.param.split(".")
    url = RESTORE[backend](request, STORED / request.param)
    assert backend == "redis" or migrations.current(url) == revision
    return url, json.loads((STORED / f"{request.param}.json").read_text())


def content(memory: Memory) -> dict[str, Any]:
    """As the script wrote it down."""
    policies, entries, queues = [], [], []
    for each in sorted(memory.partitions(), key=lambda partition: partition.name):
        ttl = each.default_ttl and each.default_ttl.total_seconds()
        policies.append([each.name, ttl, each.namespace, each.description])
        for e in memory.partition(each.name).items():
            moments = [moment and moment.isoformat() for moment in (e.created_at, e.updated_at, e.expires_at)]
            entries.append([each.name, e.key, e.value, e.metadata, e.version, *moments])
        for name in memory.partition(each.name).queues():
            queue = memory.partition(each.name).queue(name)
            items = [[i.id, i.value, i.priority, i.group, i.dedup_key, i.error] for i in (*queue.peek(), *queue.dead())]
            queues.append([each.name, name, list(queue.counts()), items])
    # The oldest have no queues.
    return {"policies": policies, "entries": entries} | ({"queues": queues} if queues else {})


def test_every_revision_has_its_stored_databases() -> None:
    """If it fails: run tests/assets/make.py before the release of a revision."""
    expected = {f"{revision}.{backend}" for revision in schema.KNOWN for backend in ("sqlite", "postgresql")}
    assert {*NAMES} >= expected | {f"{VERSION}.redis"}


def test_all_of_it_is_there_after_an_upgrade(stored: tuple[str, dict[str, Any]]) -> None:
    url, expected = stored
    with agentmem.connect(url, create="always") as memory:
        assert repr(content(memory)) == repr(expected)
        assert memory.check() == []
    if not url.startswith("redis"):
        migrations.check(url)


def test_it_can_be_used_after_an_upgrade(stored: tuple[str, dict[str, Any]]) -> None:
    url, _ = stored
    with agentmem.connect(url, create="always") as memory:
        changed = memory.entry("changed")
        assert changed is not None
        assert memory.put("changed", "again", if_version=changed.version).version > changed.version
        with pytest.raises(VersionConflict):
            memory.put("changed", 0, if_version=changed.version)
        assert (memory.increment("counter"), memory.append("list", 5)) == (36, 6)
        assert memory.search("*", where={"@metadata.owner": "Ada"})[0].key == "with/metadata"
        jobs = memory.partition("jobs {1}: 100 %")
        assert jobs.count(where={"done": True}) == 30
        with pytest.raises(agentmem.NamespaceError):
            jobs.put("elsewhere", 1)
        assert jobs.put("job/new", 1).expires_at is not None
        assert memory.purge_expired() == 0
        assert memory.drop_partition("jobs {1}: 100 %") == 61
        assert memory.check() == []


@pytest.mark.parametrize("stored", [name for name in NAMES if "redis" not in name], indirect=True)
def test_it_survives_a_downgrade_and_another_upgrade(stored: tuple[str, dict[str, Any]]) -> None:
    url, expected = stored
    migrations.upgrade(url)
    for revision in (*reversed(schema.KNOWN[:-1]), "base"):
        migrations.downgrade(url, revision)
    migrations.upgrade(url)
    with agentmem.connect(url) as memory:
        assert repr(content(memory)) == repr(expected)
        assert memory.check() == []


@pytest.mark.parametrize("name", NAMES)
def test_one_that_a_newer_agentmem_has_upgraded_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    backend = name.split(".")[1]
    url = RESTORE[backend](request, STORED / name)
    if backend == "redis":
        with request.getfixturevalue("redis_server").client() as client:
            client.set(f"{url.rpartition('key_prefix=')[2]}:layout", "7000")
    else:
        migrations.stamp(url, "head")
        ahead(url)
    with pytest.raises(SchemaMismatch, match="upgrade agentmem"):
        agentmem.connect(url, create="always")


def ahead(url: str) -> None:
    from sqlalchemy import create_engine, make_url, text

    from agentmem.sql.engines import normalised

    engine = create_engine(normalised(make_url(url)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE agentmem_version SET version_num = '7000'"))
    engine.dispose()
