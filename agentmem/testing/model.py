"""A memory in a dict: the contract written down a second time, plainly, to compare every backend with.

It shares no code with the planner or the evaluator that backends use. Time stands still in it: a TTL either is long, or
ends as soon as `bury` is called.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from agentmem.arguments import MISSING
from agentmem.errors import CounterOverflow, InvalidOperation, NamespaceError, VersionConflict
from agentmem.operations import Append, Check, Delete, EntryOperation, Increment, Merge, Put, Touch
from agentmem.testing.model_filters import holds
from agentmem.ttl import UNSET

LONG = 3600
DEAD = 0.001
"""A TTL after which an entry is dead as soon as one has waited a little."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Item:
    """What is known of an entry.

    `expires` is a TTL, None for never; `born` is the version of its first put, `written` the number of its last batch.
    """

    key: str
    value: Any
    metadata: dict[str, Any]
    expires: float | None
    version: int
    born: int
    written: int


@dataclass(frozen=True)
class Outcome:
    """As agentmem.operations.Result."""

    key: str
    value: Any
    entry: Item | None


State = dict[str, Item]


class Model:
    """All partitions with their policies: `policies[name]` is (default TTL, namespace)."""

    def __init__(self) -> None:
        self.partitions: dict[str, State] = {}
        self.policies: dict[str, tuple[float | None, str | None]] = {}
        self.writes = 0
        self.batches = 0

    def define(self, name: str, default_ttl: Any, namespace: Any) -> None:
        """Set what is not UNSET of a partition's policy."""
        if default_ttl is UNSET and namespace is UNSET:
            return
        ttl, fence = self.policies.get(name, (None, None))
        ttl = ttl if default_ttl is UNSET else default_ttl
        self.policies[name] = (ttl, fence if namespace is UNSET else namespace)

    def bury(self) -> list[tuple[str, str]]:
        """Forget what was given the TTL DEAD; return where it was."""
        dead = [
            (name, k) for name, state in self.partitions.items() for k, item in state.items() if item.expires == DEAD
        ]
        for name, key in dead:
            del self.partitions[name][key]
        return dead


