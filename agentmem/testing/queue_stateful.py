"""A state machine that drives a queue store at random, and compares every answer with the reference's.

    machine = queue_machine(make_harness)
    run_state_machine_as_test(machine, settings=settings(max_examples=50))

It speaks to the port (agentmem.queue_port) and draws whole exchanges: settles, puts, a claim and commands in one step.
The reference's clock stands still; where a step was given hardly any time, both sides let it pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentmem.commands import CheckCommand, Command, Outcome, PutCommand
from agentmem.errors import LeaseLost, VersionConflict
from agentmem.handle import repository_of
from agentmem.queue_port import Claim, Exchange, Exchanged, Item, NewItem, Put, QueueStore, Settle, Verb
from agentmem.testing.queue_model import ReferenceQueues
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from agentmem.testing.harness import Harness

LONG = 3_600_000
BRIEF = 20
"""Milliseconds that pass before the next step. Each time costs a wait, so a run has few of them."""
MOST_BRIEF = 6
EVERYTHING = 1000

PLACES = (("default", "q"), ("default", "q"), ("default", "{q}:*é"), ("other", "q"))


class Held(NamedTuple):
    """A lease that was given, as both sides know it: place, (id, fence) of the real one, and of the reference's."""

    place: tuple[str, str]
    real: tuple[int, int]
    model: tuple[int, int]


class Decision(NamedTuple):
    """A settle, before it is known of what: `which` counts back among the leases that were ever given."""

    which: int
    verb: Verb
    delay_ms: int
    error: str | None


class Wish(NamedTuple):
    """A claim; `request_id` None for one that was never used."""

    limit: int
    lease_ms: int
    request_id: str | None


delays = st.sampled_from((0, 0, 0, 0, 0, LONG, LONG, BRIEF))
leases = st.sampled_from((LONG, LONG, LONG, LONG, BRIEF))
texts = st.sampled_from((None, None, None, "k", "é:{l}"))
items = st.builds(
    NewItem,
    st.sampled_from(('"a"', '{"b":1}', "[]")),
    delays,
    st.sampled_from((0, 0, 0, 1, -1, 1000)),
    texts,
    texts,
    st.sampled_from((0, 1, 1, 2)),
)
decisions = st.builds(
    Decision,
    st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3, 9)),
    st.sampled_from(("ack", "nack", "extend", "bury", "bury")),
    delays,
    st.sampled_from((None, "no", "é\n")),
)
wishes = st.builds(Wish, st.integers(1, 4), leases, st.sampled_from((None, None, "r", "s")))
commands = st.sampled_from(
    ((), (), (), (), (PutCommand("key", "1"),), (CheckCommand("key", None), PutCommand("other", "1")))
)


