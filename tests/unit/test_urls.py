"""R30: what is shown of a URL bears no password, however it is written."""

from __future__ import annotations

from typing import Any

import pytest

from agentmem.urls import is_private, redact, scheme_of

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me@corp:{SECRET}@host/db",
        f"postgresql://me:p@{SECRET}@host/db",
        f"postgresql://me:p/{SECRET}?x#y@host/db",
        f"postgresql://me:line\n{SECRET}@host/db",
        f"redis://:{SECRET}@host:6379/0",
        f"redis+sentinel://:{SECRET}@a:1,b:2/mymaster",
        f"postgresql://host/db?user=me&password={SECRET}",
        f"postgresql://host/db?PASSWORD={SECRET}&x=1",
        f"postgresql://host/db?sslpassword=a;{SECRET}",
        f"redis://host?auth_token={SECRET}",
        f"redis://host?apikey={SECRET}#frag",
        f"host=localhost password={SECRET} dbname=x",
        f"host=localhost password='a {SECRET}' dbname=x",
        f"could not reach redis://:{SECRET}@a nor redis://:{SECRET}@b",
        f"  POSTGRESQL://me:{SECRET}@host",
        f"me:{SECRET}@host/db",
        f":{SECRET}@host",
    ],
)
def test_r30_passwords_do_not_show(url: str) -> None:
    assert SECRET not in redact(url)
    assert "***" in redact(url)


@pytest.mark.parametrize(
    "url",
    ["sqlite:///a/b.db", "sqlite://", "postgresql://me@host:5432/db?a=b", "redis://[::1]:6379/0", "", "no url at all"],
)
def test_what_holds_no_password_stays(url: str) -> None:
    assert redact(url) == url


def test_the_rest_of_a_url_stays() -> None:
    assert (
        redact("postgresql://me:pw@host:5432/db?password=pw&x=1") == "postgresql://me:***@host:5432/db?password=***&x=1"
    )


class Odd:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("odd", [None, 5, b"redis://:s3cr3t@h", object(), Odd(), ["x"], "://", "\ud800", ":@" * 1000])
def test_nothing_raises_on_odd_input(odd: Any) -> None:
    assert isinstance(redact(odd), str)
    assert SECRET not in redact(odd)
    assert isinstance(scheme_of(odd), str)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("sqlite:///x", "sqlite"),
        (" PostgreSQL+psycopg://h", "postgresql+psycopg"),
        ("redis+cluster://h", "redis+cluster"),
        ("/a/path.db", ""),
        ("://", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_scheme_of(url: Any, scheme: str) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_sqlite_in_memory_is_private(url: str) -> None:
    assert is_private(url)


@pytest.mark.parametrize("url", ["sqlite:///a.db", "sqlite:////tmp/a.db", "postgresql://"])
def test_what_another_process_can_reach_is_not_private(url: str) -> None:
    assert not is_private(url)
