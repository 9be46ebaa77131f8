"""What learning costs: updates a second through a Q-table, beside the same work in the driver's own words.

    .venv/bin/python -m benchmarks.learning sqlite:///bench.db
    .venv/bin/python -m benchmarks.learning postgresql://… --seconds 5 --threads 4

Raw is one statement, or one script, that does the step and nothing else: no partition, no namespace, no next state, and
on SQLite and PostgreSQL one transaction each, as durable as ours.
"""

from __future__ import annotations

import argparse
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import agentmem
from agentmem.memory import Memory

CREATE = "CREATE TABLE IF NOT EXISTS raw_values (state text PRIMARY KEY, value double precision, visits bigint)"
STEP = (
    "INSERT INTO raw_values VALUES ({p}, 0.1, 1) ON CONFLICT (state) DO UPDATE SET "
    "value = raw_values.value + 0.1 * (1.0 - raw_values.value), visits = raw_values.visits + 1 RETURNING value"
)
SCRIPT = """
local now = redis.call('HMGET', KEYS[1], 'value', 'visits')
local value = tonumber(now[1] or 0)
value = string.format('%.17g', value + 0.1 * (1.0 - value))
redis.call('HSET', KEYS[1], 'value', value, 'visits', tonumber(now[2] or 0) + 1)
return value
"""
STATES = 100


def raw(url: str) -> Callable[[str], Any]:
    """One step, on a connection of the calling thread's own."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///") + ".raw", isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(CREATE)
        return lambda state: connection.execute(STEP.format(p="?"), (state,)).fetchall()
    if url.startswith("postgresql"):
        import psycopg

        session = psycopg.connect(url, autocommit=True)
        session.execute(CREATE)
        return lambda state: session.execute(STEP.format(p="%s"), (state,), prepare=True).fetchall()
    import redis

    client = redis.Redis.from_url(url.partition("?")[0])
    step = client.register_script(SCRIPT)
    return lambda state: step(keys=[f"raw_values:{state}"])


def rate(make: Callable[[], Callable[[str], Any]], seconds: float, threads: int) -> float:
    """Calls a second of all threads together, each with a function of its own."""
    made = [0] * threads
    barrier = threading.Barrier(threads + 1)

    def work(index: int) -> None:
        call = make()
        call("warm")
        barrier.wait()
        end = time.monotonic() + seconds
        for turn in itertools.count():
            if time.monotonic() > end:
                break
            call(f"s{(turn * 7 + index * 31) % STATES}")
            made[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.monotonic()
    for worker in workers:
        worker.join()
    return sum(made) / (time.monotonic() - start)


def ways(memory: Memory, url: str) -> dict[str, tuple[Callable[[], Callable[[str], Any]], int]]:
    """What is compared, and how many steps each call makes."""
    table = memory.qtable("bench")

    def batch(size: int) -> Callable[[str], Any]:
        return lambda state: table.update_many((f"{state}/{n}", "a", 1.0, state) for n in range(size))

    return {
        "raw step": (lambda: raw(url), 1),
        "update, nothing follows": (lambda: lambda state: table.update(state, "a", 1.0), 1),
        "update, a state follows": (lambda: lambda state: table.update(state, "a", 1.0, "s1"), 1),
        "update_many of 20": (lambda: batch(20), 20),
        "update_many of 100": (lambda: batch(100), 100),
        "values": (lambda: table.values, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    create = "always" if given.url.startswith("postgresql") else "auto"
    with agentmem.connect(given.url, create=create) as memory:
        base = 0.0
        for name, (make, steps) in ways(memory, given.url).items():
            found = rate(make, given.seconds, given.threads) * steps
            base = base or found
            print(f"{name:26} {found:10,.0f} steps/s   {found / base:5.2f} of raw")


if __name__ == "__main__":
    main()
