"""Starts real servers and keeps them up until it is told to end: what run-integration-tests.sh --keep leaves behind.

    python keep_servers.py CHOICE

CHOICE is what `--agentmem-servers` takes. It prints where the servers are, as lines for a shell, and ends them when it
gets SIGTERM or SIGINT.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from typing import NoReturn

from agentmem import migrations
from agentmem.testing.servers import (
    POSTGRES_URL_VARIABLE,
    REDIS_URL_VARIABLE,
    ServerError,
    choices_of,
    find_postgres,
    find_redis,
)

_ENDS = (signal.SIGTERM, signal.SIGINT)


def keep(choice: str) -> NoReturn:
    chosen = choices_of(choice)
    with find_postgres(chosen["postgres"]) as postgres, find_redis(chosen["redis"]) as redis:
        migrations.upgrade(postgres.url())
        for name, server in ((POSTGRES_URL_VARIABLE, postgres), (REDIS_URL_VARIABLE, redis)):
            sys.stdout.write(f"export {name}={shlex.quote(server.url())}\n")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            signal.pause()


def end(*_: object) -> NoReturn:
    """Leave `keep` by way of its `with`, and let no second signal disturb that."""
    # Handlers, unlike a mask, do not reach the servers: those must hear the signal that ends them.
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit


if __name__ == "__main__":
    # A session of its own: Ctrl-C in the terminal of the test run does not reach it.
    if os.getpid() != os.getsid(0):
        os.setsid()
    for each in _ENDS:
        signal.signal(each, end)
    try:
        keep(sys.argv[1])
    except ServerError as error:
        sys.exit(str(error))
