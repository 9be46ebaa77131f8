"""Connections of psycopg that give up on a server that says nothing, where option `timeout` asks for it.

The system's own time-outs see a peer that is gone, not one that is stuck: what arrives there is acknowledged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, event

T = TypeVar("T")


class ReplyTimeout(psycopg.OperationalError):
    """Nothing was heard from the server for as long as one was ready to wait; the connection is of no more use."""


class ImpatientConnection(psycopg.Connection[Any]):
    """Waits only so long to hear something.

    Attributes:
        reply_seconds: how long.
    """

    reply_seconds: float

    def wait(self, gen: Generator[Any, Any, T], *how: Any, **more: Any) -> T:
        """As the parent class, which comes by a few times a second also when there is nothing to read."""
        try:
            return super().wait(_bounded(gen, self.reply_seconds), *how, **more)
        except ReplyTimeout:
            self.close()  # or a pipeline would try to come to its end
            raise


def _bounded(steps: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    end = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if ready:
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                steps.close()
                raise ReplyTimeout(f"nothing heard from the server for {seconds:g} s (option timeout)")
            wanted = steps.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


def unbind(raw: psycopg.Connection[Any]) -> None:
    """Let a connection wait for as long as its server takes: for what takes long because there is much to do."""
    if isinstance(raw, ImpatientConnection):
        raw.reply_seconds = math.inf


def bound(engine: Engine, seconds: float) -> None:
    """Let all connections of an engine of ours wait only so long."""

    def connect(dialect: object, record: object, arguments: Any, parameters: Any) -> ImpatientConnection:
        connection = ImpatientConnection.connect(*arguments, **parameters)
        connection.reply_seconds = seconds
        return connection

    event.listen(engine, "do_connect", connect)
