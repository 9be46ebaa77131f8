"""Where a URL leads, and what is said of one that leads nowhere (R29, R30, R31)."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Any
from urllib.parse import quote

import pytest
import redis

import agentmem
from agentmem import AgentMemError, ConfigurationError, PermissionDenied, Unavailable
from agentmem.redis.backend import open_servers, parse
from agentmem.testing.processes import free_port
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_server import open_client
from agentmem.testing.support import run_threads

SECRETS = ["tr0ub4dor", "tr0ub%4dor", "tr0ub%41dor", "tr0ub@4dor", "tr0/ub:4dor", "tr0%u@b/4:d?o#r&=+ é"]
#: No part of a secret that is longer than this may show either.
PART = 4

WRONG = [
    "redis://",
    "redis:///0",
    "redis://:6379",
    "redis://h:port",
    "redis://h:-1",
    "redis://h:65536",
    "redis://h:99999999",
    "redis://h/one",
    "redis://h/-1",
    "redis://h/1.5",
    "redis://h/0/1",
    "redis://h?db=x",
    "redis://h?db=-1",
    "redis://h?timeout",
    "redis://h#0",
    "redis://h1,h2",
    "redis://[::1",
    "redis+sentinel://h:1",
    "redis+sentinel://h:1/",
    "redis+sentinel://h:1/service/x",
    "redis+sentinel:///service",
    "redis+cluster://h/1",
    "redis+cluster://h?db=1",
    "redis+cluster:///",
    "unix://",
    "unix://redis.sock",
    "unix://h:1/redis.sock",
    "unix:///redis.sock?db=x",
]
OPTIONS = {
    "timeout=0": "timeout",
    "timeout=soon": "timeout",
    "connect_timeout=-1": "connect_timeout",
    "pool_size=0": "pool_size",
    "pool_timeout=x": "pool_timeout",
    "wait_replicas=-1": "wait_replicas",
    "wait_timeout=0": "wait_timeout",
    "create=maybe": "create",
    "max_value_bytes=0": "max_value_bytes",
    "max_value_bytes=999999999999": "max_value_bytes",
    "ssl_cert_reqs=sometimes": "ssl_cert_reqs",
    "nonsense=1": "nonsense",
    "socket_timeout=1": "socket_timeout",
    "decode_responses=True": "decode_responses",
}


def assert_secret(text: str, secret: str) -> None:
    for form in (secret, quote(secret, safe="")):
        parts = {form[start : start + PART] for start in range(len(form) - PART + 1)}
        assert not [part for part in parts if part in text], text


def shown(error: BaseException) -> str:
    """All that a log would hold of an error: its causes, contexts and notes as well."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)


# Wrong ones