class QueueMachine(RuleBasedStateMachine):
    """The rules. `harness_factory` is set by `queue_machine`."""

    harness_factory: ClassVar[Callable[[], Harness]]

    def __init__(self) -> None:
        super().__init__()
        self.memory = type(self).harness_factory().connect()
        self.store: QueueStore = repository_of(self.memory).queues
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.keys: set[tuple[str, str]] = set()
        self.model = ReferenceQueues(self._apply, now=lambda: self.now)
        self.held: list[Held] = []
        #: By place and real id: the reference's id, and the last pair of fences that was seen.
        self.ids: dict[tuple[tuple[str, str], int], int] = {}
        self.fences: dict[tuple[tuple[str, str], int], tuple[int, int]] = {}
        self.requests = 0
        self.brief = 0

    def teardown(self) -> None:
        """The books must be in order at the end."""
        try:
            assert self.memory.check() == []
        finally:
            self.memory.close()

    def _apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """The reference's entries: keys alone."""
        for command in commands:
            if isinstance(command, CheckCommand) and (partition, command.key) in self.keys:
                raise VersionConflict(command.key, None, None)
        self.keys |= {(partition, command.key) for command in commands if isinstance(command, PutCommand)}
        return [Outcome(None, None)] * len(commands)

    # Rules.

    @rule(
        place=st.sampled_from(PLACES),
        settles=st.lists(decisions, max_size=3),
        new=st.lists(items, max_size=3),
        wish=st.none() | wishes,
        commands=commands,
    )
    def exchange(
        self,
        place: tuple[str, str],
        settles: list[Decision],
        new: list[NewItem],
        wish: Wish | None,
        commands: tuple[Command, ...],
    ) -> None:
        """A step of any parts."""
        chosen = self._chosen(place[0], settles)
        claim = None if wish is None else Claim(place[1], wish.limit, self._time(wish.lease_ms), self._request(wish))
        puts = [Put(place[1], item._replace(delay_ms=self._time(item.delay_ms))) for item in new]
        real = Exchange([self._settle(held.place, *held.real, one) for held, one in chosen], puts, claim, commands)
        model = Exchange([self._settle(held.place, *held.model, one) for held, one in chosen], puts, claim, commands)
        answers = [self._done(self.store, place[0], real), self._done(self.model, place[0], model)]
        self._compare(place, *answers, held=[held for held, _ in chosen])
        times = [settle.delay_ms for settle in real.settles] + [put.item.delay_ms for put in puts]
        if BRIEF in times or (claim is not None and claim.lease_ms == BRIEF):
            self._let_time_pass()

    @rule(place=st.sampled_from(PLACES), new=st.lists(items, min_size=1, max_size=4), wish=wishes)
    def put_and_claim(self, place: tuple[str, str], new: list[NewItem], wish: Wish) -> None:
        """The same without anything that could be refused, so that there is something to claim."""
        self.exchange(place, [], new, wish, ())

    @rule(place=st.sampled_from(PLACES), one=decisions, wish=st.none() | wishes)
    def settle(self, place: tuple[str, str], one: Decision, wish: Wish | None) -> None:
        """A decision about one of the last leases, and perhaps a claim."""
        self.exchange(place, [one], [], wish, ())

    @rule(place=st.sampled_from(PLACES), limit=st.integers(1, 3))
    def redrive(self, place: tuple[str, str], limit: int) -> None:
        """Some of the dead."""
        assert self.store.redrive(*place, limit) == self.model.redrive(*place, limit)

    @rule(place=st.sampled_from(PLACES), dead=st.sampled_from((True, True, False)))
    def purge(self, place: tuple[str, str], dead: bool) -> None:  # noqa: FBT001 - as it was drawn
        """The dead, or all."""
        assert self.store.purge(*place, dead=dead) == self.model.purge(*place, dead=dead)

    @rule()
    def drop(self) -> None:
        """A partition with all that is in it; whether ids begin anew is nobody's business."""
        self.memory.drop_partition("other")
        self.model.drop("other")
        self.keys = {(partition, key) for partition, key in self.keys if partition != "other"}
        self.held = [held for held in self.held if held.place[0] != "other"]
        self.ids = {where: known for where, known in self.ids.items() if where[0][0] != "other"}
        self.fences = {where: pair for where, pair in self.fences.items() if where[0][0] != "other"}

    @invariant()
    def same(self) -> None:
        """Every queue holds what the reference holds."""
        for place in dict.fromkeys(PLACES):
            assert self.store.counts(*place) == self.model.counts(*place)
            for dead in (False, True):
                found = self.store.peek(*place, EVERYTHING, dead=dead)
                self._same_items(place, found, self.model.peek(*place, EVERYTHING, dead=dead))
        for partition in ("default", "other"):
            assert self.store.names(partition) == self.model.names(partition)

    # Both sides.

    def _time(self, delay_ms: int) -> int:
        return delay_ms if delay_ms != BRIEF or self.brief < MOST_BRIEF else LONG

    def _request(self, wish: Wish) -> str:
        self.requests += 1
        return wish.request_id or f"request {self.requests}"

    def _chosen(self, partition: str, settles: list[Decision]) -> list[tuple[Held, Decision]]:
        """Leases of a partition for the decisions, no item twice."""
        mine = [held for held in self.held if held.place[0] == partition]
        chosen = {mine[-1 - one.which % len(mine)]: one for one in settles if mine}
        return list({(held.place, held.real[0]): (held, one) for held, one in chosen.items()}.values())

    def _settle(self, place: tuple[str, str], number: int, fence: int, one: Decision) -> Settle:
        delay_ms = self._time(one.delay_ms)
        if one.verb == "extend":
            delay_ms = delay_ms or LONG
        error = one.error if one.verb in ("nack", "bury") else None
        return Settle(place[1], number, fence, one.verb, delay_ms if one.verb in ("nack", "extend") else 0, error)

    def _done(self, store: QueueStore, partition: str, step: Exchange) -> Exchanged | LeaseLost | VersionConflict:
        try:
            return store.exchange(partition, step)
        except (LeaseLost, VersionConflict) as error:
            return error

    def _compare(self, place: tuple[str, str], real: Any, model: Any, *, held: list[Held]) -> None:
        assert type(real) is type(model), (real, model)
        if isinstance(real, LeaseLost):
            lost = [one.model[0] for one in held if one.real[0] in real.items]
            assert set(model.items) <= set(lost)
            assert len(real.items) == len(model.items)
        elif isinstance(real, Exchanged):
            self._same_puts(place, real, model)
            self._same_items(place, real.items, model.items)
            assert (len(real.outcomes), len(real.ends)) == (len(model.outcomes), len(model.ends))
            pairs = zip(real.items, model.items, strict=True)
            self.held += [Held(place, (one.id, one.fence), (other.id, other.fence)) for one, other in pairs]

    def _same_puts(self, place: tuple[str, str], real: Exchanged, model: Exchanged) -> None:
        for one, other in zip(real.puts, model.puts, strict=True):
            assert one.created == other.created
            if one.created:
                assert all(one.id > known for where, known in self.ids if where == place), "ids rise"
                self.ids[place, one.id] = other.id
            assert self.ids[place, one.id] == other.id

    def _same_items(self, place: tuple[str, str], real: list[Item], model: list[Item]) -> None:
        assert [self._normal(place, one) for one in real] == [_normal(other, other.id) for other in model]
        for one, other in zip(real, model, strict=True):
            before = self.fences.get((place, one.id), (0, 0))
            assert (one.fence > before[0]) if other.fence > before[1] else (one.fence == before[0])
            self.fences[place, one.id] = (one.fence, other.fence)
            assert one.enqueued_at <= one.available_at

    def _normal(self, place: tuple[str, str], item: Item) -> tuple[object, ...]:
        return _normal(item, self.ids[place, item.id])

    def _let_time_pass(self) -> None:
        self.brief += 1
        repository = repository_of(self.memory)
        end = repository.server_time() + timedelta(milliseconds=BRIEF + 2)
        eventually(lambda: repository.server_time() > end)
        self.now += timedelta(seconds=1)


def _normal(item: Item, number: int) -> tuple[object, ...]:
    told = (item.body, item.priority, item.dedup_key, item.group, item.max_attempts, item.attempts, item.error)
    return (number, item.state, item.leased_until is None, *told)


def queue_machine(harness_factory: Callable[[], Harness]) -> type[QueueMachine]:
    """Return the machine for a backend.

    Args:
        harness_factory: called for each example; returns a harness on an empty store.
    """
    return type("QueueMachine", (QueueMachine,), {"harness_factory": staticmethod(harness_factory)})
