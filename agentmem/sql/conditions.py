"""A query as SQL conditions with `:name` parameters: equal texts for equal shapes, so that statements are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.keys import successor

if TYPE_CHECKING:
    from agentmem.keys import Pattern
    from agentmem.repository import Position, Query
    from agentmem.sql.dialect import Dialect


class Conditions(NamedTuple):
    """What an entry of the partition must meet besides living."""

    texts: list[str]
    parameters: dict[str, Any]


def conditions_of(
    dialect: Dialect, query: Query, after: Position | None = None, *, is_indexed: bool = False
) -> Conditions:
    """The conditions of a query, from a position on.

    The pattern's literal prefix is a range of keys, and a position in the order of keys narrows it: the cost is that
    of an index range. A wildcard further on and `where` filter within the range.
    """
    found = Conditions([], {})
    _add_pattern(found, dialect, query.pattern)
    if after is not None:
        _add_position(found, dialect, query, after)
    if query.where is not None:
        text, parameters = dialect.filter(query.where, is_indexed=is_indexed)
        found.texts.append(text)
        found.parameters.update(parameters)
    return found


def _add_pattern(found: Conditions, dialect: Dialect, pattern: Pattern) -> None:
    if pattern.is_literal:
        found.texts.append("key = :key")
        found.parameters["key"] = pattern.prefix
        return
    if pattern.prefix:
        found.texts.append("key >= :low")
        found.parameters["low"] = pattern.prefix
        high = successor(pattern.prefix)
        if high is not None:
            found.texts.append("key < :high")
            found.parameters["high"] = high
    if not pattern.is_prefix:
        text, parameters = dialect.like("key", pattern)
        found.texts.append(text)
        found.parameters.update(parameters)


def _add_position(found: Conditions, dialect: Dialect, query: Query, after: Position) -> None:
    beyond = "<" if query.descending else ">"
    found.parameters["after"] = after.key
    if query.order == "key":
        found.texts.append(f"key {beyond}{'=' if after.inclusive else ''} :after")
        return
    found.texts.append(f"(updated_at, key) {beyond} (:after_updated, :after)")
    found.texts.append("updated_at <= :as_of")
    found.parameters["after_updated"] = dialect.stored_moment(after.updated_us)
    found.parameters["as_of"] = dialect.stored_moment(after.as_of_us)
