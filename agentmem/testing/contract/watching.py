"""R42: what a watch gives: every change below a prefix, from any position on."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import CorruptEntry, InvalidCursor
from agentmem.testing.contract.base import Contract
from agentmem.testing.contract.processes import finish, start
from agentmem.testing.support import SHORT, eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentmem.coordination.watch import Change
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

WRITERS = 8


def told(changes: Iterable[Change]) -> list[tuple[str, str, Any]]:
    """What a test compares of some changes."""
    return [(change.kind, change.key, None if change.entry is None else change.entry.value) for change in changes]


def follow(state: dict[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """Do to a dict what the changes tell.

    Raises:
        KeyError: something is gone that was never there, or already gone.
    """
    for change in changes:
        if change.entry is None:
            del state[change.key]
        else:
            state[change.key] = change.entry.value
    return state


def is_settled(memory: Memory) -> bool:
    """Whether nothing that was to live for a moment lives any more."""
    lives = [entry.expires_at - entry.updated_at for entry in memory.items("w/") if entry.expires_at]
    return all(life.total_seconds() > 1 for life in lives)


def write(memory: Memory, generator: random.Random, enough: threading.Event) -> None:
    """Put and delete until it is enough; some of what is put expires at once."""
    while not enough.is_set():
        key = f"w/{generator.randrange(10)}"
        if generator.random() < 0.4:
            memory.delete(key)
        else:
            memory.put(key, generator.random(), ttl=generator.choice([None, 0.01]))


def stored(memory: Memory, prefix: str) -> dict[str, Any]:
    """What a watcher of a prefix should know in the end."""
    return {entry.key: entry.value for entry in memory.items(prefix)}


class Watching(Contract):
    """One that looks while others write."""

    def test_r42_a_watch_begins_with_what_is_there(self, memory: Memory) -> None:
        memory.put_many({"w/b": 2, "v": 0, "w": 0, "w0": 0})
        memory.put("w/a", 1)
        watch = memory.watch("w/", timeout=SHORT)
        assert told(watch) == [("put", "w/b", 2), ("put", "w/a", 1)]
        assert told(watch) == []

    def test_r42_a_watch_tells_puts_deletions_and_expiries(self, memory: Memory) -> None:
        entry = memory.put_many({"w/put": 1, "w/deleted": 1, "w/same": None})["w/deleted"]
        watch = memory.watch("w/")
        assert len(list(watch.look())) == 3
        memory.put("w/put", 2)
        memory.delete("w/deleted")
        memory.put("w/gone before it was seen", 1, ttl=SHORT)
        memory.put("w/new", None, ttl=1, metadata={"by": "me"})
        put, new = (change for change in watch.look() if change.key in {"w/put", "w/new"})
        assert put.entry == memory.entry("w/put")
        assert new.entry is not None
        assert (new.entry.metadata, new.version) == ({"by": "me"}, new.entry.version)
        eventually(lambda: not memory.exists("w/new"))
        assert ("expire", "w/new", None) in told(watch.look())
        assert entry.version < put.version
        assert told(watch.look()) == []

    def test_r42_a_touch_is_a_change_and_moves_the_expiry(self, memory: Memory) -> None:
        memory.put("w/a", 1)
        watch = memory.watch("w/")
        list(watch.look())
        memory.touch("w/a", 1)
        (change,) = watch.look()
        assert change.entry == memory.entry("w/a")
        eventually(lambda: not memory.exists("w/a"))
        assert told(watch.look()) == [("expire", "w/a", None)]

    def test_r42_a_position_resumes_where_it_was_made(self, memory: Memory) -> None:
        memory.put_many({"w/kept": 1, "w/changed": 1, "w/deleted": 1})
        memory.put("w/expired", 1, ttl=1)
        watch = memory.watch("w/")
        list(watch.look())
        memory.put("elsewhere", {"position": watch.position()})
        memory.put("w/changed", 2)
        memory.delete("w/deleted")
        memory.put("w/new", 1)
        eventually(lambda: not memory.exists("w/expired"))
        resumed = memory.watch("w/", position=memory.get("elsewhere")["position"])
        assert sorted(told(resumed.look())) == [
            ("delete", "w/deleted", None),
            ("expire", "w/expired", None),
            ("put", "w/changed", 2),
            ("put", "w/new", 1),
        ]

    def test_r42_nothing_is_missed_from_any_position(self, memory: Memory) -> None:
        generator = random.Random(42)  # noqa: S311 - the same steps at every run
        watch, state = memory.watch("w/"), dict[str, Any]()
        positions = [(watch.position(), dict(state))]
        for step in range(120):
            key = f"w/{generator.randrange(8)}"
            match generator.randrange(6):
                case 0 | 1:
                    memory.put(key, step)
                case 2:
                    memory.put(key, step, ttl=generator.choice([0.001, SHORT, 60]))
                case 3:
                    memory.delete(key)
                case 4:
                    memory.put_many({key: step, "w/0": -step})
                case 5:
                    for change in watch.look():
                        follow(state, [change])
                        positions.append((watch.position(), dict(state)))
        eventually(lambda: is_settled(memory))
        for position, known in positions:
            assert follow(known, memory.watch("w/", position=position).look()) == stored(memory, "w/")

    def test_r42_a_watcher_of_eight_threads_ends_up_with_what_is_stored(self, memory: Memory) -> None:
        enough = threading.Event()
        watch, state = memory.watch("w/", poll=(0.001, 0.02)), dict[str, Any]()

        def work(index: int) -> None:
            if index < WRITERS:
                write(memory, random.Random(index), enough)  # noqa: S311 - as above
                return
            for changes, change in enumerate(watch):
                follow(state, [change])
                if changes == 30:
                    enough.set()
                    return

        run_threads(WRITERS + 1, work)
        eventually(lambda: is_settled(memory))
        assert follow(state, watch.look()) == stored(memory, "w/")

    def test_r42_a_watcher_of_processes_ends_up_with_what_is_stored(self, memory: Memory, url: str) -> None:
        script = (
            "import random\n"
            "generator = random.Random(int(sys.argv[2]))\n"
            "for step in range(60):\n"
            "    key = f'w/{generator.randrange(10)}'\n"
            "    if generator.random() < 0.4:\n"
            "        memory.delete(key)\n"
            "    else:\n"
            "        memory.put(key, [sys.argv[2], step], ttl=generator.choice([None, 0.01]))\n"
        )
        processes = [start(url, script, str(number)) for number in range(3)]
        state: dict[str, Any] = {}
        with memory.watch("w/", poll=(0.001, 0.02), heartbeat=0.05) as watch:
            for change in watch:
                if change.kind != "heartbeat":
                    follow(state, [change])
                elif all(process.poll() is not None for process in processes):
                    break
            assert finish(processes) == [0] * 3
            eventually(lambda: is_settled(memory))
            assert follow(state, watch.look()) == stored(memory, "w/")

    def test_r42_a_watch_stays_in_its_scope(self, memory: Memory) -> None:
        scoped = memory.scoped("s/")
        watch = scoped.watch()
        memory.put_many({"s/a": 1, "s": 1, "t": 1})
        memory.partition("p").put("s/b", 1)
        assert told(watch.look()) == [("put", "a", 1)]
        memory.delete("s/a")
        assert told(scoped.watch(position=watch.position()).look()) == [("delete", "a", None)]
        for other in (memory, memory.scoped("t/"), memory.partition("p").scoped("s/")):
            with pytest.raises(InvalidCursor):
                other.watch(position=watch.position())
        with pytest.raises(InvalidCursor):
            scoped.watch("a", position=watch.position())

    def test_r42_a_watch_goes_on_past_what_cannot_be_decoded(self, harness: Harness, memory: Memory) -> None:
        memory.put_many({"w/bad": 1, "w/good": 1})
        harness.corrupt("default", "w/bad")
        bad, good = sorted(memory.watch("w/").look(), key=lambda change: change.key)
        assert bad.entry is not None
        assert good.entry is not None
        with pytest.raises(CorruptEntry):
            _ = bad.entry.value
        assert good.entry.value == 1

    def test_r42_a_watch_sees_many_keys(self, memory: Memory) -> None:
        memory.put_many({f"w/{number:04}": number for number in range(1500)})
        watch = memory.watch("w/")
        assert len(list(watch.look())) == 1500
        memory.delete_many([f"w/{number:04}" for number in range(600)])
        assert {change.kind for change in watch.look()} == {"delete"}
        assert told(memory.watch("w/", position=watch.position()).look()) == []
