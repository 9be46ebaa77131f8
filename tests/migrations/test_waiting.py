"""Those who must not migrate themselves: they look what is pending, and wait for somebody else to do it."""

from __future__ import annotations

import threading
import time

import pytest

from agentmem import migrations
from agentmem.errors import PermissionDenied, SchemaMismatch, Unavailable
from agentmem.sql import revisions, schema
from agentmem.testing.faults import FaultProxy
from agentmem.testing.processes import free_port


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "LOOK_SECONDS", 0.02)


def test_what_is_pending(url, schema_of):
    assert migrations.pending(url) == migrations.history()
    assert schema_of(url) == [], "to look changes nothing"
    migrations.upgrade(url)
    assert migrations.pending(url) == []


def test_what_is_pending_begins_after_the_revision_that_is_there(url, query, monkeypatch):
    migrations.stamp(url, "head")
    query("UPDATE agentmem_version SET version_num = '0000'")
    monkeypatch.setattr(revisions, "KNOWN", ("0000", *schema.KNOWN))
    monkeypatch.setattr(schema, "KNOWN", ("0000", *schema.KNOWN))
    older = migrations.Revision("0000", None, "Nothing.")
    monkeypatch.setattr(revisions, "history", lambda: [older, *migrations.history()])
    assert migrations.pending(url) == migrations.history()


def test_nothing_is_pending_where_the_database_is_ahead(url, query):
    migrations.upgrade(url)
    query("UPDATE agentmem_version SET version_num = '7000'")
    for look in (migrations.pending, lambda place: migrations.wait(place, 30)):
        with pytest.raises(SchemaMismatch, match="upgrade agentmem"):
            look(url)


def test_who_waits_goes_on_when_another_has_upgraded(url, quick):
    waited = threading.Thread(target=migrations.wait, args=(url, 60))
    waited.start()
    time.sleep(0.2)
    assert waited.is_alive()
    migrations.upgrade(url)
    waited.join(30)
    assert not waited.is_alive()
    migrations.wait(url, 0)


def test_who_waits_in_vain_is_told_the_command(url):
    with pytest.raises(SchemaMismatch, match=r"waited 0\.1 s in vain .*run `agentmem db upgrade --url"):
        migrations.wait(url, 0.1)


def test_a_server_that_does_not_answer_yet_is_waited_for(postgres_url, quick):
    migrations.upgrade(postgres_url)
    with FaultProxy(postgres_url) as proxy:
        proxy.refuse()
        with pytest.raises(Unavailable):
            migrations.wait(proxy.url, 0.2)
        threading.Timer(0.3, proxy.accept).start()
        migrations.wait(proxy.url, 30)


def test_a_server_that_takes_connections_and_says_nothing_costs_no_more_than_the_wait(postgres_url):
    with FaultProxy(postgres_url) as proxy:
        proxy.hang()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            migrations.wait(proxy.url, 1)
        assert time.monotonic() - started < 8
        proxy.accept()


def test_what_time_does_not_mend_is_said_at_once(postgres_url, tmp_path):
    (tmp_path / "letter.db").write_text("Dear Ada, " * 100)
    with pytest.raises(Unavailable, match="cannot be used"):
        migrations.wait(f"sqlite:///{tmp_path / 'letter.db'}", 60)
    with pytest.raises(PermissionDenied):
        migrations.wait(postgres_url.replace("agentmem:", "nobody:"), 60)
    with pytest.raises(Unavailable):
        migrations.wait(f"postgresql://127.0.0.1:{free_port()}/x", 0)


def test_a_dry_run_is_what_is_pending_as_a_script(url, schema_of):
    before = schema_of(url)
    script = migrations.sql(url, f"{migrations.current(url) or 'base'}:head")
    assert "CREATE TABLE memory_entries" in script
    assert schema_of(url) == before
    migrations.upgrade(url)
    assert "CREATE TABLE" not in migrations.sql(url, f"{migrations.current(url)}:head")
