"""Make the stored databases of the newest revision, on real servers: run it once for each revision, before its release.

    .venv/bin/python tests/assets/make.py          # into tests/assets/stored

What is there already is left as it is: a stored database is what the agentmem of its time wrote. `<name>.json` tells
what it holds. tests/migrations/test_assets.py upgrades and uses each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import agentmem
from agentmem.entries import Partition
from agentmem.memory import Memory
from agentmem.redis.layout import VERSION
from agentmem.sql.schema import HEAD
from agentmem.testing.servers import RedisServer, find_postgres, find_redis, wheel_postgres_binaries

STORED = Path(__file__).with_name("stored")
YEARS = 365 * 24 * 3600


def fill(memory: Memory) -> None:
    """A bit of everything that can be stored."""
    values: dict[str, Any] = {
        "numbers": [0, -0.0, 1e22, 2**70, 1757000000123456, 0.1],
        "texts": {"b": "é", "a": "\0", "nested": [[], {}, None, True, "𝄞\\u0000"]},
        "Grüße/ключ/鍵": "any character",
        "a b{c}:d%e*[f]?": "signs that mean something somewhere",
        "null": None,
        "large": "x" * 20_000,
    }
    for key, value in values.items():
        memory.put(key, value)
    memory.put("with/metadata", 1, metadata={"owner": "Ada", "tags": ["a", "b"]})
    memory.put("expires/late", 1, ttl=50 * YEARS)
    for turn in range(5):
        memory.put("changed", turn)
        memory.increment("counter", 7)
        memory.append("list", turn)
    memory.put("deleted", 1)
    memory.delete("deleted")
    jobs = memory.partition("jobs {1}: 100 %", default_ttl=40 * YEARS, namespace="job/", description="Bücher")
    jobs.put_many({f"job/{number:03}": {"number": number, "done": number % 2 == 0} for number in range(60)})
    memory.partition("plain").put("key", "of a partition without a policy")
    queue = memory.queue("work: {1}/100 %", max_attempts=1)
    queue.put("buried", dedup_key="a", priority=1_000)
    queue.bury(*queue.claim(), error="no use")
    queue.put_many(["first", "second", "third"], group="é")
    queue.put_many([{"n": 1}, None], priority=-3)
    queue.put("in time", delay=30 * YEARS, dedup_key="a")


def content(memory: Memory) -> dict[str, Any]:
    """All entries and policies, as JSON has them."""
    partitions = sorted(memory.partitions(), key=lambda each: each.name)
    found = {"policies": [_policy(each) for each in partitions], "entries": [*_entries(memory, partitions)]}
    return found | {"queues": [*_queues(memory, partitions)]}


def _policy(partition: Partition) -> list[Any]:
    ttl = partition.default_ttl
    return [partition.name, ttl and ttl.total_seconds(), partition.namespace, partition.description]


def _entries(memory: Memory, partitions: list[Partition]) -> Iterator[list[Any]]:
    for partition in partitions:
        for entry in memory.partition(partition.name).items():
            moments = [
                moment and moment.isoformat() for moment in (entry.created_at, entry.updated_at, entry.expires_at)
            ]
            yield [partition.name, entry.key, entry.value, entry.metadata, entry.version, *moments]


def _queues(memory: Memory, partitions: list[Partition]) -> Iterator[list[Any]]:
    for partition in partitions:
        handle = memory.partition(partition.name)
        for name in handle.queues():
            queue = handle.queue(name)
            items = [*queue.peek(1_000), *queue.dead(1_000)]
            shown = [[each.id, each.value, each.priority, each.group, each.dedup_key, each.error] for each in items]
            yield [partition.name, name, list(queue.counts()), shown]


@contextmanager
def filled(url: str, name: str) -> Iterator[Path]:
    """Fill a store and write down what it holds."""
    with agentmem.connect(url, create="always") as memory:
        fill(memory)
        (STORED / f"{name}.json").write_text(json.dumps(content(memory), indent=1, ensure_ascii=False) + "\n")
    yield STORED / name


def make_sqlite() -> None:
    """The file itself."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "memory.db"
        with filled(f"sqlite:///{file}", f"{HEAD}.sqlite") as target:
            target.write_bytes(file.read_bytes())


def make_postgres() -> None:
    """A script of plain SQL, such as every version takes."""
    with find_postgres() as server:
        url = server.new_database()
        with filled(url, f"{HEAD}.postgresql") as target:
            options = ["--no-owner", "--no-privileges", "--no-toast-compression", "--column-inserts", "--no-comments"]
            command = [str(wheel_postgres_binaries()[0] / "pg_dump"), *options, url]
            script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            lines = [line for line in script.splitlines() if line and not line.startswith(("--", "\\", "SET "))]
            target.write_text("\n".join(lines) + "\n")
        server.drop_database(url)


def make_redis() -> None:
    """The commands that make it, a line each, of bytes written as Latin-1; «P» is the store's prefix."""
    with find_redis() as server:
        url = server.new_store()
        with filled(url, f"{VERSION}.redis") as target:
            target.write_text("\n".join(json.dumps(line) for line in commands(server, url)) + "\n")
        server.drop_store(url)


def commands(server: RedisServer, url: str) -> Iterator[list[str]]:
    """What makes each of a store's keys."""
    prefix = url.rpartition("key_prefix=")[2].encode()
    with server.client(decode_responses=False) as client:
        for name in sorted(client.scan_iter(prefix + b":*", count=1000)):
            key = b"\xabP\xbb" + name.removeprefix(prefix)
            kind = client.type(name)
            if kind == b"string":
                yield _line(b"SET", key, client.get(name))
            elif kind == b"hash":
                yield _line(b"HSET", key, *(part for pair in sorted(client.hgetall(name).items()) for part in pair))
            elif kind == b"zset":
                pairs = client.zrange(name, 0, -1, withscores=True)
                yield _line(b"ZADD", key, *(part for member, score in pairs for part in (b"%.17g" % score, member)))
            else:
                raise ValueError(f"a key of kind {kind!r}: {name!r}")
            if (left := client.pttl(name)) > 0:
                seconds, microseconds = client.time()
                yield _line(b"PEXPIREAT", key, b"%d" % (seconds * 1000 + microseconds // 1000 + left))


def _line(*words: bytes) -> list[str]:
    return [word.decode("latin-1") for word in words]


def main() -> None:
    """Make what is missing."""
    STORED.mkdir(exist_ok=True)
    makers = {f"{HEAD}.sqlite": make_sqlite, f"{HEAD}.postgresql": make_postgres, f"{VERSION}.redis": make_redis}
    for name, make in makers.items():
        if not (STORED / name).exists():
            make()


if __name__ == "__main__":
    main()