class View:
    """The model's counterpart of a `Memory`: one partition, perhaps below a prefix; the same methods."""

    def __init__(self, model: Model, partition: str, prefix: str = "") -> None:
        self.model, self.partition_name, self.prefix = model, partition, prefix

    @property
    def state(self) -> State:
        """The entries of the partition, by absolute key."""
        return self.model.partitions.setdefault(self.partition_name, {})

    def mine(self, prefix: str = "") -> list[Item]:
        """The entries of this view whose relative keys begin with a prefix, sorted, with relative keys."""
        whole = self.prefix + prefix
        keys = sorted(k for k in self.state if k.startswith(whole) and (not self.prefix or k != self.prefix))
        return [self.relative(self.state[key]) for key in keys]

    def relative(self, item: Item) -> Item:
        """The item as this view shows it."""
        return replace(item, key=item.key.removeprefix(self.prefix))

    # Reading.

    def entry(self, key: str) -> Item | None:
        """As Memory.entry."""
        item = self.state.get(self.prefix + key)
        return None if item is None else self.relative(item)

    def get(self, key: str, default: Any = None) -> Any:
        """As Memory.get."""
        item = self.entry(key)
        return default if item is None else item.value

    def exists(self, key: str) -> bool:
        """As Memory.exists."""
        return self.entry(key) is not None

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """As Memory.get_many."""
        return {key: self.get(key) for key in keys if self.exists(key)}

    def keys(self, prefix: str = "", limit: int | None = None) -> list[str]:
        """As Memory.keys."""
        return [item.key for item in self.mine(prefix)][:limit]

    def items(self, prefix: str = "") -> list[Item]:
        """As Memory.items."""
        return self.mine(prefix)

    def children(self, prefix: str = "", depth: int = 1) -> list[str]:
        """As Memory.children."""
        return sorted({cut(key, prefix, depth) for key in self.keys(prefix) if key != prefix})

    def found(self, pattern: str, where: Mapping[Any, Any] | None = None) -> list[Item]:
        """What a search finds, by key."""
        expression = translated(pattern)
        return [i for i in self.mine() if expression.fullmatch(i.key) and holds(where or {}, i.value, i.metadata)]

    def count(self, pattern: str = "*", where: Mapping[Any, Any] | None = None) -> int:
        """As Memory.count."""
        return len(self.found(pattern, where))

    # Writing.

    def apply(self, operations: Iterable[EntryOperation]) -> list[Outcome]:
        """As Memory.apply: on a copy, which becomes the state if nothing fails."""
        state = dict(self.state)
        self.model.batches += 1
        outcomes = [self._step(state, operation) for operation in operations]
        self.model.partitions[self.partition_name] = state
        return outcomes

    def preview(self, operations: Iterable[EntryOperation]) -> View:
        """A view on what would be if the operations were applied, without the partition's policy."""
        model = deepcopy(self.model)
        model.policies.clear()
        view = View(model, self.partition_name, self.prefix)
        view.apply(operations)
        return view

    def put(self, key: str, value: Any, **options: Any) -> Item:
        """As Memory.put."""
        item: Item = self.apply([Put(key, value, **options)])[0].value
        return item

    def put_many(self, mapping: Mapping[str, Any], ttl: Any = UNSET) -> dict[str, Item]:
        """As Memory.put_many."""
        return {outcome.key: outcome.value for outcome in self.apply([Put(k, v, ttl) for k, v in mapping.items()])}

    def delete(self, key: str, if_version: int | None = None) -> Any:
        """As Memory.delete."""
        return self.apply([Delete(key, if_version)])[0].value

    def delete_many(self, keys: Iterable[str]) -> int:
        """As Memory.delete_many."""
        return sum(outcome.value for outcome in self.apply([Delete(key) for key in keys]))

    def pop(self, key: str, default: Any = None) -> Any:
        """As Memory.pop."""
        value = self.get(key, default)
        self.delete(key)
        return value

    def increment(self, key: str, by: Any = 1, initial: Any = 0, ttl: Any = UNSET) -> Any:
        """As Memory.increment."""
        return self.apply([Increment(key, by, initial, ttl)])[0].value

    def append(self, key: str, *items: Any, limit: int | None = None) -> Any:
        """As Memory.append."""
        return self.apply([Append(key, *items, limit=limit)])[0].value

    def merge(self, key: str, mapping: Mapping[str, Any]) -> Any:
        """As Memory.merge."""
        return self.apply([Merge(key, mapping)])[0].value

    def touch(self, key: str, ttl: Any) -> Any:
        """As Memory.touch."""
        return self.apply([Touch(key, ttl)])[0].value

    def update(self, key: str, function: Callable[[Any], Any], default: Any = MISSING) -> Item:
        """As Memory.update."""
        current = self.entry(key)
        if current is None and default is MISSING:
            raise InvalidOperation(key, "nothing to update")
        value = function(deepcopy(default if current is None else current.value))
        self._check_namespace(self.prefix + key)
        self.model.batches += 1
        expires = self._expiry(UNSET, current, keep=True)
        item = self._item(self.prefix + key, value, {} if current is None else current.metadata, expires, current)
        self.state[item.key] = item
        return self.relative(item)

    def delete_matching(self, pattern: str, where: Mapping[Any, Any] | None = None) -> int:
        """As Memory.delete_matching."""
        doomed = self.found(pattern, where)
        for item in doomed:
            del self.state[self.prefix + item.key]
        return len(doomed)

    def clear(self) -> int:
        """As Memory.clear."""
        return self.delete_matching("*")

    def _step(self, state: State, operation: EntryOperation) -> Outcome:
        key = self.prefix + operation.key
        current = state.get(key)
        if isinstance(operation, Put | Increment | Append | Merge):
            self._check_namespace(key)
        if isinstance(operation, Put | Delete | Check):
            self._expect(operation, current)
        if isinstance(operation, Check):
            return Outcome(operation.key, None, None)
        if isinstance(operation, Delete):
            return Outcome(operation.key, state.pop(key, None) is not None, None)
        if isinstance(operation, Touch) and current is None:
            return Outcome(operation.key, False, None)
        metadata = dict(operation.metadata or {}) if isinstance(operation, Put) else current.metadata if current else {}
        answer, value = _computed(operation, current)
        ttl = UNSET if isinstance(operation, Append | Merge) else operation.ttl
        expires = self._expiry(ttl, current, keep=not isinstance(operation, Put))
        state[key] = self._item(key, value, metadata, expires, current)
        shown = self.relative(state[key])
        return Outcome(operation.key, shown if isinstance(operation, Put | Merge) else answer, shown)

    def _item(
        self, key: str, value: Any, metadata: dict[str, Any], expires: float | None, current: Item | None
    ) -> Item:
        self.model.writes += 1
        version = self.model.writes
        born = version if current is None else current.born
        return Item(key, deepcopy(value), deepcopy(metadata), expires, version, born, self.model.batches)

    def _expect(self, operation: Put | Delete | Check, current: Item | None) -> None:
        wanted = operation.version if isinstance(operation, Check) else operation.if_version
        absent = wanted is None if isinstance(operation, Check) else isinstance(operation, Put) and operation.if_absent
        found = None if current is None else current.version
        if (absent and current is not None) or (wanted is not None and found != wanted):
            raise VersionConflict(operation.key, wanted, None if current is None else self.relative(current))

    def _expiry(self, ttl: Any, current: Item | None, *, keep: bool) -> float | None:
        if ttl is not UNSET:
            return None if ttl is None else float(ttl)
        if keep and current is not None:
            return current.expires
        return self.model.policies.get(self.partition_name, (None, None))[0]

    def _check_namespace(self, key: str) -> None:
        fence = self.model.policies.get(self.partition_name, (None, None))[1]
        if fence is not None and not key.startswith(fence):
            raise NamespaceError(key.removeprefix(self.prefix), fence)


