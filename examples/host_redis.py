"""A host application with a Redis and a client of its own, whose agents remember in the same database beside its keys.

Run it as `python examples/host_redis.py [URL]`, with the URL of a Redis, such as redis://localhost:6379/0.
"""

from __future__ import annotations

import sys
import threading

import redis

import agentmem

JOBS = "host:jobs"
WORKERS = 3
PAGES = 30


def work(client: redis.Redis, memory: agentmem.Memory, name: str) -> None:
    """Take pages from the host's own list, and remember what was found on them."""
    while (job := client.lpop(JOBS)) is not None:
        page = job.decode()
        memory.put(f"pages/{page}", {"words": len(page) * 100, "by": name}, ttl=3600)
        memory.increment("counters/pages")


def main(url: str) -> None:
    """Let workers share one client: the host's commands and agentmem's calls go over the same pool."""
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=2, timeout=10, socket_timeout=5)
    client = redis.Redis(connection_pool=pool)
    client.rpush(JOBS, *(f"page-{number:02d}" for number in range(PAGES)))
    with agentmem.connect(client, partition="crawl", key_prefix="example") as memory:
        memory.clear()
        workers = [threading.Thread(target=work, args=(client, memory, f"worker-{n}")) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = memory.search("pages/*", where={"words": {"$gt": 0}}, limit=PAGES)
        print(f"{len(found)} pages remembered, counter {memory.get('counters/pages')}")
        for warning in memory.stats().server["warnings"]:
            print(f"warning: {warning}")
    # Closing the handle left the client as it was.
    print(f"the host's client still answers: {client.ping()}, its jobs are done: {not client.exists(JOBS)}")
    client.close()
    pool.disconnect()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "redis://localhost:6379/0")
