"""The tree of a parsed `where`: frozen nodes that the evaluator and the SQL translators walk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

Root = Literal["value", "metadata", "version", "created_at", "updated_at", "expires_at"]
Operator = Literal["eq", "gt", "gte", "lt", "lte", "contains", "startswith"]

TIMES: Final = frozenset({"created_at", "updated_at", "expires_at"})


@dataclass(frozen=True, slots=True)
class Field:
    """What a condition looks at.

    Attributes:
        root: a part of the entry. Metadata that is empty is an empty object, never missing; an `expires_at` of an
            entry that never expires equals None and does not exist.
        path: steps into `value` or `metadata`: a str into an object only, an int from 0 into a list only; else empty.
    """

    root: Root
    path: tuple[str | int, ...] = ()

    @property
    def is_time(self) -> bool:
        """Whether its operands are datetimes (or None)."""
        return self.root in TIMES


class Filter:
    """A condition on an entry. Equal, and hashable, by `text`."""

    @property
    def text(self) -> str:
        """The canonical text: filters that were parsed to the same tree have the same; `filters.loads` reads it."""
        # Kept without functools.cached_property, whose lock in Python 3.11 a forked child may inherit (R33).
        kept = self.__dict__
        if "_text" not in kept:
            kept["_text"] = json.dumps(self._tree(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return str(kept["_text"])

    def _tree(self) -> list[Any]:
        raise NotImplementedError

    # Dataclasses would compare operands, and in Python True == 1 == 1.0.
    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Filter) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, eq=False)
class And(Filter):
    """Every part holds; without parts, always."""

    parts: tuple[Filter, ...]

    def _tree(self) -> list[Any]:
        return ["and", [part._tree() for part in self.parts]]


@dataclass(frozen=True, eq=False)
class Or(Filter):
    """At least one part holds; there is at least one."""

    parts: tuple[Filter, ...]

    def _tree(self) -> list[Any]:
        return ["or", [part._tree() for part in self.parts]]


@dataclass(frozen=True, eq=False)
class Not(Filter):
    """The part does not hold."""

    part: Filter

    def _tree(self) -> list[Any]:
        return ["not", self.part._tree()]


@dataclass(frozen=True, eq=False)
class Compare(Filter):
    """The field exists and stands in a relation to the operand; false between unlike types.

    Attributes:
        op: `eq`: equal, objects and lists in depth. `gt`, `gte`, `lt`, `lte`: numbers, strings or times among
            themselves. `contains`: a list has an element equal to the operand, or a string has it as a substring.
            `startswith`: a string begins with it.
        operand: JSON without U+0000; of a time a UTC datetime or None.
    """

    field: Field
    op: Operator
    operand: Any

    def _tree(self) -> list[Any]:
        return [self.op, _field_tree(self.field), operand_tree(self.operand)]


@dataclass(frozen=True, eq=False)
class In(Filter):
    """The field exists and equals one of the operands; there may be none. They are sorted by their JSON texts."""

    field: Field
    operands: tuple[Any, ...]

    def _tree(self) -> list[Any]:
        return ["in", _field_tree(self.field), [operand_tree(operand) for operand in self.operands]]


@dataclass(frozen=True, eq=False)
class Exists(Filter):
    """The field is there, be it null."""

    field: Field

    def _tree(self) -> list[Any]:
        return ["exists", _field_tree(self.field)]


def _field_tree(field: Field) -> list[Any]:
    return [field.root, *field.path]


def operand_tree(operand: Any) -> Any:
    """Return an operand as JSON: a time as ISO-8601 text."""
    return operand.isoformat() if isinstance(operand, datetime) else operand
