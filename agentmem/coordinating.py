"""What agents that work together ask a `Memory` for: queues, leases, sessions, fleets, learned values, changes."""

from __future__ import annotations

from agentmem.handle import Handle


class Coordinating(Handle):
    """The part of `Memory` that agents work together by; docs/coordination.md shows each by an example.

    Names are keys under R1 and relative to the handle, as keys are: a scoped handle sees its own queues alone, and a
    namespace (R4) must begin them. What each object offers is atomic as its own documentation says. Nothing here makes
    any I/O before a method of the object is called.
    """
