"""The lender of connections: one mechanism for every backend.

A call that costs its server 50 µs cannot afford a checkout with a reset. So connections of our own lie open on a stack,
and only a host's, or the one of a database in memory, go through their own pool at each call.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from agentmem.errors import Closed, PoolTimeout, Unavailable
from agentmem.pool.drivers import Driver, L
from agentmem.pool.forking import Forkable

T = TypeVar("T")

HAND_OVER_SECONDS = 0.0001
QUIET_SECONDS = 5.0
"""How long a fork waits for calls in progress."""


class Connections(Forkable, Generic[L]):
    """Lends connections to any number of threads.

    Args:
        driver: knows the connections.
        capacity: how many may be open at once; more borrowers wait. A host's pool decides for itself.
        timeout: how many seconds a borrower waits, then PoolTimeout.
        keep: whether connections stay open between calls; False for a host's, and for a database in memory.
        own: whether what opens them is ours to dispose of.
    """

    def __init__(self, driver: Driver[L], *, capacity: int, timeout: float, keep: bool, own: bool) -> None:
        self._driver = driver
        self._capacity = capacity
        self._timeout = timeout
        self._keep = keep
        self._own = own
        self._closed = threading.Event()
        self._reset()
        super().__init__()

    @abstractmethod
    def _connect(self) -> L:
        """A fresh connection, or one from the host's pool.

        Raises:
            AgentMemError: translated; or one of the driver's own errors.
        """

    @abstractmethod
    def _return(self, link: L) -> None:
        """Give back one that is not kept."""

    @abstractmethod
    def _throw_away(self, link: L) -> None:
        """Close one, and let a host's pool know."""

    @abstractmethod
    def _dispose(self) -> None:
        """The end of what opens connections, where it is ours."""

    @abstractmethod
    def _leave_to_parent(self) -> None:
        """In a forked child: forget the connections that the opener itself may keep, without closing them."""

    def _begin_anew(self) -> None:
        """Before the first call in a forked child, where the store lived in the parent alone."""

    def _reset(self) -> None:
        self._renewal = threading.Lock()
        self._is_new = True
        self._idle: deque[L] = deque()
        self._permits: SimpleQueue[None] = SimpleQueue()
        self._withheld = 0
        self._waiting = 0
        self._gate: threading.Event | None = None
        self._let_in(self._capacity)

    def _let_in(self, number: int) -> None:
        for _ in range(number):
            self._permits.put(None)

    def read(self, work: Callable[[L], T]) -> T:
        """Run `work` with a connection; once more on a new one if the connection turns out to be broken (R34)."""
        return self._run(work, attempts=2)

    def write(self, work: Callable[[L], T]) -> T:
        """Run `work` with a connection, exactly once (R18).

        Who must wait for a turn to write waits without a connection, which readers can use meanwhile.
        """
        turn = self._driver.turn
        if turn is None:
            return self._run(work, attempts=1)
        held: list[bool] = []
        try:
            if not turn.take(held):
                raise Unavailable(f"no turn to write within {turn.timeout:g} s (option busy_timeout)")
            result = self._run(work, attempts=1)
            was_long = turn.pause()
        finally:
            if held and held[-1]:
                turn.lock.release()
        if was_long:
            turn.hand_over()
        return result

    def _run(self, work: Callable[[L], T], attempts: int) -> T:
        deadline: float | None = None
        while True:
            permit: list[None] = []
            try:
                self._enter(permit)
                link = self._link()
                try:
                    result = work(link)
                except self._driver.error as error:
                    uncertain = link.uncertain
                    broken = not self._give_back_failed(link)
                    if self._closed.is_set() and not uncertain:
                        raise Closed("this memory was closed") from error
                    if self._driver.is_busy(error) and not uncertain:
                        deadline = deadline or time.monotonic() + self._driver.patience_seconds
                        if time.monotonic() < deadline:
                            continue
                    attempts -= 1
                    if broken and attempts and not self._driver.has_timed_out(error):
                        continue
                    raise self._driver.translate(error, broken=broken, uncertain=uncertain) from error
                except BaseException:
                    self._give_back_failed(link)
                    raise
                self._give_back(link)
                return result
            finally:
                if permit:
                    self._permits.put(None)
                    if self._waiting and not self._keep:
                        # One connection for all: whoever gave it back would take it again before a waiter is awake.
                        time.sleep(HAND_OVER_SECONDS)

    def _enter(self, permit: list[None]) -> None:
        """Wait for a permit where it is ours to give, and note it in the list.

        An interrupt (Ctrl-C) is raised after any call that returns, also after the one that took a lock. `+= map` takes
        it and notes it in one instruction, so that the caller's `finally` always knows.
        """
        if self._closed.is_set():
            raise Closed("this memory was closed")
        if not self._own:
            return
        gate = self._gate
        if gate is not None:
            gate.wait(QUIET_SECONDS)
        try:
            self._waiting += 1
            permit += map(self._permits.get, (True,), (self._timeout,))
        except Empty:
            raise PoolTimeout(
                f"no connection became free within {self._timeout:g} s: all {self._capacity} are in use "
                "(option pool_size)"
            ) from None
        finally:
            self._waiting -= 1

    def _link(self) -> L:
        if self._own:
            if not self._is_new:
                self._renew_once()
            link = self._rested() or self._open()
        else:
            link = self._fresh()
        if self._closed.is_set():  # meanwhile; in memory this would be another, empty database
            self._discard(link)
            raise Closed("this memory was closed")
        return link

    def _fresh(self) -> L:
        """A connection from a host's pool, where some may have been cut while they rested."""
        while self._driver.is_stale(link := self._open()):
            self._discard(link)
        return link

    def _renew_once(self) -> None:
        with self._renewal:
            if not self._is_new:
                self._begin_anew()
                self._is_new = True

    def _rested(self) -> L | None:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return None
            if not self._driver.is_stale(link):
                link.uncertain = False
                return link
            self._discard(link)

    def _open(self) -> L:
        try:
            link = self._connect()
        except self._driver.error as error:
            raise self._driver.translate(error, broken=True, uncertain=False) from error
        try:
            self._driver.prepare(link)
        except self._driver.error as error:
            self._discard(link)
            raise self._driver.translate(error, broken=True, uncertain=False) from error
        except BaseException:
            self._discard(link)
            raise
        return link

    def _give_back(self, link: L) -> None:
        if self._keep:
            self._idle.append(link)
            if self._closed.is_set():  # and perhaps emptied before the line above: nobody else would find this one
                self._close_idle()
        else:
            self._driver.restore(link)
            self._return(link)

    def _give_back_failed(self, link: L) -> bool:
        """Give back a connection after an error; False when it was broken."""
        try:
            usable = self._driver.recover(link)
        except self._driver.error:
            usable = False
        if usable:
            self._give_back(link)
            return True
        self._discard(link)
        # A server that went away took the resting connections with it.
        self._close_idle()
        return False

    def _discard(self, link: L) -> None:
        # It is being thrown away: how it ends does not matter.
        with contextlib.suppress(self._driver.error):
            self._throw_away(link)

    def _close_idle(self) -> None:
        while True:
            try:
                self._discard(self._idle.pop())
            except IndexError:
                return

    def close(self) -> None:
        """Close what rests; what is in use closes when it is given back. Idempotent."""
        self._closed.set()
        self._close_idle()
        if not self._own:
            return
        if self._keep:
            self._dispose()
            return
        # Whoever stands in the pool's own queue when it is disposed of waits there in vain: so nobody may.
        with contextlib.suppress(Empty):
            self._permits.get(timeout=QUIET_SECONDS)
        self._dispose()
        self._let_in(1)

    def hold(self) -> None:
        """Before a fork: where the library has locks of its own, wait until nobody is inside."""
        if not self._driver.has_locks:
            return
        deadline = time.monotonic() + QUIET_SECONDS
        # Without a gate the threads would pass the permits among themselves.
        self._gate = threading.Event()
        with contextlib.suppress(Empty):
            while self._withheld < self._capacity:
                self._permits.get(timeout=max(0.0, deadline - time.monotonic()))
                self._withheld += 1
        if self._keep:
            # SQLite keeps count of its locks on a file in the process, and the child would inherit the count without
            # the locks: then its parent, or another process, could take the log away from under it.
            self._close_idle()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        withheld, self._withheld = self._withheld, 0
        self._let_in(withheld)
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.set()

    def forget(self) -> None:
        """In a forked child: leave the parent's connections alone and begin anew (R33)."""
        _inherited.extend(self._idle)
        self._driver.forget()
        self._reset()
        if self._own:
            self._leave_to_parent()
            self._is_new = False


# The parent's connections, kept for ever in the child: to finalise one would write to the parent's socket or file.
_inherited: list[Any] = []
