"""What one key must do, as a sequence of single steps: a register that holds a number and counts its versions.

It is the specification that agentmem.testing.linearizability looks for an order by. It knows the contract's rules for
one key alone (R12, R13, R14), and says of each answer whether a register in a given state may give it.

Where versions are `late`, a new entry may be seen at a version below the one that its writer is told, and neither need
be above those of an entry that was there before (docs/adr/0004). All the rest holds there as well.
"""

from __future__ import annotations

import sys
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


LATER: Final = sys.maxsize
"""In place of a final version: its writer was told none."""


class Register(NamedTuple):
    """The state of one key.

    Attributes:
        value: what it holds, or ABSENT.
        version: of the entry; None where there is none, or where its version was told to nobody yet.
        floor: the highest version that is known to have been given; a new one must be above.
        final: where versions are late: what this one is going to be, at the latest when the writer is told; None when
            it cannot change any more.
    """

    value: Any = ABSENT
    version: int | None = None
    floor: int = 0
    final: int | None = None


def answered(register: Register, step: Step, answer: Answer, *, late: bool = False) -> Register | None:
    """The register after a step that was answered so; None: from this state it cannot have been.

    Args:
        register: before.
        step: what was asked.
        answer: what came back.
        late: whether versions are.
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
        return _removed(before, late=late) if answer is (before.value is not ABSENT) else None
    if not isinstance(answer, Found) or answer.value != _sum(before, step):
        return None
    return _written(before, answer, late=late)


def unanswered(register: Register, step: Step, *, late: bool = False) -> Register | None:
    """The register after a step whose answer was lost, if it took effect; None: it cannot have."""
    before = _met(register, step)
    if before is None or isinstance(step, Get | Check):
        return before
    if isinstance(step, Delete):
        return _removed(before, late=late)
    return _written(before, Found(_sum(before, step)), late=late)


def _met(register: Register, step: Step) -> Register | None:
    """The register, if it is as the step expects."""
    match step:
        case Put(if_absent=True) | Check(version=None):
            return register if register.value is ABSENT else None
        case Check(version=int(version)):
            return _pinned(register, version)
        case Put(if_version=int(version)) | Delete(if_version=int(version)):
            before = _pinned(register, version)
            # Once it is overwritten, its version can change no more: then nobody could have been told another one.
            return before if before is not None and before.final in (None, LATER) else None
        case _:
            return register


def _seen(register: Register, found: Found | None) -> Register | None:
    if found is None or register.value is ABSENT:
        return register if found is None and register.value is ABSENT else None
    if found.value != register.value:
        return None
    return register if found.version is None else _pinned(register, found.version)


def _pinned(register: Register, version: int) -> Register | None:
    """The register, if its entry may have this version; from now on it has no other, but for the final one."""
    if register.value is ABSENT:
        return None
    if register.version == version:
        return register
    if register.final is not None:
        return _pinned_early(register, version, register.final)
    if register.version is None and version > register.floor:
        return Register(register.value, version, version)
    return None


def _pinned_early(register: Register, version: int, final: int) -> Register | None:
    if version == final or (register.version is not None and version > register.version and final == LATER):
        return Register(register.value, version, version)
    return register._replace(version=version) if register.version is None and version < final else None


def _sum(register: Register, step: Put | Increment) -> Any:
    if isinstance(step, Put):
        return step.value
    return (step.initial if register.value is ABSENT else register.value) + step.by


def _written(register: Register, found: Found, *, late: bool) -> Register | None:
    floor = _floor(register)
    if found.version is not None and found.version <= floor:
        return None
    if late and register.value is ABSENT:
        return Register(found.value, None, floor, LATER if found.version is None else found.version)
    return Register(found.value, found.version, floor if found.version is None else found.version)


def _removed(register: Register, *, late: bool) -> Register:
    return Register(floor=0 if late else register.floor)


def _floor(register: Register) -> int:
    """What is known to have been given; what a writer was told was given before anybody wrote over it."""
    told = 0 if register.final in (None, LATER) else register.final or 0
    return max(register.floor, register.version or 0, told)
