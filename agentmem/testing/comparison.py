"""Answers of a backend and of the model in one form, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentmem.entries import Entry
from agentmem.errors import AgentMemError, VersionConflict
from agentmem.operations import Result
from agentmem.testing.model import Item, Outcome
from agentmem.testing.support import exactly


def normal(answer: Any) -> Any:
    """An answer in a form that is equal when both sides mean the same."""
    if isinstance(answer, Entry | Item):
        expires = (answer.expires_at if isinstance(answer, Entry) else answer.expires) is not None
        return ("entry", answer.key, exactly(answer.value), exactly(answer.metadata), expires)
    if isinstance(answer, Result | Outcome):
        return ("result", answer.key, normal(answer.value), normal(answer.entry))
    if isinstance(answer, list):
        return [normal(each) for each in answer]
    if isinstance(answer, dict) and any(isinstance(each, Entry | Item) for each in answer.values()):
        return [(key, normal(each)) for key, each in answer.items()]
    return exactly(answer)


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """The normal form of what a call returns or raises."""
    try:
        return ("returned", normal(call()))
    except VersionConflict as error:
        return ("raised", VersionConflict, error.key, normal(error.current))
    except AgentMemError as error:
        return ("raised", type(error), getattr(error, "key", None))
