"""Redis Cluster with something going on: masters that die, hosts that share their client, forks."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.crc import key_slot

import agentmem
from agentmem import Closed, PermissionDenied, Unavailable
from agentmem.testing.redis_cluster import RedisCluster
from agentmem.testing.redis_server import key_prefix, open_client
from agentmem.testing.support import eventually, run_threads
from agentmem.testing.witnesses import assert_consistent, assert_counted, lost, witnessed

if TYPE_CHECKING:
    from agentmem.memory import Memory

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.redis, pytest.mark.timeout(240)]


# Masters that die


def test_r34_a_master_that_is_killed_is_replaced_and_what_replicas_had_is_kept(
    nodes: Any, cluster: RedisCluster, cluster_url: str, record_property: Any
) -> None:
    with agentmem.connect(cluster_url, pool_size=4, wait_replicas=1, wait_timeout=0.5, timeout=3) as memory:
        memory.put("key", 1)
        owner = nodes.owner(nodes.slot_of(memory))

        replaced: list[float] = []

        def kill(over: threading.Event) -> None:
            time.sleep(0.5)
            owner.kill()
            cluster.wait_ready()
            cluster.start()  # it comes back as the replica that writes wait for
            replaced.append(time.monotonic())
            time.sleep(1)

        witnesses = witnessed(memory, 4, kill)
        record_property("refused", sum(witness.refused for witness in witnesses))
        assert sum(witness.refused for witness in witnesses) > 0
        assert lost(memory, witnesses) == {}
        assert_counted(memory, witnesses)
        assert all(max(witness.confirmed.values()) > replaced[0] for witness in witnesses)
        memory.delete("key")
        assert_consistent(memory, witnesses)
        assert len(memory.stats().server["nodes"]) == 3


def test_r34_a_handle_knows_the_cluster_after_all_its_nodes_were_restarted(
    cluster: RedisCluster, cluster_url: str
) -> None:
    with agentmem.connect(cluster_url) as memory:
        memory.put("key", 1)
        cluster.stop()
        for call in (lambda: memory.get("key"), lambda: memory.put("key", 2), memory.count):
            with pytest.raises(Unavailable):
                call()
        cluster.start()
        assert memory.get("key") == 1
        memory.put("key", 2)
        assert memory.check() == []


def test_r34_what_is_asked_of_every_node_finds_the_new_master(
    nodes: Any, cluster: RedisCluster, cluster_url: str
) -> None:
    """Also of a node that no call about an entry ever went to."""
    with agentmem.connect(cluster_url) as memory:
        layout = memory._gateway.repository.layout  # type: ignore[attr-defined]
        used = nodes.owner(key_slot(layout.partitions))
        near = nodes.slots(used)
        name = next(name for name in map(str, range(1_000)) if key_slot(layout.place(name).meta) in near)
        memory.partition(name).put("key", 1)
        assert len(memory.stats().server["nodes"]) == 3
        next(server for server in nodes.masters() if server is not used).kill()
        time.sleep(1)
        cluster.wait_ready()
        assert len(memory.stats().server["nodes"]) == 3
        assert memory.check() == []


def test_r34_a_map_that_lacks_a_slot_is_looked_up_again(nodes: Any, cluster: RedisCluster, cluster_url: str) -> None:
    """Who connects while a slot belongs to nobody does not have to connect again when it does."""
    with agentmem.connect(cluster_url) as memory:
        number = nodes.slot_of(memory)
    with nodes.owner(number).client() as administrator:
        administrator.config_set("cluster-require-full-coverage", "no")
        administrator.cluster("DELSLOTS", number)
        try:
            with agentmem.connect(cluster_url) as memory:
                with pytest.raises(Unavailable):
                    memory.put("key", 1)
                administrator.cluster("ADDSLOTS", number)
                assert memory.put("key", 1).value == 1
        finally:
            with suppress(redis.ResponseError):  # it has it already
                administrator.cluster("ADDSLOTS", number)
            administrator.config_set("cluster-require-full-coverage", "yes")


# Many partitions


def test_r28_partitions_on_all_nodes_are_one_store(cluster: RedisCluster, cluster_url: str) -> None:
    with agentmem.connect(cluster_url) as memory:
        names = sorted(f"partition {n}" for n in range(30))
        run_threads(6, lambda index: [memory.partition(name).put("key", name) for name in names[index::6]])
        assert [each.name for each in memory.partitions()] == names
        stats = memory.stats()
        assert stats.partitions == dict.fromkeys(names, 1)
        assert stats.entries == 30
        assert len(stats.server["nodes"]) == 3
        assert memory.check() == []
        with open_client(f"redis://:{quoted(cluster_url)}@127.0.0.1:{cluster.masters[0].port}") as node:
            here: Any = node.keys(f"{key_prefix(cluster_url)}:*")
        assert 0 < len(here) < 60
        assert sum(memory.drop_partition(name) for name in names) == 30
        assert memory.partitions() == []


def quoted(url: str) -> str:
    return str(urlsplit(url).password)


def test_one_of_its_nodes_is_enough_to_find_a_cluster(cluster: RedisCluster, cluster_url: str) -> None:
    parts = urlsplit(cluster_url)
    login = parts.netloc.rpartition("@")[0]
    one = parts._replace(netloc=f"{login}@127.0.0.1:{cluster.replicas[0].port}").geturl()
    with agentmem.connect(one) as memory:
        for n in range(10):
            memory.partition(f"{n}").put("key", n)
        assert memory.stats().entries == 10
    with pytest.raises(PermissionDenied) as caught:
        agentmem.connect(parts._replace(netloc=f":tr0ub4dor@127.0.0.1:{cluster.masters[0].port}").geturl())
    assert "tr0ub" not in f"{caught.value!r} {caught.value.__cause__!r}"


# Hosts and forks


def pools_of(client: Any) -> dict[str, Any]:
    """The pools by node, as many as the client knows at the time: it learns anew which there are when one is slow."""
    return {node.name: node.redis_connection.connection_pool for node in client.get_nodes()}


def test_r35_a_hosts_cluster_client_stays_open_and_as_it_was(cluster: RedisCluster, cluster_url: str) -> None:
    with open_client(cluster_url) as found:
        client: Any = found
        name = f"{key_prefix(cluster_url)}:of the host"
        client.set(name, "text")
        settings = {node: dict(pool.connection_kwargs) for node, pool in pools_of(client).items()}
        with agentmem.connect(client, key_prefix=key_prefix(cluster_url)) as memory:
            run_threads(6, lambda index: [memory.partition(f"{n}").increment("counter") for n in range(10)])
            assert {memory.partition(f"{n}").get("counter") for n in range(10)} == {6}
            memory.apply([agentmem.Append("list", 1), agentmem.Put("key", 1)])
            assert memory.check() == []
            pools = pools_of(client)
            assert sum(len(pool._in_use_connections) for pool in pools.values()) == 0
        with pytest.raises(Closed):
            memory.get("key")
        both = pools.keys() & settings.keys()
        assert len(both) >= 3
        assert {node: dict(pools[node].connection_kwargs) for node in both} == {node: settings[node] for node in both}
        assert client.get(name) == b"text"
        assert isinstance(client, redis.RedisCluster)


def test_r35_close_ends_the_connections_to_all_nodes(cluster: RedisCluster, cluster_url: str) -> None:
    def connected() -> int:
        total = 0
        for server in cluster.servers:
            with server.client() as observer:
                total += sum(each["flags"] == "N" for each in observer.client_list()) - 1
        return total

    before = connected()
    memory = agentmem.connect(cluster_url)
    run_threads(4, lambda index: [memory.partition(f"{n}").put("key", n) for n in range(10)])
    assert connected() > before
    memory.close()
    eventually(lambda: connected() == before)


def test_r33_a_fork_while_other_threads_are_at_work(cluster_url: str) -> None:
    """A child has connections of its own, and no lock that was held at the fork."""
    with agentmem.connect(cluster_url, pool_size=2) as memory:
        over = threading.Event()

        def work(index: int) -> None:
            if index == 0:
                try:
                    assert [fork(memory) for _ in range(5)] == [0] * 5
                finally:
                    over.set()
            while not over.is_set():
                memory.partition(f"{index}").increment("counter")

        run_threads(4, work)
        assert memory.get("children") == 50
        assert memory.check() == []


def fork(memory: Memory) -> int:
    """Count ten in a child; its exit status."""
    import signal

    child = os.fork()
    if child == 0:
        signal.alarm(20)  # what would wait for ever for an inherited lock ends with another status
        try:
            for _ in range(10):
                memory.increment("children")
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
