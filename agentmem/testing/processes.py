"""Server processes that tests start, stop and kill: always by the id of a process of our own, never by name."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

# Ports below every usual range of ephemeral ports: while a server is down for a restart, no client's outgoing
# connection can sit on its port, and no client that retries can connect to itself.
FIRST_PORT, LAST_PORT = 15_000, 30_000

# Reads until its standard input ends, which happens when the process that holds the other end is gone, however it
# ended; then ends the server and removes its directory.
_WATCHDOG = """
read _
kill -"$1" "$2" || exit 0
tenths=0
while [ "$tenths" -lt 50 ] && kill -0 "$2" 2>/dev/null; do sleep 0.1; tenths=$((tenths + 1)); done
kill -KILL "$2" 2>/dev/null
rm -rf "$3"
"""


class ServerError(Exception):
    """A server for tests is missing, did not start, or is not ours to stop."""


class Server(ABC):
    """A real server for tests, as a context manager: started on entry, closed on exit.

    `stop`, `kill` and `restart` keep the data and the address, so that the same URL works afterwards; `close` removes
    everything. A server that we did not start refuses all of them but `close`, which leaves it alone.

    Attributes:
        kind: where it comes from: `wheels`, `local`, `containers` or `url`.
    """

    kind: str

    @property
    @abstractmethod
    def version(self) -> str:
        """The server's version as it calls it, such as `18.4`."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the server is up, as far as we know."""

    @abstractmethod
    def check(self) -> None:
        """Make sure that it answers.

        Raises:
            ServerError: it does not; the text says why, without the password.
        """

    @abstractmethod
    def start(self) -> None:
        """Start it, unless it runs; return when it accepts connections.

        Raises:
            ServerError: it did not; the text holds the end of its log.
        """

    @abstractmethod
    def stop(self) -> None:
        """End it at once, with its connections; what it had confirmed is there at the next start. Idempotent."""

    @abstractmethod
    def kill(self) -> None:
        """End it by SIGKILL, as a crash would, its children included."""

    @abstractmethod
    def close(self) -> None:
        """Stop it and remove its data. Idempotent."""

    def restart(self) -> None:
        """Stop it and start it again at the same address."""
        self.stop()
        self.start()

    def answers(self) -> bool:
        """Whether `check` finds nothing amiss."""
        try:
            self.check()
        except ServerError:
            return False
        return True

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Account(NamedTuple):
    """A user of this machine to run a server as."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """The arguments by which `subprocess` runs a program as this user, without root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def unprivileged_account() -> Account | None:
    """Whom a server should run as: None for ourselves; for root, which servers refuse, `postgres` or `nobody`.

    Raises:
        ServerError: we are root and neither user exists.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd  # there is no such module on Windows

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def free_port(below: int = LAST_PORT) -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens now.

    Another process may still take it before the server does: whoever uses it should be ready to ask again.

    Args:
        below: which ports are too high.
    """
    for _ in range(100):
        # Not the module random: pytest-randomly seeds it alike in all workers, which would then fight for one port.
        port = FIRST_PORT + secrets.randbelow(below - FIRST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError(f"no free TCP port found between {FIRST_PORT:,} and {below:,}")


def version_number(text: str) -> str:
    """The version in what a program or server says of itself: `postgres (PostgreSQL) 15.18 (Debian …)`."""
    found = re.search(r"\d+(\.\d+)*", text)
    if found is None:
        raise ServerError(f"no version number in {text!r}")
    return found.group()


def new_password() -> str:
    """A random password that needs quoting in a URL, so that whoever forgets it is found out."""
    return f"{secrets.token_urlsafe(12)}%@/"


def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Poll until the condition is true; return False when the time is over first."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class ServerProcess:
    """One run of one server program, with a watchdog that ends it should our own process die without a word.

    Args:
        command: the program and its arguments; it must stay in the foreground.
        directory: its working directory, removed by the watchdog.
        account: whom it runs as; None for ourselves.
        stop_signal: what ends it and its connections at once, and in good order.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        directory: Path,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._stop_signal = stop_signal
        options = account.popen_options() if account else {}
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the test run alone, which then stops the server.
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", stop_signal.name[3:], str(self.pid), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )

    @property
    def pid(self) -> int:
        """The id of the server's main process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process has not ended."""
        return self._process.poll() is None

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Return when `ready()` is true.

        Raises:
            ServerError: the process ended first, or did not get ready in time and was killed.
        """
        wait_until(lambda: not self.running or ready(), START_TIMEOUT_SECONDS)
        if not self.running or not ready():
            self.kill()
            raise ServerError(f"the server did not start; the end of its log:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the process at once, by SIGKILL if it does not obey, and wait until it is gone. Idempotent."""
        self._release_watchdog()
        if self.running:
            self._process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_SECONDS)
        if self.running:
            self.kill()

    def kill(self) -> None:
        """End the process and its children by SIGKILL, and wait until all are gone. Idempotent."""
        import psutil  # comes with the extra [test]; who never kills a server can do without

        self._release_watchdog()
        children: list[Any] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_SECONDS)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        wait_until(lambda: all(map(_has_ended, children)), STOP_TIMEOUT_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of what the server has written."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _release_watchdog(self) -> None:
        # Before the server is reaped: after that its id may belong to somebody else.
        self._watchdog.kill()
        self._watchdog.communicate()


def _has_ended(process: Any) -> bool:
    import psutil

    # Orphans wait for init to reap them, which may take its time; as zombies they hold nothing any more.
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
