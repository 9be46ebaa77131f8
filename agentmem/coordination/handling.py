"""What a handler of `queue.work` may ask for by what it returns: operations, done in the step that acks its job."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from agentmem import translate
from agentmem.errors import InvalidArgument
from agentmem.jobs import Job, settling
from agentmem.operations import Ack, Nack, Operation

if TYPE_CHECKING:
    from agentmem.gateway import Gateway

_INSTEAD: Final = "give a function that runs it, by asyncio.run for instance"


def handler_of(given: Callable[[Job], object]) -> Callable[[Job], object]:
    """The handler, unless one can tell before any call that it works on nothing when it is called.

    Raises:
        InvalidArgument: it is no function, or an `async def`.
    """
    if not callable(given):
        raise InvalidArgument(f"handler must be a function, not {type(given).__name__}")
    if inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given):
        raise InvalidArgument(f"handler must not be `async def`: nothing awaits it; {_INSTEAD}")
    return given


def step_of(returned: object, job: Job, gateway: Gateway) -> Callable[[], None] | None:
    """The step that does what a handler returned, and acks its job: all of it, or nothing.

    Args:
        returned: by the handler; a generator is run here.
        job: the handler's.
        gateway: of the queue.

    Returns:
        What does it; None where no operations were returned.

    Raises:
        InvalidArgument: operations and something else, a bad argument of one, or the job is settled already; what would
            have to be awaited, so that nothing has been done.
        Exception: what a generator raises.
    """
    operations = _operations(returned)
    if not operations:
        return None
    if job.is_settled:
        raise InvalidArgument(f"the handler settled {job!r} itself: operations that it returns would come too late")
    wanted = [*operations, Ack(job)]
    parts = [translate.part(gateway.scope, one) for one in wanted]
    jobs = [one.job for one in wanted if isinstance(one, Ack | Nack)]

    def step() -> None:
        with settling(jobs):
            gateway.apply_parts(parts)

    return step


def _operations(returned: object) -> list[Any]:
    """What was returned, if any of it is an operation. Else it is no business of ours."""
    if isinstance(returned, GeneratorType):
        return list(returned)
    if isinstance(returned, Awaitable | AsyncIterator):
        if inspect.iscoroutine(returned):
            returned.close()  # Python would warn of it, far from here
        raise InvalidArgument(f"the handler returned a {type(returned).__name__}, which nothing awaits; {_INSTEAD}")
    several = returned if isinstance(returned, list | tuple) else [returned]
    return list(several) if any(isinstance(one, Operation) for one in several) else []
