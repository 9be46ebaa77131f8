"""Handles whose values are validated pydantic models. pydantic itself is imported when the first of them is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast, overload

from agentmem import retry
from agentmem.arguments import MISSING
from agentmem.coordination.fencing import Fence
from agentmem.entries import Entry, Page
from agentmem.errors import ConfigurationError, InvalidValue
from agentmem.loading import PIECE_ENTRIES
from agentmem.ttl import TTL, UNSET, MaybeTTL

if TYPE_CHECKING:
    from types import TracebackType

    from agentmem.memory import Memory
    from agentmem.reading import Order

M = TypeVar("M")
D = TypeVar("D")


class ModelCodec:
    """Turns a pydantic model into JSON and back, validating both ways.

    Args:
        model: a pydantic model, or any other type that pydantic's TypeAdapter takes.

    Raises:
        ConfigurationError: pydantic takes no such type.
    """

    def __init__(self, model: Any) -> None:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

        self._model = model
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
            # A name that is still undefined would otherwise come to light at the first value.
            self._adapter.rebuild(raise_errors=True)
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise ConfigurationError(f"typed() takes what pydantic can validate, not {model!r}: {error}") from error

    def to_json(self, value: Any) -> Any:
        """The JSON tree of a model, or of what validates as one.

        What it returns was validated once more as it will be at reading: a model that was changed to something invalid,
        or that does not read what it dumps, is refused now and not when somebody needs it.

        Raises:
            InvalidValue: pydantic refuses it; names the path of the first offender, with pydantic's error as the cause.
        """
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError

        try:
            instance = self._adapter.validate_python(value)
            tree = self._adapter.dump_python(instance, mode="json", by_alias=True, warnings="error")
            self.from_json(tree)
        except ValidationError as error:
            raise InvalidValue(*_first(error.errors(include_url=False, include_context=False))) from error
        except PydanticSerializationError as error:
            raise InvalidValue("value", str(error)) from error
        return tree

    def from_json(self, tree: Any) -> Any:
        """The model of a JSON tree, validated by the rules for JSON, so that a strict model takes its own dates back.

        Raises:
            pydantic.ValidationError: it does not fit the model.
        """
        return self._adapter.validate_json(json.dumps(tree))

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelCodec, (self._model,)


def _first(errors: list[Any]) -> tuple[str, str]:
    """Path and reason of the first of pydantic's errors."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in errors[0]["loc"])
    return "value" + "".join(steps), errors[0]["msg"]


class TypedEntry(Entry, Generic[M]):
    """An entry whose value is a model, validated when first asked for: a bad entry of a listing fails alone."""

    __slots__ = ()

    @property
    def value(self) -> M:
        """The value, as an instance of the model.

        Raises:
            CorruptEntry: what is stored does not validate any more; pydantic's error is the cause.
        """
        return cast("M", super().value)


