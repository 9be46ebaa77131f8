"""What one key must do, as a sequence of single steps: a register that holds a number and counts its versions.

It is the specification that agentmem.testing.linearizability looks for an order by. It knows the contract's rules for
one key alone (R12, R13, R14), and says of each answer whether a register in a given state may give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from agentmem.operations import Check, Delete, Increment, Put


class _Absent(Enum):
    ABSENT = "absent"

    def __repr__(self) -> str:
        return self.value


ABSENT: Final = _Absent.ABSENT
"""In place of a value: there is no entry."""


@dataclass(frozen=True, slots=True)
class Get:
    """A read of one key."""

    key: str


class Found(NamedTuple):
    """An entry as an answer tells it; `version` is None where the answer does not tell it."""

    value: Any
    version: int | None = None


class Refused(NamedTuple):
    """An expectation failed, and this was there in its place: None for no entry."""

    current: Found | None


Step = Get | Check | Put | Increment | Delete
"""What a register does. Put, Increment, Delete and Check are those of agentmem.operations, their TTLs left alone."""

Answer = Found | Refused | bool | None
"""Get: what was found, or None. Put, Increment: what was written. Delete: whether there was an entry. Check: True."""


class Register(NamedTuple):
    """The state of one key.

    Attributes:
        value: what it holds, or ABSENT.
        version: of the entry; None where there is none, or where its version was told to nobody yet.
        floor: the highest version that is known to have been given; a new one must be above.
    """

    value: Any = ABSENT
    version: int | None = None
    floor: int = 0


def answered(register: Register, step: Step, answer: Answer) -> Register | None:
    """The register after a step that was answered so; None: from this state it cannot have been.

    Args:
        register: before.
        step: what was asked.
        answer: what came back.
    """
    if isinstance(answer, Refused):
        before = _seen(register, answer.current)
        return before if before is not None and _met(before, step) is None else None
    if isinstance(step, Get):
        return _seen(register, answer) if answer is None or isinstance(answer, Found) else None
    before = _met(register, step)
    if before is None or isinstance(step, Check):
        return before
    if isinstance(step, Delete):
        return Register(floor=before.floor) if answer is (before.value is not ABSENT) else None
    if not isinstance(answer, Found) or answer.value != _sum(before, step):
        return None
    return _written(before, answer)


def unanswered(register: Register, step: Step) -> Register | None:
    """The register after a step whose answer was lost, if it took effect; None: it cannot have."""
    before = _met(register, step)
    if before is None or isinstance(step, Get | Check):
        return before
    if isinstance(step, Delete):
        return Register(floor=before.floor)
    return _written(before, Found(_sum(before, step)))


def _met(register: Register, step: Step) -> Register | None:
    """The register, if it is as the step expects."""
    match step:
        case Put(if_absent=True) | Check(version=None):
            return register if register.value is ABSENT else None
        case Check(version=int(version)) | Put(if_version=int(version)) | Delete(if_version=int(version)):
            return _pinned(register, version)
        case _:
            return register


def _seen(register: Register, found: Found | None) -> Register | None:
    if found is None or register.value is ABSENT:
        return register if found is None and register.value is ABSENT else None
    if found.value != register.value:
        return None
    return register if found.version is None else _pinned(register, found.version)


def _pinned(register: Register, version: int) -> Register | None:
    """The register, if its entry may have this version; from now on it has no other."""
    if register.value is ABSENT:
        return None
    if register.version == version:
        return register
    if register.version is None and version > register.floor:
        return Register(register.value, version, version)
    return None


def _sum(register: Register, step: Put | Increment) -> Any:
    if isinstance(step, Put):
        return step.value
    return (step.initial if register.value is ABSENT else register.value) + step.by


def _written(register: Register, found: Found) -> Register | None:
    if found.version is None:
        return Register(found.value, None, register.floor)
    return Register(found.value, found.version, found.version) if found.version > register.floor else None
