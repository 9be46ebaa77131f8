"""The server's clock (R21), as a process can tell it without asking each time."""

from __future__ import annotations

import time
import weakref
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentmem.gateway import Gateway, Lifetime

_GOOD_SECONDS: Final = 60.0
"""How long one answer serves: two clocks drift by milliseconds in that time, and one may be set."""

_answers: weakref.WeakKeyDictionary[Lifetime, tuple[datetime, float]] = weakref.WeakKeyDictionary()


def server_now(gateway: Gateway) -> datetime:
    """The server's time, give or take a round trip; asks the server about once a minute for each connection.

    For estimates, such as how long to wait: what is decided by time, the server decides itself.
    """
    answer = _answers.get(gateway.lifetime)
    if answer is None or time.monotonic() - answer[1] > _GOOD_SECONDS:
        answer = gateway.call(gateway.repository.server_time), time.monotonic()
        _answers[gateway.lifetime] = answer
    moment, at = answer
    return moment + timedelta(seconds=time.monotonic() - at)
