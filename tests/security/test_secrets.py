"""R30: a password is in no message, repr, cause, note or log, whatever goes wrong; and nothing unpickles."""

from __future__ import annotations

import ast
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

import agentmem
from agentmem import AgentMemError, PermissionDenied, Unavailable
from agentmem.sql import migrations
from agentmem.sql.engines import normalised
from agentmem.testing.faults import FaultProxy
from agentmem.testing.processes import free_port

if TYPE_CHECKING:
    from agentmem.testing.servers import PostgresServer

SECRETS = {
    "plain": "tr0ub4dor",
    "percent": "tr0ub%4dor",
    "percent that looks quoted": "tr0ub%41dor",
    "at": "tr0ub@4dor",
    "slash and colon": "tr0/ub:4dor",
    "everything": "tr0%u@b/4:d?o#r&=+ é",
}
#: No part of a secret that is longer than this may show either.
PART = 4


def assert_secret(text: str, secret: str) -> None:
    for form in (secret, quote(secret, safe="")):
        parts = {form[start : start + PART] for start in range(len(form) - PART + 1)}
        assert not [part for part in parts if part in text], text


def shown(error: BaseException) -> str:
    """All that a log would hold of an error: its causes, contexts and notes as well."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)


def with_password(url: str, password: str, **changes: str) -> str:
    parts = urlsplit(url)
    address = changes.get("address", parts.netloc.rpartition("@")[2])
    return f"postgresql://agentmem:{password}@{address}/{changes.get('database', parts.path[1:])}"


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("fault", ["unreachable", "no such host", "wrong password", "no such database", "cut"])
def test_a_connection_that_fails_shows_no_password(
    postgres_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    secret: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    password = quote(secret, safe="")
    url = with_password(postgres_server.url(), password)
    with FaultProxy(postgres_server.url()) as proxy:
        urls = {
            "unreachable": with_password(url, password, address=f"127.0.0.1:{free_port()}"),
            "no such host": with_password(url, password, address="nowhere.invalid"),
            "wrong password": url,
            "no such database": with_password(url, password, database="nowhere"),
            "cut": with_password(url, password, address=f"127.0.0.1:{proxy.port}"),
        }
        proxy.lose_request(containing=b"agentmem")
        for opening in (agentmem.connect, migrations.upgrade, migrations.check):
            with pytest.raises(AgentMemError) as caught:
                opening(urls[fault])
            assert_secret(shown(caught.value), secret)
    assert_secret(caplog.text + "".join(capfd.readouterr()), secret)


UNQUOTED = [
    "postgresql://agentmem:tr0ub4dor@x@127.0.0.1:{port}/db",
    "postgresql://agentmem:x@tr0ub4dor@127.0.0.1:{port}/db",
    "postgresql://agentmem:tr0ub4dor@127.0.0.1:tr0ub4dor@x/db",
    "postgresql://agentmem:x@y:tr0ub4dor@127.0.0.1:{port}/db",
    "postgresql://agentmem:tr0/ub4dor@127.0.0.1:{port}/db",
    "postgresql://agentmem:tr0?ub4dor@127.0.0.1:{port}/db",
    "postgresql://agentmem:tr0#ub4dor@127.0.0.1:{port}/db",
    "postgresql://127.0.0.1:{port}/db?user=agentmem&password=tr0ub4dor",
    "postgresql://127.0.0.1:{port}/db?sslpassword=tr0ub4dor&nonsense=1",
    "postgresql://agentmem:tr0ub4dor@127.0.0.1:99999999/db",
    "postgresql://agentmem:tr0ub4dor@127.0.0.1:port/db",
    "postgresql://agentmem:tr0ub4dor@[::1/db",
    "postgresql://agentmem:tr0ub4dor@127.0.0.1:{port}/db?nonsense=1",
    "postgresql://agentmem:tr0ub4dor@127.0.0.1:{port}/db?connect_timeout=soon",
    "postgresql+asyncpg://agentmem:tr0ub4dor@127.0.0.1:{port}/db",
    "mysql://agentmem:tr0ub4dor@127.0.0.1:{port}/db",
    "sqlite://agentmem:tr0ub4dor@127.0.0.1/db",
]


@pytest.mark.parametrize("template", UNQUOTED)
def test_a_url_that_is_wrong_shows_no_password(caplog: pytest.LogCaptureFixture, template: str) -> None:
    caplog.set_level(logging.DEBUG)
    for opening in (agentmem.connect, migrations.upgrade, migrations.check):
        with pytest.raises(AgentMemError) as caught:
            opening(template.format(port=free_port()))
        assert "tr0" not in shown(caught.value)
        assert "ub4" not in shown(caught.value)
    assert "ub4" not in caplog.text


@pytest.mark.postgres
def test_what_works_shows_no_password(
    postgres_schema_url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor what is made with it: handles, engines, statistics, pickles aside."""
    secret = make_url(postgres_schema_url).password
    assert isinstance(secret, str)
    caplog.set_level(logging.DEBUG)
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("key", 1)
        repository = memory._gateway.repository
        texts = [repr(memory), str(memory), repr(repository), repository.location, repr(repository.engine)]  # type: ignore[attr-defined]
        texts += [
            repr(memory.stats()),
            repr(memory.scoped("a/")),
            repr(memory.partition("b")),
            repr(memory.transaction()),
        ]
        texts += [repr(vars(error)) for error in errors_of(memory)]
    for text in [*texts, caplog.text, *capfd.readouterr()]:
        assert_secret(text, str(secret))


