"""Typed handles: models in, models out, and an error that names what does not fit (R7)."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field

from agentmem import (
    MISSING,
    ConfigurationError,
    CorruptEntry,
    InvalidOperation,
    InvalidValue,
    Memory,
    TypeCodec,
    TypedEntry,
    VersionConflict,
)
from tests.unit.dict_repository import DictRepository

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Status(Enum):
    OPEN = "open"
    DONE = "done"


class Step(BaseModel):
    name: str
    score: float = 0.0


class Plan(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime
    steps: list[Step] = []
    status: Status = Status.OPEN
    tags: set[str] = set()


class Aliased(BaseModel):
    full_name: str = Field(alias="fullName")


@dataclass
class Point:
    x: int
    y: int


@pytest.fixture
def repository() -> DictRepository:
    return DictRepository()


@pytest.fixture
def memory(repository: DictRepository) -> Memory:
    return Memory(repository)


WRONG = Step(name="")
WRONG.name = 5  # type: ignore[assignment]
PLAN = Plan(at=NOON, steps=[Step(name="read", score=0.5)], status=Status.DONE, tags={"x"})


def test_a_strict_model_comes_back_as_it_was(memory: Memory) -> None:
    plans = memory.typed(Plan)
    entry = plans.put("p", PLAN, metadata={"by": "me"}, ttl=60)
    assert entry.value == plans.get("p") == plans.entry("p").value == PLAN  # type: ignore[union-attr]
    assert isinstance(entry, TypedEntry)
    assert entry.metadata == {"by": "me"}
    assert memory.get("p")["at"] == "2024-02-29T12:00:00Z"
    assert plans.get("none") is None
    assert plans.get("none", MISSING) is MISSING


def test_every_method_takes_and_gives_models(memory: Memory) -> None:
    steps = memory.typed(Step)
    written = steps.put_many({"a": Step(name="a"), "b": {"name": "b", "score": 2}}, chunk=1)
    assert {key: entry.value for key, entry in written.items()} == {"a": Step(name="a"), "b": Step(name="b", score=2.0)}
    assert steps.load([("a", Step(name="a")), ("b", {"name": "b", "score": 2})]) == 2
    assert steps.get_many(["a", "x"]) == {"a": Step(name="a")}
    assert [entry.value.name for entry in steps.search(where={"score": {"$gt": 1}})] == ["b"]
    assert [entry.value.name for entry in steps.items()] == list(steps.keys()) == steps.children() == ["a", "b"]
    assert steps.update("a", lambda step: step.model_copy(update={"score": 9.0})).value.score == 9.0
    assert steps.update("c", lambda step: step, default=Step(name="c")).value == Step(name="c")
    assert (steps.count("a"), steps.exists("a"), steps.touch("a", None), steps.delete("c")) == (1, True, True, True)
    assert steps.pop("a") == Step(name="a", score=9.0)
    assert steps.pop("a", MISSING) is MISSING
    assert (steps.delete_many(["b"]), steps.delete_matching("*"), steps.clear()) == (1, 0, 0)
    with pytest.raises(VersionConflict) as caught:
        steps.put("v", Step(name="v"), if_version=1)
    assert caught.value.current is None


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (list[int], [1, 2]),
        (dict[str, Point], {"a": Point(1, 2)}),
        (Point, Point(1, 2)),
        (Annotated[int, Field(gt=0)], 5),
        (Step | Point, Point(1, 2)),
        (Aliased, Aliased(fullName="A")),
        (Status, Status.DONE),
        (int | None, None),
    ],
    ids=str,
)
def test_any_type_that_pydantic_takes(memory: Memory, model: Any, value: Any) -> None:
    typed = memory.typed(model)
    typed.put("v", value)
    assert typed.get("v", MISSING) == value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"at": NOON, "steps": [{"name": "a"}, {"name": 5}]}, "value.steps[1].name"),
        ({"steps": []}, "value.at"),
        ("text", "value"),
        (PLAN.model_copy(update={"steps": [WRONG]}), "value"),
        (PLAN.model_copy(update={"status": "unknown"}), "value"),
    ],
    ids=["deep", "missing", "no model", "changed inside", "changed"],
)
def test_r07_what_does_not_fit_is_refused_with_its_path(
    memory: Memory, repository: DictRepository, value: Any, path: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        memory.typed(Plan).put("p", value)
    assert caught.value.path == path
    assert isinstance(caught.value.__cause__, ValueError)
    assert not repository.calls


class Positive(BaseModel):
    number: Annotated[float, Field(gt=0)]


@pytest.mark.parametrize("number", [-1.0, float("inf"), float("nan")])
def test_r07_a_model_that_was_changed_to_something_invalid_is_refused(memory: Memory, number: float) -> None:
    model = Positive(number=1)
    model.number = number
    with pytest.raises(InvalidValue, match="number"):
        memory.typed(Positive).put("p", model)


def test_r10_a_stored_value_that_no_longer_fits_fails_alone(memory: Memory, repository: DictRepository) -> None:
    steps = memory.typed(Step)
    steps.put_many({"a": Step(name="a"), "b": Step(name="b"), "c": Step(name="c")})
    memory.put("b", {"title": "an older model"})
    repository.spoil("c")
    first, second, third = steps.items()
    assert first.value == Step(name="a")
    with pytest.raises(CorruptEntry) as caught:
        _ = second.value
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert caught.value.key == "b"
    with pytest.raises(CorruptEntry):
        _ = third.value
    for call in (
        steps.get,
        steps.pop,
        lambda key: steps.get_many([key]),
        lambda key: steps.update(key, lambda step: step),
    ):
        memory.put("b", {})
        with pytest.raises(CorruptEntry) as caught:
            call("b")
        assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_the_handles_own_codec_has_no_part_in_it(repository: DictRepository) -> None:
    memory = Memory(repository, codec=TypeCodec())
    memory.typed(dict[str, str]).put("d", {"$type": "date", "value": "no date"})
    assert memory.typed(dict[str, str]).get("d") == {"$type": "date", "value": "no date"}


def test_typed_keeps_to_the_scope_and_partition(memory: Memory) -> None:
    memory.partition("p").scoped("s/").typed(int).put("n", 5)
    assert memory.partition("p").get("s/n") == 5
    assert repr(memory.scoped("s/").typed(int)).startswith("<TypedMemory dict")


@pytest.mark.parametrize("model", [5, object(), "Undefined", [int]])
def test_r31_what_pydantic_does_not_take_is_refused(memory: Memory, model: Any) -> None:
    with pytest.raises(ConfigurationError):
        memory.typed(model)


def test_update_without_an_entry_and_a_default_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidOperation):
        memory.typed(int).update("n", lambda n: n + 1)


def test_entries_survive_pickling_and_typed_handles_refuse_it(memory: Memory) -> None:
    typed = memory.typed(Step)
    copy = pickle.loads(pickle.dumps(typed.put("a", Step(name="a"))))
    assert (type(copy), copy.key, copy.value) == (TypedEntry, "a", Step(name="a"))
    with pytest.raises(TypeError, match="typed"):
        pickle.dumps(typed)
