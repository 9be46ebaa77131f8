"""Learned values that all agents share: a Q-table whose steps the server makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentmem import arguments
from agentmem.coordination.replay import Replay, Rng, drawing
from agentmem.coordination.snapshot import Estimate, Snapshot
from agentmem.coordination.transitions import Transition, action_text, rate, state_text, thing_of, transition_of
from agentmem.errors import InvalidArgument
from agentmem.qtable_port import Learned, QTableStore, Step
from agentmem.ttl import UNSET

if TYPE_CHECKING:
    from agentmem.gateway import Gateway
    from agentmem.memory import Memory
    from agentmem.ttl import MaybeTTL

__all__ = ["DEFAULT_ALPHA", "DEFAULT_GAMMA", "Estimate", "QTable", "Snapshot", "Transition"]

DEFAULT_ALPHA: Final = 0.1
DEFAULT_GAMMA: Final = 0.9
DEFAULT_LIMIT: Final = 10_000


class QTable:
    """What actions are worth in states, learned by all agents together (R43). `memory.qtable(name)` gives one.

    Watkins and Dayan, "Q-learning", 1992. An update is one atomic step of the server, exact with any number of threads
    and processes: none is lost, and the doubles are the same to the last bit on every backend. What one agent learns
    all others see at once, a new process as well; nothing expires. Safe to share among threads.

    States and actions are str, int, float, bool, or tuples of these and of None, nested as may be; lists come back as
    tuples, because what is known is given as dicts by action. Different JSON is a different state: 1 is neither 1.0 nor
    "1". They are stored as text (a str as it is), a state of up to 1,024 bytes of UTF-8, an action of up to 256, and
    they are in order by the code points of that text.

    Besides what each method lists, all may raise Unavailable and Closed, and ConfigurationError where the backend has
    no learned values; what writes NamespaceError and OutcomeUnknown. After OutcomeUnknown an update counts or does not:
    whether to repeat it is the caller's choice, one step more or less matters little to an average.

    Attributes:
        name: relative to the handle.
        alpha: the learning rate, from 0 to 1, where an update names no other.
        gamma: what the future counts for, from 0 to 1.
        initial: where a value starts from.
    """

    def __init__(
        self, memory: Memory, gateway: Gateway, name: str, *, alpha: float, gamma: float, initial: float
    ) -> None:
        self._gateway = gateway
        self._path = gateway.scope.writable(name)
        self.name = gateway.scope.relative(self._path)
        self.alpha = rate("alpha", alpha)
        self.gamma = rate("gamma", gamma)
        self.initial = arguments.real("initial", initial)
        self._replay = Replay(memory, f"{self.name}/trajectory/")
        gateway.check_open()

    def __repr__(self) -> str:
        return f"<QTable {self.name!r} alpha={self.alpha:g} gamma={self.gamma:g} initial={self.initial:g}>"

    # Learning.

    def update(
        self,
        state: Any,
        action: Any,
        reward: float,
        next_state: Any = None,
        *,
        done: bool = False,
        alpha: float | None = None,
    ) -> float:
        """Learn from one step, and return the new value of the action in the state.

        The value moves by alpha of the way to its target: the reward, and where something follows gamma times the
        highest value that is known in `next_state`, or 0.0 where none is. One round trip.

        The step is exact about the value that it changes, which nobody else changes meanwhile. What other actions are
        worth in `next_state` is what was committed when the call began, or later.

        Args:
            state: see the class.
            action: see the class.
            reward: a finite number.
            next_state: what the action led to; None where nothing follows.
            done: nothing follows, whatever `next_state` is.
            alpha: in place of the table's.

        Raises:
            InvalidValue, InvalidKey, InvalidArgument: a bad argument, before any I/O.
            CounterOverflow: the value would not be a finite float. Nothing was changed.
        """
        return self.update_many([(state, action, reward, next_state, done, alpha)])[0]

    def update_many(self, transitions: Iterable[Transition | tuple[Any, ...]]) -> list[float]:
        """Learn from several steps in order, in one atomic batch; the new value that each of them made.

        As `update` for each, one after the other, to the last bit: a step sees what those before it made. After an
        error none of them counts. Batches on the same values wait for one another and do not deadlock.

        Args:
            transitions: each a Transition, or a tuple of its first three to six fields.

        Raises:
            InvalidValue, InvalidKey, InvalidArgument, CounterOverflow: as `update`.
        """
        steps = [self._step(transition_of(each)) for each in arguments.several("transitions", transitions)]
        if not steps:
            self._gateway.check_open()
            return []
        learned: list[Learned] = self._call(self._store.learn, steps)
        return [each.value for each in learned]

    def _step(self, given: Transition) -> Step:
        return Step(
            state_text(given.state),
            action_text(given.action),
            given.reward,
            None if given.done or given.next_state is None else state_text(given.next_state),
            self.alpha if given.alpha is None else given.alpha,
            self.gamma,
            self.initial,
        )

    # What is known.

    def value(self, state: Any, action: Any) -> float:
        """What an action is worth in a state: `initial` where that is not known."""
        learned = self._known(state).get(action_text(action))
        return self.initial if learned is None else learned.value

    def values(self, state: Any) -> dict[Any, float]:
        """What is known of a state, as of one moment: values by action, in order."""
        return {self._thing(action): learned.value for action, learned in self._known(state).items()}

    def visits(self, state: Any, action: Any) -> int:
        """How many updates made the value of an action in a state."""
        learned = self._known(state).get(action_text(action))
        return 0 if learned is None else learned.visits

    def best(self, state: Any, default: Any = None) -> Any:
        """The action of the highest value known in a state, the first in order of several; else `default`."""
        known = self._known(state)
        return self._thing(max(known, key=lambda action: known[action].value)) if known else default

    def choose(self, state: Any, actions: Sequence[Any], *, epsilon: float = 0.1, rng: Rng | None = None) -> Any:
        """Choose epsilon-greedily: any action with the probability `epsilon`, else one of the highest value.

        An action of which nothing is known counts `initial`; among several of the highest value the draw decides.

        Args:
            state: see the class.
            actions: those that are possible; one is returned as it was given.
            epsilon: from 0 to 1.
            rng: where randomness comes from, a `random.Random` or NumPy's Generator; None for Python's own.

        Raises:
            InvalidValue, InvalidKey, InvalidArgument: a bad argument, such as no action.
        """
        possible = arguments.several("actions", actions)
        texts = [action_text(action) for action in possible]
        if not possible:
            raise InvalidArgument("actions must be at least one")
        state_text(state)
        chance, draw = rate("epsilon", epsilon), drawing(rng).random
        if draw() < chance:
            self._gateway.check_open()
            candidates = possible
        else:
            known = self._known(state)
            worth = [known[text].value if text in known else self.initial for text in texts]
            highest = max(worth)
            candidates = [action for action, value in zip(possible, worth, strict=True) if value == highest]
        return candidates[int(draw() * len(candidates))] if len(candidates) > 1 else candidates[0]

    # The table as a whole.

    def snapshot(self) -> Snapshot:
        """All of the table, read in pieces while others may learn: each piece as of one moment.

        Raises:
            CorruptEntry: somebody else wrote a value or a name that agentmem does not.
        """
        return Snapshot.of_rows(self._rows(), self.name)

    def restore(self, snapshot: Snapshot) -> None:
        """Set values and visits to those of a snapshot, in one atomic batch.

        What else the table holds stays: `clear()` first, to have the snapshot alone.
        """
        self._write(self._store.store, _rows_of(snapshot))

    def merge(self, other: QTable | Snapshot) -> None:
        """Add what was learned elsewhere, in one atomic batch: visits add up, and a value is the mean by visits.

        So two agents that learned apart, on one backend or on two, are one. What is merged twice counts twice. A value
        without visits gives way to the other.

        Args:
            other: a snapshot, or a table, of any memory, which stays as it is.

        Raises:
            CounterOverflow: two values are so far apart that their difference is not finite. Nothing was changed.
        """
        self._write(self._store.merge, other._rows() if isinstance(other, QTable) else _rows_of(other))

    def decay(self, factor: float) -> int:
        """Multiply every value by a factor from 0 to 1, and return how many there were; visits stay.

        Works in bounded atomic pieces, so that learners never wait long: after an error some are smaller, others not.

        Raises:
            InvalidArgument: a bad factor.
        """
        return int(self._call(self._store.decay, rate("factor", factor)))

    def clear(self) -> int:
        """Remove all values, in bounded atomic pieces, and return how many there were. Trajectories stay."""
        return int(self._call(self._store.clear))

    # Replay.

    def record(
        self,
        trajectory: Iterable[Transition | tuple[Any, ...]],
        *,
        ttl: MaybeTTL = UNSET,
        limit: int = DEFAULT_LIMIT,
    ) -> str:
        """Keep a trajectory for replay, and return its key; one atomic batch.

        It is an entry below `<name>/trajectory/` of the handle, like any other: with a TTL it expires.

        Args:
            trajectory: transitions, as in `update_many`; at least one.
            ttl: as in `put`.
            limit: how many to keep: the oldest give way. All who record should name the same.

        Raises:
            InvalidValue, InvalidKey, InvalidArgument, InvalidTTL, ValueTooLarge: a bad argument.
            VersionConflict: so many others recorded at the same time that 64 attempts failed. Nothing was stored.
        """
        return self._replay.record(trajectory, ttl=ttl, limit=limit)

    def sample(self, n: int, *, rng: Rng | None = None) -> list[list[Transition]]:
        """Draw up to `n` different trajectories at random, each with the same chance; `update_many` takes each.

        Reads those that are drawn, whatever number there is; where many have expired, it looks for more in vain first.

        Args:
            n: how many; fewer come where there are fewer.
            rng: as in `choose`.

        Raises:
            InvalidArgument: a bad number. CorruptEntry: somebody else wrote what is no trajectory there.
        """
        return self._replay.sample(n, rng)

    # How the store is reached.

    @property
    def _store(self) -> QTableStore:
        return self._gateway.qtables

    def _call(self, method: Any, *arguments: Any) -> Any:
        return self._gateway.call(method, self._gateway.scope.partition, self._path, *arguments)

    def _write(self, method: Any, rows: Sequence[Learned]) -> None:
        self._gateway.check_open()
        if rows:
            self._call(method, rows)

    def _known(self, state: Any) -> dict[str, Learned]:
        return {learned.action: learned for learned in self._call(self._store.read, [state_text(state)])}

    def _rows(self) -> list[Learned]:
        store = self._store
        found: list[Learned] = self._call(lambda partition, path: list(store.walk(partition, path)))
        return found

    def _thing(self, text: str) -> Any:
        return thing_of(text, self.name)


def _rows_of(snapshot: object) -> Sequence[Learned]:
    if not isinstance(snapshot, Snapshot):
        raise InvalidArgument(f"a snapshot is what snapshot() or Snapshot.load() gives, not {type(snapshot).__name__}")
    return snapshot.rows
