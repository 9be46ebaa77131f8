"""States, actions and transitions: from what a caller writes to what is stored, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from agentmem import arguments, values
from agentmem.errors import InvalidArgument, InvalidKey, InvalidValue
from agentmem.keys import validate_name
from agentmem.qtable_port import MAX_ACTION_BYTES, MAX_STATE_BYTES
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES

_JSON: Final = "="
"""In front of what is no plain text. A text that begins with it is written as JSON as well, so that no two are one."""
_LIMITS: Final = {"state": MAX_STATE_BYTES, "action": MAX_ACTION_BYTES}


class Transition(NamedTuple):
    """One step of an agent: what it saw, did, got, and saw then.

    Attributes:
        state, action: str, int, float, bool, or a tuple of these and of None.
        reward: a finite number.
        next_state: as state; None where nothing follows.
        done: nothing follows, whatever `next_state` is.
        alpha: the learning rate of this step; None for the table's.
    """

    state: Any
    action: Any
    reward: float
    next_state: Any = None
    done: bool = False
    alpha: float | None = None


def state_text(state: object) -> str:
    """What a state is stored as.

    Raises:
        InvalidValue: None, a dict, or what JSON cannot hold. InvalidKey: above 1,024 bytes, empty, or with a NUL.
    """
    return _text("state", state)


def action_text(action: object) -> str:
    """As `state_text`, of an action: up to 256 bytes."""
    return _text("action", action)


def _text(what: str, thing: object) -> str:
    limit = _LIMITS[what]
    if isinstance(thing, str) and not thing.startswith(_JSON):
        text = validate_name(thing, what)
    else:
        text = validate_name(_JSON + _json(what, thing), what)
    size_bytes = len(text.encode())
    if size_bytes > limit:
        raise InvalidKey(f"the {what} is {size_bytes:,} bytes of UTF-8, the limit is {limit:,} bytes")
    return text


def _json(what: str, thing: object) -> str:
    if thing is None:
        raise InvalidValue(what, "None stands for none: give it a name")
    plain = str.__str__(thing) if isinstance(thing, str) else thing
    text = values.encode(plain, max_bytes=DEFAULT_MAX_VALUE_BYTES, root=what)
    if "{" in text and _has_dict(plain):
        raise InvalidValue(what, "no dict can be the key of one: give a tuple of its items, or its JSON")
    return text


def _has_dict(tree: Any) -> bool:
    return isinstance(tree, dict) or (isinstance(tree, list | tuple) and any(map(_has_dict, tree)))


def thing_of(text: str, table: str) -> Any:
    """The state or action of a text; what was a list comes back as a tuple.

    Raises:
        CorruptEntry: somebody else wrote it; `table` is the key that the error names.
    """
    return _hashable(values.decode(text[1:], table)) if text.startswith(_JSON) else text


def _hashable(tree: Any) -> Any:
    return tuple(map(_hashable, tree)) if isinstance(tree, list) else tree


def transition_of(given: object) -> Transition:
    """A transition, or a tuple of its first three to six fields; states and actions are not looked at.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(given, tuple | list) or not 3 <= len(given) <= 6:
        raise InvalidArgument(
            "a transition is (state, action, reward), and perhaps next_state, done and alpha, "
            f"not {values.shown(given)}"
        )
    made = Transition(*given)
    reward = arguments.real("reward", made.reward)
    alpha = None if made.alpha is None else rate("alpha", made.alpha)
    arguments.flag("done", made.done)
    return made._replace(reward=reward, alpha=alpha)


def rate(name: str, value: object) -> float:
    """A number from 0 to 1.

    Raises:
        InvalidArgument: anything else.
    """
    return arguments.real(name, value, lowest=0.0, highest=1.0)


def to_json(trajectory: Iterable[object]) -> list[list[Any]]:
    """A trajectory as a JSON value.

    Raises:
        InvalidArgument, InvalidValue, InvalidKey: it is none.
    """
    transitions = [transition_of(each) for each in arguments.several("trajectory", trajectory)]
    for transition in transitions:
        state_text(transition.state)
        action_text(transition.action)
        if transition.next_state is not None:
            state_text(transition.next_state)
    return [list(transition) for transition in transitions]


def from_json(trajectory: Any) -> list[Transition]:
    """A trajectory of its JSON value.

    Raises:
        InvalidArgument: it is none.
    """
    return [transition_of(_hashable(each)) for each in arguments.several("trajectory", trajectory)]
