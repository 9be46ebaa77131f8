"""R14, R15, R17, R33: many processes on one store, and what remains when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from agentmem.testing.contract.base import Contract
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

FORK_SECONDS = 15

PROLOGUE = "import agentmem, os, signal, sys\nmemory = agentmem.connect(sys.argv[1])\n"


def start(url: str, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python process in which `memory` is a handle on the store."""
    return subprocess.Popen([sys.executable, "-c", PROLOGUE + script, url, *arguments])


def finish(processes: list[subprocess.Popen[bytes]], timeout: float = 120.0) -> list[int]:
    """Wait for processes and return their exit codes."""
    return [process.wait(timeout) for process in processes]


def in_a_fork(child: Callable[[], object]) -> int:
    """Run a function in a fork of this process and return the fork's exit code: 0 if it returned."""
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: that is just what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        # A lock that came along held would block for ever, perhaps where Python runs no handlers: the system ends it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(FORK_SECONDS)
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


class Processes(Contract):
    """A store that other processes reach by its URL."""

    def test_r14_processes_count_exactly(self, memory: Memory, url: str) -> None:
        script = "for _ in range(100):\n    memory.increment('counter')\nmemory.close()\n"
        assert finish([start(url, script) for _ in range(3)]) == [0] * 3
        assert memory.get("counter") == 300
        assert memory.check() == []

    def test_r17_what_was_acknowledged_survives_kill_9(self, memory: Memory, url: str) -> None:
        script = (
            "memory.put('key', {'a': 1}, ttl=3600)\n"
            "memory.increment('n', 5)\n"
            "memory.put_many({'m/1': 1, 'm/2': 2})\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert finish([start(url, script)]) == [-signal.SIGKILL]
        assert {entry.key: entry.value for entry in memory.items()} == {"key": {"a": 1}, "m/1": 1, "m/2": 2, "n": 5}
        assert memory.check() == []

    def test_r15_kill_9_in_the_middle_of_batches_leaves_whole_ones(self, memory: Memory, url: str) -> None:
        script = (
            "generation = 0\n"
            "while True:\n"
            "    generation += 1\n"
            "    memory.put_many({f'key/{n:03}': generation for n in range(300)})\n"
        )
        for _ in range(3):
            memory.clear()
            writer = start(url, script)
            eventually(lambda: memory.get("key/000", 0) >= 3, timeout=60)
            time.sleep(0.02)
            writer.kill()
            finish([writer])
            values = [entry.value for entry in memory.items("key/")]
            assert (len(values), len(set(values))) == (300, 1)
        memory.put_many({f"key/{n:03}": 0 for n in range(300)})
        assert memory.check() == []

    @needs_fork
    def test_r33_a_fork_opens_its_own_connections(self, memory: Memory, url: str) -> None:
        memory.put("before", 1)

        def child() -> None:
            assert memory.get("before") == 1
            for _ in range(20):
                memory.increment("counter")
            memory.partition("other").put("child", 1)

        assert in_a_fork(child) == 0
        assert memory.increment("counter") == 21
        assert memory.partition("other").get("child") == 1
        assert in_a_fork(child) == 0
        assert memory.get("counter") == 41

    @needs_fork
    def test_r33_parent_and_forks_work_at_the_same_time(self, memory: Memory, url: str) -> None:
        memory.put("counter", 0)

        def work(index: int) -> int:
            if index:
                return in_a_fork(lambda: [memory.increment("counter") for _ in range(15)])
            return sum(memory.get("counter", -1) < 0 for _ in range(50))

        assert run_threads(4, work) == [0] * 4
        assert memory.get("counter") == 45

    @needs_fork
    def test_r33_a_lock_held_at_the_fork_is_not_inherited(self, memory: Memory, url: str) -> None:
        done = threading.Event()

        def work(index: int) -> list[int]:
            if index:
                while not done.is_set():
                    memory.put_many({f"busy/{index}/{n}": n for n in range(20)})
                return []
            try:
                return [in_a_fork(lambda: memory.increment("forked")) for _ in range(6)]
            finally:
                done.set()

        assert run_threads(4, work)[0] == [0] * 6
        assert memory.get("forked") == 6

    @needs_fork
    def test_r33_a_fork_that_closes_leaves_its_parent_open(self, memory: Memory, url: str) -> None:
        memory.put("key", 1)
        assert in_a_fork(memory.close) == 0
        assert memory.get("key") == 1
        memory.put("key", 2)
        assert memory.get("key") == 2

    def test_r21_another_process_sees_a_write_at_once(self, memory: Memory, url: str) -> None:
        memory.put_many({"a": 1, "b": "é\x00😀"})
        script = "sys.exit(0 if memory.get_many(['a', 'b']) == {'a': 1, 'b': 'é\\x00😀'} else 3)\n"
        assert finish([start(url, script)]) == [0]
