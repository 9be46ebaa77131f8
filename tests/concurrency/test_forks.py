"""R33: a forked child has connections and locks of its own, and its parent's stay good."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

PROLOGUE = """
import gc, os, signal, sys, threading, time
import agentmem
memory = agentmem.connect(url, pool_size=4)
memory.put("counter", 0)

def fork(child, leave=os._exit):
    pid = os.fork()
    if pid == 0:
        signal.alarm(40)  # what would wait for ever for an inherited lock ends with another code
        code = 1
        try:
            child()
            code = 0
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
        leave(code)
    return pid

def succeeded(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def server_pid(handle=memory):
    repository = handle._gateway.repository
    return repository._rows("SELECT pg_backend_pid()", {})[0][0] if repository.name == "postgresql" else os.getpid()

"""

THE_END_OF_A_CHILD = """
before = server_pid()
def child():
    memory.get("counter")
    memory.close()
    gc.collect()
assert succeeded(fork(child))
assert succeeded(fork(gc.collect, sys.exit))
def unused():
    global memory
    del memory
    gc.collect()
assert succeeded(fork(unused, sys.exit))
memory.put("counter", 1)
assert memory.get("counter") == 1
assert server_pid() == before
assert memory.check() == []
print("done")
"""

SCRIPTS = {
    "a connection of its own": """
before = server_pid()
def child():
    assert server_pid() != before
    for _ in range(50):
        memory.increment("counter")
children = [fork(child) for _ in range(3)]
for _ in range(50):
    memory.increment("counter")
assert all([succeeded(pid) for pid in children])
assert memory.get("counter") == 200
assert server_pid() == before
""",
    "a lock that another thread holds is not inherited": """
stop = threading.Event()
def write(index):
    while not stop.is_set():
        memory.put_many({f"{index}/{n}": n for n in range(50)})
        memory.increment(f"busy/{index}")
writers = [threading.Thread(target=write, args=(index,)) for index in range(3)]
for writer in writers:
    writer.start()
try:
    for _ in range(8):
        assert succeeded(fork(lambda: [memory.increment("counter") for _ in range(3)]))
finally:
    stop.set()
    for writer in writers:
        writer.join()
assert memory.get("counter") == 24
assert memory.check() == []
""",
    "a pool that was empty at the fork is full in the child": """
from agentmem.testing.support import run_threads
repository = memory._gateway.repository
held = threading.Barrier(5)
release = threading.Event()
def hold(link):
    held.wait(30)
    release.wait(30)
connections = next(repository.servers.each()) if url.startswith("redis") else repository._connections
holders = [threading.Thread(target=connections.read, args=(hold,)) for _ in range(4)]
for holder in holders:
    holder.start()
held.wait(30)
def child():
    run_threads(8, lambda _: memory.increment("counter"))
# On SQLite a fork may wait for calls in flight, on PostgreSQL it need not.
threading.Timer(0.5, release.set).start()
assert succeeded(fork(child))
for holder in holders:
    holder.join()
assert memory.get("counter") == 8
""",
    "threads of a child begin together": """
from agentmem.testing.support import run_threads
sys.setswitchinterval(1e-5)
def child():
    run_threads(8, lambda index: [memory.increment("counter") for _ in range(10)])
for _ in range(4):
    assert succeeded(fork(child))
assert memory.get("counter") == 320
""",
    "a grandchild": """
def child():
    memory.increment("counter")
    assert succeeded(fork(lambda: memory.increment("counter")))
    memory.increment("counter")
assert succeeded(fork(child))
assert memory.increment("counter") == 4
""",
    "a child outlives its parent's handle": """
go, gone = os.pipe()
def child():
    os.read(go, 1)
    assert memory.get("counter") == 5
    memory.put("counter", 6)
pid = fork(child)
memory.put("counter", 5)
memory.close()
os.write(gone, b"x")
assert succeeded(pid)
memory = agentmem.connect(url)
assert memory.get("counter") == 6
""",
    "a child goes on while its parent closes and comes back": """
go, gone = os.pipe()
ready, told = os.pipe()
def child():
    memory.increment("counter")
    os.write(told, b"x")
    os.read(go, 1)
    for n in range(30):
        memory.put(f"child/{n}", n)
        memory.increment("counter")
pid = fork(child)
os.read(ready, 1)
memory.close()
again = agentmem.connect(url)
again.put("between", 1)
os.write(gone, b"x")
for n in range(30):
    again.put(f"parent/{n}", n)
    again.increment("counter")
assert succeeded(pid)
assert again.get("counter") == 61, again.get("counter")
assert (again.count("child/*"), again.count("parent/*"), again.get("between")) == (30, 30, 1)
again.close()
memory = agentmem.connect(url)
assert (memory.count("child/*"), memory.count("parent/*"), memory.get("counter")) == (30, 30, 61)
assert memory.check() == []
""",
    "a host's engine or client": """
if url.startswith("redis"):
    import redis
    place, _, prefix = url.partition("?key_prefix=")
    host, options = redis.Redis.from_url(place), {"key_prefix": prefix}
    def leave_to_parent(): "redis-py sees to it by itself"
else:
    from sqlalchemy import create_engine, make_url
    from agentmem.sql.engines import normalised
    host, options = create_engine(normalised(make_url(url))), {}
    def leave_to_parent():
        # As SQLAlchemy's manual asks of whoever forks: the engine is the host's, so the host says so.
        host.dispose(close=False)
guest = agentmem.connect(host, **options)
guest.put("guest", 0)
def child():
    leave_to_parent()
    for _ in range(20):
        guest.increment("guest")
children = [fork(child) for _ in range(2)]
for _ in range(20):
    guest.increment("guest")
assert all([succeeded(pid) for pid in children])
assert guest.get("guest") == 60
""",
    "a sweeper": """
swept = agentmem.connect(url, sweep_every=0.05)
def child():
    assert [t.name for t in threading.enumerate()].count("agentmem-sweeper") == 1
    swept.put("dead", 1, ttl=0.001)
    deadline = time.monotonic() + 20
    while swept.stats().expired_pending:
        assert time.monotonic() < deadline
        time.sleep(0.02)
assert succeeded(fork(child))
swept.close()
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_after_a_fork(crew: Any, url: str, name: str) -> None:
    """In a process of its own, so that no fork carries pytest along."""
    crew.run(1, PROLOGUE + SCRIPTS[name], url=url)


def test_the_end_of_a_child_ends_nothing_of_its_parents(url: str) -> None:
    """Whatever an interpreter finalises at its end must not say goodbye by the parent's socket or unlock its file."""
    script = f"url = {url!r}\n" + PROLOGUE + THE_END_OF_A_CHILD
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (process.stdout.strip(), process.returncode) == ("done", 0), process.stderr


def test_a_child_of_a_store_in_memory_has_one_of_its_own(crew: Any) -> None:
    """What lives in the process alone cannot be shared with another."""
    script = """
memory.put("key", "parent")
def child():
    assert memory.get("key") is None
    memory.put("key", "child")
    assert memory.get("key") == "child"
assert succeeded(fork(child))
assert memory.get("key") == "parent"
"""
    crew.run(1, PROLOGUE + script, url="sqlite://")
