"""A state machine that drives the whole surface at random, and compares every answer and error with a dict.

    machine = state_machine(make_harness)
    run_state_machine_as_test(machine, settings=settings(max_examples=50))

It runs in one thread: what several do at once is the suite's affair (agentmem.testing.contract).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentmem.arguments import MISSING
from agentmem.entries import Entry
from agentmem.errors import VersionConflict
from agentmem.operations import Append, Check, Delete, EntryOperation, Increment, Merge, Put, Touch
from agentmem.testing import strategies as draw
from agentmem.testing.comparison import normal, outcome
from agentmem.testing.model import LONG, Item, Model, View
from agentmem.testing.strategies import Place, Step
from agentmem.testing.support import eventually, exactly
from agentmem.ttl import UNSET

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class ContractMachine(RuleBasedStateMachine):
    """The rules. `harness_factory` is set by `state_machine`."""

    harness_factory: ClassVar[Callable[[], Harness]]

    def __init__(self) -> None:
        super().__init__()
        self.memory: Memory = type(self).harness_factory().connect()
        self.model = Model()
        self.world = draw.World((), ())
        #: For each key the versions that it was seen with, as pairs of the real one and the model's.
        self.seen: dict[tuple[str, str], list[tuple[int, int]]] = {}
        #: For each key when it was made, and which life of the model's that was.
        self.births: dict[tuple[str, str], tuple[datetime, int]] = {}

    @initialize(world=draw.worlds, values=st.lists(draw.values, min_size=5, max_size=5))
    def begin(self, world: draw.World, values: list[Any]) -> None:
        """Settle on the keys and places of this run, and put something there."""
        self.world = world
        self.both(world.places[0], lambda memory: memory.put_many(dict(zip(world.keys, values, strict=False))))

    def teardown(self) -> None:
        """The books must be in order at the end."""
        try:
            assert self.memory.check() == []
        finally:
            self.memory.close()

    # Both sides.

    def real(self, place: Place) -> Memory:
        """The handle of a place."""
        partition = self.memory.partition(place.partition)
        return partition.scoped(place.prefix) if place.prefix else partition

    def view(self, place: Place) -> View:
        """The model of a place."""
        return View(self.model, place.partition, place.prefix)

    def both(self, place: Place, call: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Call both sides, compare, and let die what was given hardly any time."""
        return self.compared(lambda: call(self.real(place)), lambda: call(self.view(place)))

    def compared(self, real: Callable[[], Any], model: Callable[[], Any]) -> tuple[Any, ...]:
        """As `both`, for calls that differ between the sides."""
        answer = outcome(real)
        expected = outcome(model)
        assert answer == expected
        self.bury()
        return answer

    def bury(self) -> None:
        """Wait for the end of what was given hardly any time."""
        for partition, key in self.model.bury():
            handle = self.memory.partition(partition)
            eventually(lambda handle=handle, key=key: not handle.exists(key))  # type: ignore[misc]

    def version(self, place: Place, step: Step, side: int) -> int:
        """The version that a step expects: 0 is the real side, 1 the model."""
        key = place.prefix + step.key
        history = self.seen.get((place.partition, key), [])
        item = self.model.partitions.get(place.partition, {}).get(key)
        current = [pair for pair in history if item is not None and pair[1] == item.version]
        stale = [pair for pair in history if pair not in current]
        chosen = current if step.expectation == "current" else stale
        return chosen[-1][side] if chosen else (1, -1)[side]

    def expected(self, place: Place, step: Step, side: int) -> dict[str, Any]:
        """A step's expectation as options."""
        if step.expectation in ("nothing", "absent"):
            return {"if_absent": True} if step.expectation == "absent" else {}
        return {"if_version": self.version(place, step, side)}

    def operation(self, place: Place, step: Step, side: int) -> EntryOperation:
        """A step as an operation for one of the sides."""
        kinds: dict[str, Any] = {"increment": Increment, "append": Append, "merge": Merge, "touch": Touch}
        if step.kind == "check":
            return Check(step.key, None if step.expectation == "absent" else self.version(place, step, side))
        if step.kind in ("put", "delete"):
            kinds |= {"put": Put, "delete": Delete}
            return kinds[step.kind](step.key, *step.arguments, **step.options, **self.expected(place, step, side))  # type: ignore[no-any-return]
        return kinds[step.kind](step.key, *step.arguments, **step.options)  # type: ignore[no-any-return]

    def operations(self, place: Place, steps: list[Step], side: int) -> list[EntryOperation]:
        """Steps as operations for one of the sides."""
        return [self.operation(place, step, side) for step in steps]

    # Rules: writing.

    @rule(place=draw.places, step=draw.writes)
    def write(self, place: Place, step: Step) -> None:
        """One of the methods that write at one key."""
        options = [dict(step.options), dict(step.options)]
        if step.kind in ("put", "delete"):
            options = [options[side] | self.expected(place, step, side) for side in (0, 1)]
        real, view = self.real(place), self.view(place)
        self.compared(
            lambda: getattr(real, step.kind)(step.key, *step.arguments, **options[0]),
            lambda: getattr(view, step.kind)(step.key, *step.arguments, **options[1]),
        )

    @rule(place=draw.places, key=draw.keys, default=draw.scalars)
    def pop(self, place: Place, key: str, default: Any) -> None:
        """Pop."""
        self.both(place, lambda memory: memory.pop(key, default))

    @rule(place=draw.places, key=draw.keys, value=draw.values, default=st.just(MISSING) | draw.values)
    def update(self, place: Place, key: str, value: Any, default: Any) -> None:
        """Update, by a function that keeps the old value."""
        self.both(place, lambda memory: memory.update(key, lambda old: [value, old][:2], default=default))

    @rule(place=draw.places, mapping=st.dictionaries(draw.keys, draw.values, max_size=4), ttl=draw.ttls)
    def put_many(self, place: Place, mapping: dict[str, Any], ttl: Any) -> None:
        """Put several."""
        self.both(place, lambda memory: memory.put_many(mapping, ttl=ttl))

    @rule(place=draw.places, keys=draw.key_lists)
    def delete_many(self, place: Place, keys: list[str]) -> None:
        """Delete several."""
        self.both(place, lambda memory: memory.delete_many(keys))

    @rule(place=draw.places, steps=draw.batches)
    def apply(self, place: Place, steps: list[Step]) -> None:
        """A batch."""
        real, view = self.operations(place, steps, 0), self.operations(place, steps, 1)
        self.compared(lambda: self.real(place).apply(real), lambda: self.view(place).apply(view))

    @rule(place=draw.places, steps=st.lists(st.one_of(draw.writes, draw.writes, draw.reads), max_size=6))
    def transaction(self, place: Place, steps: list[Step]) -> None:
        """A transaction that reads its own writes."""
        answer, expected = outcome(lambda: self._transact(place, steps)), outcome(lambda: self._model(place, steps))
        # Of several errors a read may meet a later one first.
        assert answer[:2] == expected[:2]
        self.bury()

    def _transact(self, place: Place, steps: list[Step]) -> list[str]:
        answers = []
        with self.real(place).transaction() as tx:
            for step in steps:
                if step.kind == "read":
                    answers.append(exactly(tx.get(step.key, "absent")))
                    continue
                operation = self.operation(place, step, 0)
                fields = {
                    name: getattr(operation, name) for name in operation.__slots__ if name not in ("key", "items")
                }
                if step.kind == "append":
                    tx.append(step.key, *step.arguments, **fields)
                else:
                    positional = [fields.pop(name) for name in ("value", "mapping") if name in fields]
                    getattr(tx, step.kind)(step.key, *positional, **fields)
        return answers

    def _model(self, place: Place, steps: list[Step]) -> list[str]:
        answers = []
        view = self.view(place)
        before: list[EntryOperation] = []
        for step in steps:
            if step.kind == "read":
                mine = [operation for operation in before if operation.key == step.key]
                answers.append(exactly(view.preview(mine).get(step.key, "absent")))
            else:
                before.append(self.operation(place, step, 1))
        view.apply(before)
        return answers

    @rule(place=draw.places, read=draw.keys, written=draw.keys, value=draw.values)
    def conflict(self, place: Place, read: str, written: str, value: Any) -> None:
        """A transaction, and another writer at what it read."""
        meddling: list[tuple[Any, ...]] = []

        def run() -> list[Any]:
            with self.real(place).transaction() as tx:
                tx.get(read)
                tx.put(written, value)
                meddling.append(self.both(place, lambda memory: memory.put(read, value)))
            return []

        def model() -> list[Any]:
            if meddling[0][0] == "returned":
                raise VersionConflict(read, None, self.view(place).entry(read))
            self.view(place).put(written, value)
            return []

        self.compared(run, model)

    @rule(place=draw.places, pattern=draw.patterns, where=draw.filters)
    def delete_matching(self, place: Place, pattern: str, where: Any) -> None:
        """Delete what a pattern and a filter find."""
        self.both(place, lambda memory: memory.delete_matching(pattern, where=where))

    @rule(place=draw.places)
    def clear(self, place: Place) -> None:
        """Clear."""
        self.both(place, lambda memory: memory.clear())

    # Rules: reading.

    @rule(place=draw.places, keys=draw.key_lists, default=draw.scalars)
    def read(self, place: Place, keys: list[str], default: Any) -> None:
        """All reads of single keys."""
        self.both(place, lambda memory: memory.get_many(keys))
        for key in keys[:2]:
            self.both(place, lambda memory, key=key: memory.get(key, default))  # type: ignore[misc]
            self.both(place, lambda memory, key=key: memory.entry(key))  # type: ignore[misc]
            self.both(place, lambda memory, key=key: memory.exists(key))  # type: ignore[misc]

    @rule(place=draw.places, prefix=draw.prefixes, limit=draw.limits, depth=st.integers(1, 3))
    def listing(self, place: Place, prefix: str, limit: int | None, depth: int) -> None:
        """What lies under a prefix."""
        self.both(place, lambda memory: list(memory.keys(prefix, limit=limit)))
        self.both(place, lambda memory: list(memory.items(prefix)))
        self.both(place, lambda memory: memory.children(prefix, depth=depth))

    @rule(
        place=draw.places,
        pattern=draw.patterns,
        where=draw.filters,
        query=st.fixed_dictionaries(
            {"order": st.sampled_from(("key", "updated")), "descending": st.booleans(), "limit": draw.page_limits}
        ),
    )
    def search(self, place: Place, pattern: str, where: Any, query: dict[str, Any]) -> None:
        """A walk over all pages, and the count."""
        expected = self.view(place).found(pattern, where)
        descending = query["descending"]
        found = self._walk(self.real(place), pattern, query | {"where": where})
        if query["order"] == "key":
            assert normal(found) == normal(expected[::-1] if descending else expected)
        else:
            batch_of = {item.key: item.written for item in expected}
            assert normal(sorted(found, key=lambda entry: entry.key)) == normal(expected)
            written = [batch_of[entry.key] for entry in found]
            assert written == sorted(written, reverse=descending)
        self.both(place, lambda memory: memory.count(pattern, where=where))

    def _walk(self, memory: Memory, pattern: str, query: dict[str, Any]) -> list[Entry]:
        page = memory.search(pattern, **query)
        found = list(page)
        while page.cursor is not None:
            assert len(page) == query["limit"]
            page = memory.search(pattern, **query, cursor=page.cursor)
            found += page
        return found

    # Rules: the store.

    @rule(
        name=draw.partitions,
        default_ttl=st.sampled_from((UNSET, None, LONG)),
        namespace=st.sampled_from((UNSET, None, None, "a")),
    )
    def define(self, name: str, default_ttl: Any, namespace: Any) -> None:
        """Set a policy."""
        self.memory.partition(name, default_ttl=default_ttl, namespace=namespace)
        self.model.define(name, default_ttl, namespace)
        policies = {
            p.name: (p.default_ttl and p.default_ttl.total_seconds(), p.namespace or None)
            for p in self.memory.partitions()
        }
        assert {name: policies.get(name) for name in self.model.policies} == self.model.policies

    @rule(name=draw.partitions)
    def drop(self, name: str) -> None:
        """Drop a partition with its policy."""
        dropped = self.memory.drop_partition(name)
        assert dropped == len(self.model.partitions.pop(name, {}))
        self.model.policies.pop(name, None)
        assert name not in {partition.name for partition in self.memory.partitions()}

    @rule()
    def account(self) -> None:
        """Statistics, before and after a purge."""
        living = {name: len(state) for name, state in self.model.partitions.items() if state}
        before = self.memory.stats()
        self.memory.purge_expired()
        after = self.memory.stats()
        for stats in (before, after):
            assert {name: count for name, count in stats.partitions.items() if count} == living
            assert stats.entries == sum(living.values())
        assert after.expired_pending == 0

    @rule(place=draw.places, key=draw.keys, bad=st.sampled_from((float("nan"), {1: 2}, {"a": {1, 2}}, b"x", "\ud800")))
    def refuse(self, place: Place, key: str, bad: Any) -> None:
        """Bad values, keys and patterns change nothing."""
        real = self.real(place)
        calls: list[Callable[[], Any]] = [
            lambda: real.put(key, bad),
            lambda: real.put_many({key: 1, f"{key}2": bad}),
            lambda: real.apply([Delete(key), Append(key, bad)]),
            lambda: real.delete_matching("*\\"),
            lambda: real.put(f"{key}\x00", 1),
        ]
        assert {outcome(call)[0] for call in calls} == {"raised"}

    @invariant()
    def same(self) -> None:
        """Every partition holds what the model holds, and versions move when, and only when, something was written."""
        for name in {place.partition for place in self.world.places}:
            entries = list(self.memory.partition(name).items())
            state = self.model.partitions.get(name, {})
            assert normal(entries) == normal([state[key] for key in sorted(state)])
            for entry in entries:
                self._see((name, entry.key), entry, state[entry.key])

    def _see(self, where: tuple[str, str], entry: Entry, item: Item) -> None:
        created_at, born = self.births.get(where, (entry.created_at, item.born))
        assert created_at == entry.created_at or born != item.born
        assert created_at <= entry.created_at <= entry.updated_at
        self.births[where] = (entry.created_at, item.born)
        history = self.seen.setdefault(where, [])
        if history and history[-1][1] == item.version:
            assert entry.version == history[-1][0]
            return
        assert all(entry.version > version for version, _ in history[-1:])
        history.append((entry.version, item.version))


def state_machine(harness_factory: Callable[[], Harness]) -> type[ContractMachine]:
    """Return the machine for a backend.

    Args:
        harness_factory: called for each example; returns a harness on an empty store.
    """
    return type("ContractMachine", (ContractMachine,), {"harness_factory": staticmethod(harness_factory)})