def _computed(operation: Put | Increment | Append | Merge | Touch, current: Item | None) -> tuple[Any, Any]:
    """What the operation answers, and the new value."""
    if isinstance(operation, Put):
        return None, operation.value
    if isinstance(operation, Touch):
        return True, current.value if current else None
    if isinstance(operation, Increment):
        total = _sum(operation.key, operation.initial if current is None else current.value, operation.by)
        return total, total
    if isinstance(operation, Append):
        items = [] if current is None else current.value
        if type(items) is not list:
            raise InvalidOperation(operation.key, "no list")
        kept = [*items, *operation.items][-operation.limit if operation.limit else 0 :]
        return len(kept), kept
    target = {} if current is None else current.value
    if type(target) is not dict:
        raise InvalidOperation(operation.key, "no object")
    return None, patched(target, operation.mapping)


def _sum(key: str, number: Any, by: Any) -> Any:
    if type(number) not in (int, float):
        raise InvalidOperation(key, "no number")
    try:
        total = number + by
    except OverflowError:
        total = math.inf
    if not (INT64_MIN <= total <= INT64_MAX if type(total) is int else math.isfinite(total)):
        raise CounterOverflow(key, "too large")
    return total


def patched(target: Any, patch: Any) -> Any:
    """RFC 7396, as its pseudo-code has it."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


def cut(key: str, prefix: str, depth: int) -> str:
    """A key up to its slash of that depth below the prefix."""
    pieces = key[len(prefix) :].split("/")
    return prefix + "/".join(pieces[:depth]) + ("/" if len(pieces) > depth else "")


def translated(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return re.compile("".join({"*": ".*", "?": "."}.get(p) or re.escape(p[-1]) for p in pieces), re.DOTALL)