def errors_of(memory: agentmem.Memory) -> list[AgentMemError]:
    found = []
    for call in (lambda: memory.put("key", 1, if_version=1), lambda: memory.append("key", 1), lambda: memory.get("")):
        with pytest.raises(AgentMemError) as caught:
            call()
        found.append(caught.value)
    return found


@pytest.mark.postgres
def test_the_right_password_needs_its_quotes(postgres_server: PostgresServer) -> None:
    """Our servers' passwords end in `%@/`: whoever forgets to unquote or to quote is found out here."""
    url = postgres_server.new_database()
    try:
        with agentmem.connect(url, create="always") as memory:
            assert memory.put("key", 1).value == 1
        engine = create_engine(normalised(make_url(url)))
        with agentmem.connect(engine) as memory:
            assert memory.get("key") == 1
        engine.dispose()
    finally:
        postgres_server.drop_database(url)


@pytest.mark.postgres
def test_a_wrong_password_is_told_from_a_server_that_is_away(postgres_server: PostgresServer) -> None:
    with pytest.raises(PermissionDenied):
        agentmem.connect(with_password(postgres_server.url(), "wrong"))
    with pytest.raises(Unavailable):
        agentmem.connect(with_password(postgres_server.url(), "wrong", address=f"127.0.0.1:{free_port()}"))
    with psycopg.connect(postgres_server.url()) as connection:
        assert connection.info.status.name == "OK"


# No pickle

PACKAGE = Path(agentmem.__file__).parent
FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "jsonpickle", "shelve", "joblib", "yaml"}
#: What would run code that it is given; `marshal.dumps` writes, and reads nothing.
FORBIDDEN_CALLS = {"eval", "exec", "__import__", "compile"}


def modules() -> list[Path]:
    """All but the tests that are shipped: they pickle what they have made themselves."""
    return sorted(path for path in PACKAGE.rglob("*.py") if PACKAGE / "testing" not in path.parents)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_unpickles_or_evaluates(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & FORBIDDEN, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN, ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, ast.unparse(node)
        elif isinstance(node, ast.Attribute):
            assert not (node.attr in {"loads", "load"} and ast.unparse(node.value) == "marshal"), ast.unparse(node)


def test_the_scan_sees_the_whole_package() -> None:
    assert len(modules()) > 50
    assert PACKAGE / "sql" / "postgres.py" in modules()