@pytest.mark.parametrize("url", WRONG)
def test_r31_a_url_that_is_wrong_is_refused(url: str) -> None:
    scheme, _, rest = url.partition("://")
    for written in (url, f"{scheme}://tr0:ub4dor@{rest}"):
        with pytest.raises(ConfigurationError) as caught:
            agentmem.connect(written)
        assert "ub4" not in shown(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
def test_r31_an_option_that_is_wrong_is_named(redis_url: str, option: str) -> None:
    for url in (f"{redis_url}&{option}", f"unix:///nowhere?{option}", f"redis+cluster://127.0.0.1:1?{option}"):
        with pytest.raises(ConfigurationError, match=f"option '{OPTIONS[option]}'"):
            agentmem.connect(url)
    name, _, value = option.partition("=")
    with pytest.raises(ConfigurationError, match=f"option '{OPTIONS[option]}'"):
        agentmem.connect(redis_url, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", SECRETS)
def test_r30_a_connection_that_fails_shows_no_password(
    own_server: LocalRedis, secret: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    password = quote(secret, safe="")
    here, nowhere = f"127.0.0.1:{own_server.port}", f"127.0.0.1:{free_port()}"
    for url in (
        f"redis://:{password}@{here}",
        f"redis://user:{password}@{nowhere}",
        f"redis://:{password}@nowhere.invalid",
        f"rediss://:{password}@{nowhere}",
        f"rediss://:{password}@{here}",
        f"unix://:{password}@/nowhere.sock",
        f"redis+cluster://:{password}@{nowhere}",
        f"redis+cluster://:{password}@{here}",
        f"redis+sentinel://:{password}@{nowhere}/service",
        f"redis+sentinel://{nowhere}/service?sentinel_password={password}",
        f"redis+sentinel://{here}/service?sentinel_password={password}",
    ):
        with pytest.raises(AgentMemError) as caught:
            agentmem.connect(url, timeout=0.5, connect_timeout=0.5)
        assert isinstance(caught.value, Unavailable | PermissionDenied), caught.value
        assert_secret(shown(caught.value), secret)
    assert_secret(caplog.text + "".join(capfd.readouterr()), secret)


@pytest.mark.parametrize(
    "template",
    [
        "redis://agentmem:tr0ub4dor@x@127.0.0.1:{port}/0",
        "redis://agentmem:x@tr0ub4dor@127.0.0.1:{port}/0",
        "redis://agentmem:tr0ub4dor@127.0.0.1:tr0ub4dor@x/0",
        "redis://agentmem:tr0/ub4dor@127.0.0.1:{port}/0",
        "redis://agentmem:tr0?ub4dor@127.0.0.1:{port}/0",
        "redis://agentmem:tr0#ub4dor@127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}/0?password=tr0ub4dor",
        "redis://127.0.0.1:{port}/0?sentinel_password=tr0ub4dor&nonsense=1",
        "redis://agentmem:tr0ub4dor@127.0.0.1:{port}/tr0ub4dor@0",
        "valkey://agentmem:tr0ub4dor@127.0.0.1:{port}/0",
    ],
)
def test_r30_a_url_that_was_written_carelessly_shows_no_password(template: str) -> None:
    with pytest.raises(AgentMemError) as caught:
        agentmem.connect(template.format(port=free_port()))
    assert "ub4" not in shown(caught.value)


def test_r30_what_works_shows_no_password(own_server: LocalRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Ours ends in `%@/`: whoever forgets to unquote or to quote is found out here."""
    caplog.set_level(logging.DEBUG)
    with agentmem.connect(own_server.new_store()) as memory:
        memory.put("key", 1)
        repository = memory._gateway.repository
        texts = [repr(memory), str(memory), repr(repository), repr(memory.stats()), repr(memory.scoped("a/"))]
        texts += [repr(vars(repository)), repr(memory.transaction())]
        for call in (lambda: memory.put("key", 1, if_version=1), lambda: memory.append("key", 1)):
            with pytest.raises(AgentMemError) as caught:
                call()
            texts.append(shown(caught.value))
    for text in [*texts, caplog.text]:
        assert_secret(text, own_server.password)


# Right ones


def test_a_database_is_a_number_in_the_path_or_in_the_query(own_server: LocalRedis) -> None:
    for number, url in enumerate((own_server.url(), own_server.url(1), f"{own_server.url().rpartition('/')[0]}?db=2")):
        with agentmem.connect(url, key_prefix="numbered") as memory:
            memory.put("key", number)
    for number in range(3):
        with open_client(own_server.url(number)) as client:
            assert client.exists("numbered:{default}:e:key") == 1
        with agentmem.connect(own_server.url(number), key_prefix="numbered") as memory:
            assert memory.get("key") == number


def test_a_database_that_the_server_does_not_have(own_server: LocalRedis) -> None:
    with pytest.raises(Unavailable) as caught:
        agentmem.connect(own_server.url(99))
    assert not caught.value.retryable


def test_a_socket_of_this_machine(own_server: LocalRedis) -> None:
    for number in (0, 1):
        with agentmem.connect(f"{own_server.socket_url(number)}&key_prefix=socket&pool_size=2") as memory:
            assert memory.put("key", number).value == number
        with agentmem.connect(own_server.url(number), key_prefix="socket") as memory:
            assert memory.get("key") == number
    with pytest.raises(Unavailable):
        agentmem.connect("unix:///nowhere/redis.sock")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_host_by_name_and_by_address(own_server: LocalRedis, host: str) -> None:
    url = own_server.new_store().replace("127.0.0.1", host)
    with agentmem.connect(url) as memory:
        memory.ping()


def test_a_url_is_taken_apart() -> None:
    address = parse("rediss+sentinel://us%40er:p%2Fw@one,two:5,[::1]:6/my%20master/3?timeout=5&key_prefix=a")
    assert (address.kind, address.tls, address.username, address.password) == ("sentinel", True, "us@er", "p/w")
    assert address.hosts == [("one", 26379), ("two", 5), ("::1", 6)]
    assert (address.path, address.query) == ("my%20master/3", {"timeout": "5", "key_prefix": "a"})
    plain = parse("redis://host")
    assert (plain.kind, plain.tls, plain.hosts, plain.username, plain.password) == (
        "redis",
        False,
        [("host", 6379)],
        None,
        None,
    )


def test_threads_that_ask_sentinels_at_once_forget_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py puts the one that answers first in its list, in place of others where two threads do so at once."""
    ports, asked = [free_port() for _ in range(3)], set()
    together = threading.Barrier(2)

    def masters(sentinel: redis.Redis) -> dict[str, dict[str, Any]]:
        port = sentinel.get_connection_kwargs()["port"]
        asked.add(port)
        if together.broken or port == ports[0]:
            raise redis.ConnectionError
        together.wait(10)
        state = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
        return {"service": {**state, "ip": "127.0.0.1", "port": 1}}

    monkeypatch.setattr(redis.Redis, "sentinel_masters", masters)
    servers, _ = open_servers(f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in ports)}/service", {})
    run_threads(2, lambda _: servers.dedicated())
    together.abort()
    asked.clear()
    with pytest.raises(redis.ConnectionError):
        servers.dedicated()
    assert asked == set(ports)
    servers.close()


def test_a_user_may_be_an_option(own_server: LocalRedis) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "somebody", "on", ">w@rd", "~*", "+@all")
    url = f"redis://:w%40rd@127.0.0.1:{own_server.port}"
    with agentmem.connect(url, username="somebody") as memory:
        memory.ping()
    with pytest.raises(PermissionDenied):
        agentmem.connect(url)
