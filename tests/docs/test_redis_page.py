"""docs/backends/redis.md: what it says that a user must be permitted is enough, and all of it is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem.redis import queue_wakeups
from agentmem.redis.options import RedisOptions
from agentmem.testing.contract.costs import READS, WRITES
from agentmem.testing.redis_server import open_client
from agentmem.testing.support import expire

if TYPE_CHECKING:
    import redis

    from agentmem.memory import Memory

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backends" / "redis.md").read_text()
RULE = re.search(r"^ACL SETUSER agentmem (.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def everything(memory: Memory) -> None:
    for write in WRITES.values():
        memory.clear()
        write(memory)
    for read in READS.values():
        read(memory)
    expire(memory, "dead")
    memory.put("short", 1, ttl=60)
    memory.touch("short", None)
    memory.touch("short", 60)
    memory.get_many(["short", "key"])
    memory.search(descending=True)
    memory.partition("other", default_ttl=60).put("key", 1)
    memory.put("key", 1, ttl=60)
    memory.count("ne*")
    memory.qtable("q").update_many([("s", "a", 1.0, "s")])
    memory.qtable("q").best("s")
    memory.queue("jobs").put(1)
    memory.queue("empty").claim(wait=0.05)
    memory.queue("another").claim(wait=0.5)  # by its end the first one is listened to no more
    memory.stats()
    memory.check()
    memory.purge_expired()
    memory.drop_partition("other")
    memory.ping()


def test_the_acl_rule_is_enough_and_no_more(redis_client_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RULE is not None
    monkeypatch.setattr(queue_wakeups, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(queue_wakeups, "_ROUND_SECONDS", 0.05)
    with open_client(redis_client_url) as client:
        client.execute_command("ACL", "SETUSER", "agentmem", *RULE[1].split())
        client.config_resetstat()
        with agentmem.connect(f"redis://agentmem:secret@{redis_client_url.rpartition('@')[2]}") as memory:
            everything(memory)
        assert permitted() - used(client) == set()


def permitted() -> set[str]:
    assert RULE is not None
    return {word.removeprefix("+") for word in RULE[1].split() if word.startswith("+")}


def used(client: redis.Redis) -> set[str]:
    return {name.removeprefix("cmdstat_") for name in client.info("commandstats")}


def test_every_option_is_on_the_page() -> None:
    assert [name for name in RedisOptions.model_fields if f"`{name}`" not in PAGE] == []
