"""A host's process is as it was after agentmem was imported, used and closed: nothing in it is ours to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

PROGRAM = """
import atexit, decimal, gc, locale, logging, os, signal, socket, sqlite3, sys, threading, warnings

# What these do when they are imported is their own doing, and a host that has them has seen it.
import alembic.command, filelock, platformdirs, psycopg, pydantic_settings, redis, sqlalchemy.orm, sqlalchemy.event
import alembic.autogenerate, sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite
import redis.sentinel, redis.cluster, zoneinfo, orjson, msgspec

logging.basicConfig(level=logging.WARNING)
logging.getLogger("host").setLevel(logging.DEBUG)

NEW = (logging.NOTSET, False, True, [], [])


def loggers():
    known = {name: logging.getLogger(name) for name in [*logging.root.manager.loggerDict]}
    known["root"] = logging.root
    return {
        name: state
        for name, logger in known.items()
        # One that a driver has made since says nothing yet, as long as it was left alone.
        if (state := (logger.level, logger.disabled, logger.propagate, [*logger.handlers], [*logger.filters])) != NEW
    }


def state():
    return {
        "loggers": loggers(),
        "logging": (logging.raiseExceptions, logging.lastResort, logging.getLoggerClass(), logging.root.disabled),
        "warnings": ([*warnings.filters], warnings.showwarning),
        "atexit": atexit._ncallbacks(),
        "threads": (threading.enumerate(), [*threading._threading_atexits]),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "interpreter": ([*sys.path], sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold()),
        "machine": (dict(os.environ), os.getcwd(), locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout()),
        "numbers": str(decimal.getcontext()),
        "drivers": (len(sqlite3.adapters), len(sqlite3.converters), str(psycopg.adapters._loaders)),
    }


def differences(before, after):
    return [f"{name}: {before[name]} became {after[name]}" for name in before if before[name] != after[name]]


before = state()
import agentmem
from agentmem import migrations

url = sys.argv[1]
if not url.startswith("redis"):
    import agentmem.sql
    migrations.upgrade(url)
with agentmem.connect(url) as memory:
    memory.put("a", 1, ttl=60)
    memory.put_many({f"many/{n}": n for n in range(2000)})
    memory.append("list", 1)
    memory.run(lambda tx: tx.put("a", tx.get("a") + 1))
    assert memory.get("a") == 2
    memory.search("many/*", where={(): {"$gt": 5}})
    memory.stats()
    memory.check()
    try:
        memory.put("a", 1, if_absent=True)
    except agentmem.VersionConflict:
        pass
    try:
        agentmem.connect(url, no_such_option=1)
    except agentmem.ConfigurationError:
        pass
    for line in differences(before, state()):
        print("in use:", line)
for line in differences(before, state()):
    print("afterwards:", line)

with agentmem.connect(url, sweep_every=60) as swept:
    swept.put("b", 1)
    print([thread.name for thread in threading.enumerate()], all(t.daemon for t in threading.enumerate()[1:]))
print([thread.name for thread in threading.enumerate()])
"""


def test_nothing_in_the_process_is_changed(url: str, host: Callable[..., str]) -> None:
    """No handler, filter, hook, signal, thread or word at the end; a thread where it was asked for, until the close."""
    assert host(PROGRAM, url) == "['MainThread', 'agentmem-sweeper'] True\n['MainThread']\n"


LOUD = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s")
import agentmem
with agentmem.connect(sys.argv[1]) as memory:
    memory.put("secret", "hunter2")
    memory.get("secret")
    memory.delete("secret")
"""


def test_a_host_that_logs_everything_hears_nothing_of_keys_and_values(url: str, host: Callable[..., str]) -> None:
    """And what is said at all is said by loggers that bear our name, or a driver's."""
    said = host(LOUD, url)
    assert "secret" not in said
    assert "hunter2" not in said
    names = {line.split(".")[0].split()[0] for line in said.splitlines()}
    assert names <= {"agentmem", "sqlalchemy", "psycopg", "alembic", "redis", "filelock", "asyncio"}


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "memory.close()", "del memory"])
def test_an_interpreter_ends_in_silence(url: str, host: Callable[..., str], end: str) -> None:
    """With a handle that nobody closed, in use by a thread that is a daemon: no message, no delay, no exit code."""
    program = f"""
import sys, threading
import agentmem
memory = agentmem.connect(sys.argv[1], sweep_every=0.01)
memory.put("a", 1)
handle = memory
def work():
    while True:
        try:
            handle.increment("n")
        except agentmem.Closed:
            return
threading.Thread(target=work, daemon=True).start()
memory.get("a")
{end}
"""
    assert host(program, url) == ""
