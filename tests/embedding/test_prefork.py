"""Servers of several processes: a handle that was opened, and used, before they were forked or started."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentmem.testing.processes import free_port
from agentmem.testing.support import eventually, run_threads

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

APPLICATION = """
import os
import agentmem

memory = agentmem.connect(os.environ["STORE"], sweep_every=0.05)
memory.put("hits", 0)  # its connection is open when the workers are forked

def application(environ, start_response):
    hits = memory.increment("hits")
    memory.run(lambda tx: tx.put("same", (tx.get("same") or 0) + 1))
    body = f"{os.getpid()} {hits}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
SETTINGS = """
import os
preload_app, workers, threads, bind = True, 3, 2, f"127.0.0.1:{os.environ['PORT']}"
control_socket_disable = True

def on_exit(server):
    # The master's own handle is as good as before its children came and went.
    import application
    application.memory.put("master", os.getpid())
    application.memory.close()
"""


@contextmanager
def gunicorn(folder: Path, store: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    (folder / "application.py").write_text(APPLICATION)
    (folder / "settings.py").write_text(SETTINGS)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "settings.py", "application"],
        cwd=folder,
        env={**os.environ, "STORE": store, "PORT": str(port), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, port
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


def ask(port: int) -> tuple[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        worker, hits = connection.getresponse().read().decode().split()
        return worker, int(hits)
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return bool(ask(port))
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed: the extra [dev]")
def test_gunicorn_with_a_handle_from_before_the_fork(url: str, tmp_path: Path) -> None:
    import agentmem

    with gunicorn(tmp_path, url) as (process, port):
        eventually(lambda: answers(port) or process.poll() is not None, 30)
        replies = [reply for some in run_threads(6, lambda _: [ask(port) for _ in range(10)]) for reply in some]
        # Its replacement is forked from a master that has waited for a while.
        os.kill(int(replies[0][0]), signal.SIGKILL)
        eventually(lambda: answers(port), 30)
        replies += [ask(port) for _ in range(20)]
        hits = [hits for _, hits in replies]
        assert len(set(hits)) == len(hits), "an increment was given to two"
        assert len({worker for worker, _ in replies}) > 1
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    with agentmem.connect(url) as memory:
        assert memory.get("hits") >= max(hits)
        assert memory.get("master") == process.pid
        assert memory.check() == []


# The workers are forked from a loaded application, and each is replaced after some tasks.
TASKS = """
import os
from pathlib import Path

import agentmem
from celery import Celery
from celery.signals import worker_ready

memory = agentmem.connect(os.environ["STORE"], pool_size=3, sweep_every=0.05)
memory.put("tasks", 0)
folder = str(Path(__file__).parent)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
app.conf.worker_prefetch_multiplier = 1

@app.task
def square(number):
    memory.put(f"result/{number}", number * number)
    memory.run(lambda tx: tx.put("workers", sorted({*(tx.get("workers") or []), os.getpid()})), attempts=1000)
    memory.increment("tasks")

@worker_ready.connect
def send(**_):
    for number in range(30):
        square.delay(number)
    memory.put("parent", os.getpid())
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="Celery is not installed: the extra [dev]")
def test_celery_with_a_handle_from_before_the_fork(url: str, tmp_path: Path) -> None:
    import agentmem

    (tmp_path / "tasks.py").write_text(TASKS)
    options = ["--pool=prefork", "--concurrency=3", "--max-tasks-per-child=4", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "--app=tasks", "worker", "--loglevel=WARNING", *options],
        cwd=tmp_path,
        env={**os.environ, "STORE": url, "PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        with agentmem.connect(url) as memory:
            eventually(lambda: memory.get("tasks") == 30 or process.poll() is not None, 60)
            process.terminate()
            _, said = process.communicate(timeout=60)
            assert (process.returncode, "Traceback" in said) == (0, False), said
            assert memory.get_many([f"result/{n}" for n in range(30)]) == {f"result/{n}": n * n for n in range(30)}
            assert memory.get("tasks") == 30
            assert memory.get("parent") not in memory.get("workers")
            assert len(memory.get("workers")) >= 6
            assert memory.check() == []
    finally:
        process.kill()


# A handle is an argument as any other: by inheritance under fork, by pickle under the two others.
STARTED = """
import multiprocessing, sys, warnings
import agentmem

warnings.simplefilter("ignore", DeprecationWarning)

def work(memory, section, count):
    with memory, section:  # unpickled, each has a connection of its own
        for _ in range(count):
            memory.increment("n")
        section.put("done", section.get("done", 0) + 1)
        assert section.entry("done").expires_at is not None

if __name__ == "__main__":
    url, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    with agentmem.connect(url, max_value_bytes=5000) as memory:
        memory.put("n", 0)
        for number in range(3):
            memory.partition(f"p{number}", default_ttl=60)
        sections = [memory.partition(f"p{number}").scoped("scope/") for number in range(3)]
        workers = [context.Process(target=work, args=(memory, section, 20)) for section in sections]
        for worker in workers:
            worker.start()
        for _ in range(20):
            memory.increment("n")
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0] * 3, [worker.exitcode for worker in workers]
        assert memory.get("n") == 80
        assert [section.get("done") for section in sections] == [1] * 3
        assert memory.check() == []
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_are_given_a_handle(url: str, host: Callable[..., str], method: str) -> None:
    assert host(STARTED, url, method) == ""


NAMED = """
import multiprocessing, pickle, sys
import agentmem

def work(memory):
    with memory:
        memory.increment("n")

if __name__ == "__main__":
    with agentmem.connect(sys.argv[1], create="always", schema="agents", table_prefix="am_", pool_size=2) as memory:
        worker = multiprocessing.get_context("spawn").Process(target=work, args=(memory,))
        worker.start()
        worker.join(60)
        assert (worker.exitcode, memory.get("n")) == (0, 1)
    import sqlalchemy
    engine = sqlalchemy.create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
    with agentmem.connect(engine, schema="agents", table_prefix="am_") as guest:
        try:
            pickle.dumps(guest)
        except TypeError as error:
            print(error)
    engine.dispose()
"""


def test_options_travel_with_a_handle_and_a_hosts_engine_does_not(postgres_url: str, host: Callable[..., str]) -> None:
    assert "only what agentmem.connect() opened by a URL" in host(NAMED, postgres_url)
