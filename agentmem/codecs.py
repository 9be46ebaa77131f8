"""A codec for the types that JSON lacks, for `connect(codec=TypeCodec(...))`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from agentmem.errors import ConfigurationError
from agentmem.values import MAX_LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    Write = Callable[[Any, "_Open"], Any]
    Read = Callable[[Any], Any]

TAG: Final = "$type"
BODY: Final = "value"
_OBJECT: Final = "object"
"""The tag of a dict of the user's that has the key `$type` itself."""

_Open = set[int]
"""The ids of what is being written, from the root to here: what is met again contains itself."""


class TypeCodec:
    """Stores datetime, date, time, UUID, Decimal and registered classes, at any depth, and gives them back.

    Each becomes an object such as `{"$type": "date", "value": "2024-02-29"}`; a dict that has the key `$type` itself
    is wrapped likewise, so that everything comes back as it was. What a tag names at reading is looked up among the
    registered classes and never imported; an unknown tag makes a CorruptEntry. An instance of a class that is not
    registered, or of a subclass, is refused as without a codec.

    An aware datetime or time keeps its offset from UTC, not the name of its zone. A member of an Enum is stored by its
    name, of a Flag by its number. A dataclass is rebuilt by its constructor, so a field that is added later needs a
    default. A pydantic model is stored as pydantic dumps it to JSON, and validated at reading.

    Args:
        types: Enum classes, dataclasses and pydantic models. The name of a class is its tag: renaming the class
            makes what is stored unreadable.

    Raises:
        ConfigurationError: something else was given, a name is taken, or a dataclass cannot be rebuilt from its
            fields.
    """

    def __init__(self, *types: type) -> None:
        self._writers: dict[type, tuple[str, Write]] = {}
        self._readers: dict[str, Read] = {_OBJECT: self._read_items}
        for kind, write, read in (
            (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
            (dt.date, dt.date.isoformat, dt.date.fromisoformat),
            (dt.time, dt.time.isoformat, dt.time.fromisoformat),
            (UUID, str, UUID),
            (Decimal, str, Decimal),
        ):
            self._add(kind, kind.__name__.lower(), _without_depth(write), read)
        self._types = types
        for registered in types:
            self._register(registered)

    def __reduce__(self) -> tuple[Any, ...]:
        # What writes and reads is made of functions, which cannot be pickled; handles, entries, errors bear the codec.
        return type(self), self._types

    def to_json(self, value: Any) -> Any:
        """Return the tagged tree; what is not known here stays as it is, and `encode` refuses it by its path."""
        return self._write(value, set())

    def from_json(self, tree: Any) -> Any:
        """Return the value of a tagged tree.

        Raises:
            Exception: for an unknown tag, and whatever the constructor of a tagged type raises.
        """
        if type(tree) is list:
            return [self.from_json(item) for item in tree]
        if type(tree) is not dict:
            return tree
        if TAG not in tree:
            return self._read_items(tree)
        tag = tree[TAG]
        if tree.keys() != {TAG, BODY} or not isinstance(tag, str) or tag not in self._readers:
            raise ValueError(f"{TAG} {tag!r} is not known to this codec")
        return self._readers[tag](tree[BODY])

    def _read_items(self, tree: dict[str, Any]) -> dict[str, Any]:
        return {key: self.from_json(item) for key, item in tree.items()}

    def _write(self, value: Any, around: _Open) -> Any:
        kind = type(value)
        tag, write = self._writers.get(kind, ("", None))
        if write is None and kind not in (dict, list, tuple):
            return value
        if write is not None and id(value) in around:
            raise ValueError(f"a {kind.__name__} contains itself")
        if id(value) in around or len(around) > MAX_LEVELS:
            return value  # `encode` refuses it, and can say where it is.
        around.add(id(value))
        tree = self._write_container(value, around) if write is None else {TAG: tag, BODY: write(value, around)}
        around.discard(id(value))
        return tree

    def _write_container(self, value: Any, around: _Open) -> Any:
        if type(value) is not dict:
            return [self._write(item, around) for item in value]
        tree = {key: self._write(item, around) for key, item in value.items()}
        return {TAG: _OBJECT, BODY: tree} if TAG in tree else tree

    def _register(self, kind: type) -> None:
        from pydantic import BaseModel

        if not isinstance(kind, type):
            raise ConfigurationError(f"TypeCodec takes classes, not {kind!r}")
        if kind in self._writers:
            return
        if issubclass(kind, enum.Flag):
            self._add(kind, kind.__name__, _without_depth(lambda flag: flag.value), kind)
        elif issubclass(kind, enum.Enum):
            self._add(kind, kind.__name__, _without_depth(lambda member: member.name), lambda name: kind[name])
        elif issubclass(kind, BaseModel):
            self._add(kind, kind.__name__, _without_depth(_dump_model), _model_reader(kind))
        elif dataclasses.is_dataclass(kind):
            self._register_dataclass(kind)
        else:
            raise ConfigurationError(f"TypeCodec takes Enums, dataclasses and pydantic models, not {kind.__name__}")

    def _register_dataclass(self, kind: type) -> None:
        fields = dataclasses.fields(kind)
        given = [field.name for field in fields if field.init]
        computed = [field.name for field in fields if not field.init]
        try:
            inspect.signature(kind).bind(**dict.fromkeys(given))
        except TypeError as error:
            raise ConfigurationError(f"{kind.__name__} cannot be rebuilt from its fields: {error}") from error

        def write(value: Any, around: _Open) -> dict[str, Any]:
            return {name: self._write(getattr(value, name), around) for name in (*given, *computed)}

        def read(tree: dict[str, Any]) -> Any:
            items = self._read_items(tree)
            later = {name: items.pop(name) for name in computed if name in items}
            value = kind(**items)
            for name, item in later.items():
                object.__setattr__(value, name, item)  # also where the dataclass is frozen
            return value

        self._add(kind, kind.__name__, write, read)

    def _add(self, kind: type, tag: str, write: Write, read: Read) -> None:
        if tag in self._readers:
            raise ConfigurationError(f"TypeCodec knows the name {tag!r} already: give the class another name")
        self._writers[kind] = (tag, write)
        self._readers[tag] = read


def _without_depth(write: Callable[[Any], Any]) -> Write:
    return lambda value, _around: write(value)


def _dump_model(model: BaseModel) -> Any:
    # By name and for a round trip: an alias that only serves one direction, or a computed field, would not be
    # accepted back. What pydantic only warns of, such as a field of another type, would not come back as it was.
    return model.model_dump(mode="json", by_alias=False, round_trip=True, warnings="error")


def _model_reader(kind: type[BaseModel]) -> Read:
    # JSON mode, so that strict models take their datetimes from text too.
    return lambda tree: kind.model_validate_json(json.dumps(tree), by_alias=False, by_name=True)
