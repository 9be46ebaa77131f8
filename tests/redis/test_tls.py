"""Connections over TLS: trusted, refused, and kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import trustme

import agentmem
from agentmem import Unavailable
from agentmem.testing.binaries import tls_redis_binaries
from agentmem.testing.faults import FaultProxy
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_sentinels import SERVICE, Sentinel
from agentmem.testing.redis_server import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=tls_redis_binaries(), ids=lambda program: "-".join(program.parts[-3:-1]))
def tls_server(request: pytest.FixtureRequest) -> Iterator[LocalRedis]:
    """One that speaks TLS alone, with a certificate of its own authority."""
    with LocalRedis(request.param, tls=True) as server:
        yield server


def over_tls(server: LocalRedis, **query: str) -> str:
    pairs = {"key_prefix": "tls", **query}
    return urlsplit(server.url())._replace(query=urlencode(pairs)).geturl()


class SentinelOverTls(Sentinel):
    """One that speaks TLS alone, as the server that it watches; with that server's certificate."""

    def url(self, database: int = 0) -> str:
        return make_url("rediss", "", f"127.0.0.1:{self._port}/{database}", ssl_ca_certs=authority_of(self._master))

    def _settings(self) -> list[str]:
        home = Path(authority_of(self._master)).parent
        return [
            *(line for line in super()._settings() if not line.startswith("port ")),
            *("port 0", f"tls-port {self._port}", "tls-replication yes", "tls-auth-clients no"),
            *(f"tls-cert-file {home}/server.pem", f"tls-key-file {home}/server.key", f"tls-ca-cert-file {home}/ca.pem"),
        ]


def authority_of(server: LocalRedis) -> str:
    return parse_qs(urlsplit(server.url()).query)["ssl_ca_certs"][0]


def test_tls_with_the_right_authority(tls_server: LocalRedis) -> None:
    with agentmem.connect(over_tls(tls_server, ssl_ca_certs=authority_of(tls_server))) as memory:
        memory.put("key", "x" * 500_000)
        for _ in range(3):
            assert memory.get("key") == "x" * 500_000
        memory.apply([agentmem.Append("list", 1), agentmem.Put("key", 1)])
        assert memory.check() == []


@pytest.mark.parametrize("fault", ["unknown authority", "another authority", "another name", "no such file", "no TLS"])
def test_tls_that_cannot_be_trusted_is_refused(
    tls_server: LocalRedis, own_server: LocalRedis, tmp_path: Path, fault: str
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    right = authority_of(tls_server)
    urls = {
        "unknown authority": over_tls(tls_server),
        "another authority": over_tls(tls_server, ssl_ca_certs=str(tmp_path / "other.pem")),
        "another name": over_tls(tls_server, ssl_ca_certs=right).replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        "no such file": over_tls(tls_server, ssl_ca_certs=str(tmp_path / "nowhere.pem")),
        "no TLS": over_tls(own_server, ssl_ca_certs=right).replace("redis://", "rediss://"),
    }
    with pytest.raises(Unavailable) as caught:
        agentmem.connect(urls[fault], timeout=0.5)
    assert tls_server.password not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_connection_over_tls_rests_and_is_used_again(tls_server: LocalRedis) -> None:
    """TLS 1.3 sends tickets that nobody asked for: they must not make a connection look cut."""
    url = over_tls(tls_server, ssl_ca_certs=authority_of(tls_server))
    with FaultProxy(url) as proxy, agentmem.connect(proxy.url, pool_size=1) as memory:
        for n in range(5):
            memory.put("key", n)
            time.sleep(0.05)
        assert proxy.connections == 1
        proxy.cut()
        time.sleep(0.1)
        assert memory.get("key") == 4
        assert proxy.connections == 2


def test_tls_without_its_checks_by_request_alone(tls_server: LocalRedis) -> None:
    with agentmem.connect(over_tls(tls_server, ssl_cert_reqs="none")) as memory:
        memory.ping()
    other_name = over_tls(tls_server, ssl_ca_certs=authority_of(tls_server), ssl_check_hostname="false")
    with agentmem.connect(other_name.replace("127.0.0.1", "[::ffff:127.0.0.1]")) as memory:
        memory.ping()


def test_tls_is_spoken_to_a_server_that_asks_for_it(tls_server: LocalRedis) -> None:
    plain: Any = over_tls(tls_server).replace("rediss://", "redis://")
    with pytest.raises(Unavailable):
        agentmem.connect(plain, timeout=0.5)


def test_what_is_said_to_sentinels_is_encrypted_too(tls_server: LocalRedis) -> None:
    query = {"key_prefix": "tls", "ssl_ca_certs": authority_of(tls_server)}
    with SentinelOverTls(tls_server._program, kind="local", master=tls_server, password=None) as sentinel:
        place = f"127.0.0.1:{sentinel.port}/{SERVICE}"
        with agentmem.connect(make_url("rediss+sentinel", tls_server.password, place, **query)) as memory:
            assert memory.put("key", 1).value == 1
