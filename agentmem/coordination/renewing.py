"""The thread that keeps a lease."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from agentmem.errors import Closed, LeaseLost

if TYPE_CHECKING:
    from agentmem.coordination.lease import Lease
    from agentmem.coordination.lease_entry import Grant
    from agentmem.gateway import Lifetime

logger = logging.getLogger("agentmem.coordination")

RENEWALS: Final = 3
"""In one ttl: two may fail, or come late, before the lease ends."""
_ATTEMPTS: Final = 10
"""Of one renewal that fails, in the time between two."""
_STOP_SECONDS: Final = 10.0


class Renewals:
    """Renews a lease, from a thread of its own, until that is stopped, dropped or lost, or its connection is closed.

    Args:
        lease: whose. The thread does not keep it alive.
        grant: the acquisition that is renewed, and no other.
        lifetime: of the connection.
    """

    def __init__(self, lease: Lease, grant: Grant, lifetime: Lifetime) -> None:
        self._lease = weakref.ref(lease)
        self._lost = lease.lost
        self._grant = grant
        self._lifetime = lifetime
        self._every_seconds = lease.ttl_seconds / RENEWALS
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"agentmem-lease-{lease.name}", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            Closed: the connection has come to its end meanwhile.
        """
        self._lifetime.accompany(self)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for the renewal that it may be at. Idempotent."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)
        self._lifetime.leave(self)

    def end(self) -> None:
        """The connection is closed: nothing renews the lease any more."""
        # In a forked child there is no thread, and its events may have been forked while locked (R33).
        if os.getpid() == self._grant.process:
            self._lost.set()
            self.stop()

    def _run(self) -> None:
        pause: float | None = self._every_seconds
        while pause is not None and not self._stopped.wait(pause):
            pause = self._renew()
        self._lifetime.leave(self)

    def _renew(self) -> float | None:
        """Renew it once; the seconds until the next time, or None for never."""
        lease = self._lease()
        if lease is None:
            return None
        try:
            lease.renew_grant(self._grant)
        except (LeaseLost, Closed):
            self._lost.set()
            return None
        except Exception:
            if time.monotonic() >= self._grant.sent_at + lease.ttl_seconds:
                logger.warning("the lease %r has ended: it could not be renewed in time", lease.name, exc_info=True)
                self._lost.set()
                return None
            logger.info("the lease %r could not be renewed, which is tried again", lease.name, exc_info=True)
            return self._every_seconds / _ATTEMPTS * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
        return self._every_seconds