class TypedMemory(Generic[M]):
    """The methods of `Memory` for values of one model, with the same promises and errors.

    Made by `memory.typed(Model)`. What is put may be an instance of the model or anything that validates as one; what
    is got is an instance. A stored value that does not validate raises CorruptEntry for that entry alone, and
    InvalidValue says where a value to be put breaks the model. Increments, appends and merges are left out: the server
    would apply them without the model.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def put(
        self,
        key: str,
        value: M | Mapping[str, Any],
        *,
        ttl: MaybeTTL = UNSET,
        metadata: Mapping[str, Any] | None = None,
        if_version: int | None = None,
        if_absent: bool = False,
        fence: Fence | None = None,
    ) -> TypedEntry[M]:
        """As `Memory.put`."""
        entry = self._memory.put(
            key, value, ttl=ttl, metadata=metadata, if_version=if_version, if_absent=if_absent, fence=fence
        )
        return cast("TypedEntry[M]", entry)

    def put_many(
        self, mapping: Mapping[str, M | Mapping[str, Any]], *, ttl: MaybeTTL = UNSET, chunk: int | None = None
    ) -> dict[str, TypedEntry[M]]:
        """As `Memory.put_many`."""
        return cast("dict[str, TypedEntry[M]]", self._memory.put_many(mapping, ttl=ttl, chunk=chunk))

    def load(
        self,
        pairs: Iterable[tuple[str, M | Mapping[str, Any]]] | Mapping[str, M | Mapping[str, Any]],
        *,
        ttl: MaybeTTL = UNSET,
        chunk: int = PIECE_ENTRIES,
    ) -> int:
        """As `Memory.load`."""
        return self._memory.load(pairs, ttl=ttl, chunk=chunk)

    @overload
    def get(self, key: str) -> M | None: ...
    @overload
    def get(self, key: str, default: D) -> M | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """As `Memory.get`."""
        return self._memory.get(key, default)

    def entry(self, key: str) -> TypedEntry[M] | None:
        """As `Memory.entry`."""
        return cast("TypedEntry[M] | None", self._memory.entry(key))

    def exists(self, key: str) -> bool:
        """As `Memory.exists`; it does not validate."""
        return self._memory.exists(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, M]:
        """As `Memory.get_many`."""
        return self._memory.get_many(keys)

    @overload
    def pop(self, key: str) -> M | None: ...
    @overload
    def pop(self, key: str, default: D) -> M | D: ...
    def pop(self, key: str, default: Any = None) -> Any:
        """As `Memory.pop`."""
        return self._memory.pop(key, default)

    def update(
        self,
        key: str,
        function: Callable[[M], M | Mapping[str, Any]],
        *,
        default: Any = MISSING,
        attempts: int = retry.DEFAULT_ATTEMPTS,
    ) -> TypedEntry[M]:
        """As `Memory.update`; `function` takes a model and returns one."""
        entry = self._memory.update(key, function, default=default, attempts=attempts)
        return cast("TypedEntry[M]", entry)

    def touch(self, key: str, ttl: TTL) -> bool:
        """As `Memory.touch`."""
        return self._memory.touch(key, ttl)

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """As `Memory.delete`."""
        return self._memory.delete(key, if_version=if_version)

    def delete_many(self, keys: Iterable[str]) -> int:
        """As `Memory.delete_many`."""
        return self._memory.delete_many(keys)

    def delete_matching(self, pattern: str, *, where: Mapping[Any, Any] | None = None) -> int:
        """As `Memory.delete_matching`."""
        return self._memory.delete_matching(pattern, where=where)

    def clear(self) -> int:
        """As `Memory.clear`: entries of other models are removed as well."""
        return self._memory.clear()

    def search(
        self,
        pattern: str = "*",
        *,
        where: Mapping[Any, Any] | None = None,
        order: Order = "key",
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[TypedEntry[M]]:
        """As `Memory.search`; `where` looks at the stored JSON, with the names that the model dumps."""
        page = self._memory.search(pattern, where=where, order=order, descending=descending, limit=limit, cursor=cursor)
        return cast("Page[TypedEntry[M]]", page)

    def keys(self, prefix: str = "", *, limit: int | None = None) -> Iterator[str]:
        """As `Memory.keys`."""
        return self._memory.keys(prefix, limit=limit)

    def items(self, prefix: str = "") -> Iterator[TypedEntry[M]]:
        """As `Memory.items`."""
        return cast("Iterator[TypedEntry[M]]", self._memory.items(prefix))

    def children(self, prefix: str = "", *, depth: int = 1) -> list[str]:
        """As `Memory.children`."""
        return self._memory.children(prefix, depth=depth)

    def count(self, pattern: str = "*", *, where: Mapping[Any, Any] | None = None) -> int:
        """As `Memory.count`; it does not validate."""
        return self._memory.count(pattern, where=where)

    def close(self) -> None:
        """Close this handle, and not the one that it was made from. Idempotent."""
        self._memory.close()

    def __enter__(self) -> Self:
        self._memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Typed{repr(self._memory)[1:]}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a typed handle cannot be pickled: pickle the memory, and call typed() on it again")
