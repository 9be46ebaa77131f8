"""What a role must be allowed on PostgreSQL: docs/deploy.md names it, and it is enough."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

import agentmem
from agentmem import PermissionDenied, migrations

pytestmark = pytest.mark.postgres
GRANTS = """
    GRANT USAGE ON SCHEMA agents TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE
        ON agents.partitions, agents.memory_entries, agents.queue_items, agents.learned_values TO {role};
    GRANT USAGE ON SEQUENCE agents.queue_items_id_seq TO {role};
    GRANT SELECT ON agents.agentmem_version TO {role};
    GRANT TEMPORARY ON DATABASE {database} TO {role};
"""


@pytest.fixture
def pod_url(postgres_url: str) -> Iterator[str]:
    """Of a database that its owner has set up, for a role with the rights of the documents and no others."""
    migrations.upgrade(postgres_url, schema="agents")
    url = make_url(postgres_url)
    role = f"pod_{url.database}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pod'")
        connection.execute(f"REVOKE ALL ON DATABASE {url.database} FROM PUBLIC")
        connection.execute(f"GRANT CONNECT ON DATABASE {url.database} TO {role}")
        connection.execute(GRANTS.format(role=role, database=url.database).encode())
        yield url.set(username=role, password="pod").render_as_string(hide_password=False)
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


def test_the_rights_in_the_documents_are_enough(pod_url: str) -> None:
    migrations.wait(pod_url, 0, schema="agents")
    with agentmem.connect(pod_url, schema="agents", create="always") as memory:
        memory.put("key", 1, ttl=60)
        memory.put_many({f"many/{number}": number for number in range(6_000)})
        memory.increment("n")
        memory.append("list", 1)
        memory.run(lambda tx: tx.put("key", tx.get("key") + 1))
        jobs = memory.partition("jobs", default_ttl=60)
        jobs.put("a", 1)
        jobs.queue("q").put(1)
        jobs.qtable("q").update_many([("s", "a", 1.0), ("s", "b", 1.0, "s")])
        assert jobs.qtable("q").decay(0.5) == 2
        assert memory.count(where={(): {"$gte": 0}}) == 6_002
        assert memory.delete_matching("many/*") == 6_000
        assert (memory.purge_expired(), memory.drop_partition("jobs"), memory.check()) == (0, 1, [])
        assert memory.stats().entries == 3
        assert memory.clear() == 3


def test_it_may_not_migrate(pod_url: str) -> None:
    with pytest.raises(PermissionDenied):
        migrations.upgrade(pod_url, schema="others")
    with pytest.raises(PermissionDenied):
        migrations.downgrade(pod_url, "base", schema="agents")
    migrations.check(pod_url, schema="agents")
