"""Filters as SQL over the generated JSONB column: the evaluator's meaning, kept equal by Hypothesis.

A missing field is SQL's NULL until the edge of each comparison, where it becomes false; so `Not` is a plain NOT.

An index of values (ADR 0020) answers `value @> document` alone. So what equals or contains is said in that way: instead
of the exact condition where it means the same, else beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from agentmem import values
from agentmem.filters import MAX_OPERAND_BYTES, And, Compare, Exists, Field, Filter, In, Not, Or

_OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_TEXT = "({j} #>> '{{}}') COLLATE \"C\""
_MOST_DOCUMENTS: Final = 100
"""A document is looked for by itself; of more operands, all at once in a hash table."""


def execute(cursor: Any, statement: str, parameters: Mapping[str, Any]) -> Any:
    """Run a statement that may have a filter's operands, by our cursor; then its plan depends on their values.

    A plan for any values knows neither which partition has an index nor how rare a value is, so that such a statement
    is planned each time, and not prepared.
    """
    return cursor.execute(statement, parameters, prepare=False if "f0" in parameters else None)


def translate(where: Filter, *, fields_of: str, is_indexed: bool) -> tuple[str, dict[str, Any]]:
    """The condition, with `:name` parameters, and their values.

    Args:
        where: what to translate.
        fields_of: the function that reads metadata.
        is_indexed: whether the partition has an index of values. Then what it answers is said twice, which the planner
            takes for rarer, and prefers it to a walk by key that is to end early. Of values above 1 KB it knows no
            better than one in a hundred, of other conditions one in two.
    """
    translator = _Translator(fields_of, is_indexed=is_indexed)
    return translator.condition(where), translator.parameters


class _Translator:
    def __init__(self, fields_of: str, *, is_indexed: bool) -> None:
        self._is_indexed = is_indexed
        self._metadata = f"{fields_of}(COALESCE(metadata, '{{}}'))"
        self.parameters: dict[str, Any] = {}

    def bind(self, value: Any, type_: str) -> str:
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"CAST(:{name} AS {type_})"

    def json(self, operand: Any) -> str:
        return self.bind(_encode(operand), "jsonb")

    def condition(self, node: Filter) -> str:
        match node:
            case And(parts):
                return _joined([self.condition(part) for part in parts], " AND ", "TRUE")
            case Or(parts):
                return _joined([self.condition(part) for part in parts], " OR ", "FALSE")
            case Not(part):
                return f"(NOT {self.condition(part)})"
            case Exists(field):
                return f"({self.operand(field)} IS NOT NULL)"
            case In(field, operands):
                return self.membership(field, operands)
            case Compare(field, op, operand):
                return self.relation(field, op, operand)
        raise AssertionError(f"a filter has no {type(node).__name__}")

    def operand(self, field: Field) -> str:
        if field.root not in ("value", "metadata"):
            return field.root
        if len(field.path) > values.MAX_LEVELS:
            return "CAST(NULL AS jsonb)"  # nothing nests so deep, and so long a chain would not parse
        found = "value" if field.root == "value" else self._metadata
        if any(isinstance(step, int) for step in field.path):
            # The operator -> takes a scalar for an array of one; a strict path does not, and silently finds nothing.
            path = self.bind(_strict_path(field.path), "jsonpath")
            return f"jsonb_path_query_first({found}, {path}, '{{}}', TRUE)"
        for step in field.path:
            found = f"({found} -> {self.bind(step, 'text')})"
        return found

    def membership(self, field: Field, operands: tuple[Any, ...]) -> str:
        if field.root not in ("value", "metadata"):
            return _joined([self.condition(Compare(field, "eq", each)) for each in operands], " OR ", "FALSE")
        array = self.bind([_encode(each) for each in operands], "text[]")
        exact = f"COALESCE({self.operand(field)} = ANY(CAST({array} AS jsonb[])), FALSE)"
        if not _is_indexed(field) or not 0 < len(operands) <= _MOST_DOCUMENTS:
            return exact
        documents = [_document(field.path, _encode(each)) for each in operands]
        return f"({self.containment(documents)} AND {exact})"

    def containment(self, documents: list[str]) -> str:
        """That the value contains at least one of them."""
        if self._is_indexed:
            names = [self.bind(document, "jsonb") for document in documents]
            return _joined([f"(value @> {name} AND value @> {name})" for name in names], " OR ", "FALSE")
        if len(documents) == 1:
            return f"value @> {self.bind(documents[0], 'jsonb')}"
        return f"value @> ANY(CAST({self.bind(documents, 'text[]')} AS jsonb[]))"

    def relation(self, field: Field, op: str, operand: Any) -> str:
        if not _is_indexed(field) or not _is_containment(op, operand):
            return f"COALESCE({self.comparison(field, op, operand)}, FALSE)"
        text = _encode(operand)
        contained = self.containment([_document(field.path, text if op == "eq" else f"[{text}]")])
        if field.path and not isinstance(operand, dict | list) and all(isinstance(step, str) for step in field.path):
            return f"({contained})"
        return f"({contained} AND COALESCE({self.comparison(field, op, operand)}, FALSE))"

    def comparison(self, field: Field, op: str, operand: Any) -> str:
        if field.root == "version":
            return self.version(op, operand)
        if field.is_time:
            return self.time(field, op, operand)
        found = self.operand(field)
        if op == "eq":
            return f"{found} = {self.json(operand)}"
        if op == "contains":
            return self.contains(found, operand)
        text = _TEXT.format(j=found)
        if op == "startswith":
            holds = f"starts_with({text}, {self.bind(operand, 'text')})"
            return f"CASE jsonb_typeof({found}) WHEN 'string' THEN {holds} END"
        if isinstance(operand, str):
            holds = f"{text} {_OPERATORS[op]} {self.bind(operand, 'text')}"
            return f"CASE jsonb_typeof({found}) WHEN 'string' THEN {holds} END"
        number = self.bind(_encode(operand), "numeric")
        return f"CASE jsonb_typeof({found}) WHEN 'number' THEN CAST({found} AS numeric) {_OPERATORS[op]} {number} END"

    def contains(self, found: str, operand: Any) -> str:
        if isinstance(operand, dict | list):
            return (
                f"CASE jsonb_typeof({found}) WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements({found}) "
                f"AS x (item) WHERE x.item = {self.json(operand)}) END"
            )
        branches = f"WHEN 'array' THEN {found} @> jsonb_build_array({self.json(operand)})"
        if isinstance(operand, str):
            text = _TEXT.format(j=found)
            branches += f" WHEN 'string' THEN strpos({text}, {self.bind(operand, 'text')}) > 0"
        return f"CASE jsonb_typeof({found}) {branches} END"

    def version(self, op: str, operand: Any) -> str:
        if isinstance(operand, bool) or not isinstance(operand, int | float):
            return "FALSE"
        return f"version {_OPERATORS[op]} {self.bind(_encode(operand), 'numeric')}"

    def time(self, field: Field, op: str, operand: Any) -> str:
        if not isinstance(operand, datetime):
            return f"{field.root} IS NULL"
        return f"{field.root} {_OPERATORS[op]} {self.bind(operand, 'timestamptz')}"


def _is_indexed(field: Field) -> bool:
    return field.root == "value" and len(field.path) <= values.MAX_LEVELS


def _is_containment(op: str, operand: Any) -> bool:
    # Of a text `contains` may mean a part of a text, which no document says.
    return op == "eq" or (op == "contains" and not isinstance(operand, str))


def _document(path: tuple[str | int, ...], text: str) -> str:
    """The smallest document that holds this at the path; of a list the place is lost."""
    for step in reversed(path):
        text = f"[{text}]" if isinstance(step, int) else f"{{{_encode(step)}:{text}}}"
    return text


def _strict_path(path: tuple[str | int, ...]) -> str:
    return "strict $" + "".join(f"[{step}]" if isinstance(step, int) else f".{_encode(step)}" for step in path)


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({word.join(parts)})" if parts else empty


def _encode(operand: Any) -> str:
    return values.encode(operand, max_bytes=MAX_OPERAND_BYTES)
