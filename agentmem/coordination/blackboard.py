"""What every part of a `Fleet` stands on: a memory, and the keys below the fleet's own prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentmem.coordination.names import level
from agentmem.keys import validate_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.coordination.member import Member
    from agentmem.entries import Entry
    from agentmem.gateway import Gateway
    from agentmem.memory import Memory


class Blackboard:
    """A fleet's keys in a memory.

    Args:
        memory: the handle; its life is the fleet's.
        gateway: the handle's, for what its methods do not offer.
        name: of the fleet.

    Attributes:
        name: of the fleet.
        prefix: what all of its keys begin with, relative to the handle: `fleet/<name>/`.

    Raises:
        InvalidKey: a bad name.
    """

    def __init__(self, memory: Memory, gateway: Gateway, name: str) -> None:
        self.name = name
        self.prefix = f"fleet/{level(name)}/"
        self._memory = memory
        self._gateway = gateway

    def _key(self, kind: str, name: str) -> str:
        """Where something of a kind is; its name comes last, so it may hold slashes."""
        return f"{self.prefix}{kind}/{validate_key(name)}"

    def _names(self, kind: str) -> set[str]:
        prefix = f"{self.prefix}{kind}/"
        return {key.removeprefix(prefix) for key in self._memory.keys(prefix)}

    def _below(self, kind: str) -> Iterator[tuple[str, Entry]]:
        """What there is of a kind, by name, in order of names."""
        prefix = f"{self.prefix}{kind}/"
        for entry in self._memory.items(prefix):
            yield entry.key.removeprefix(prefix), entry

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self._memory!r}>"


def name_of(agent: str | Member) -> str:
    """The name of an agent that is given by name or as a member."""
    return agent if isinstance(agent, str) else agent.agent
