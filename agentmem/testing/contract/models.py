"""R7: types beyond JSON, by a codec or as pydantic models."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pydantic
import pytest

import agentmem
from agentmem.errors import CorruptEntry, InvalidOperation, InvalidValue, VersionConflict
from agentmem.operations import Merge
from agentmem.testing.contract.base import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class Status(enum.Enum):
    """A registered Enum."""

    OPEN = "open"
    DONE = 2


@dataclass
class Step:
    """A registered dataclass."""

    name: str
    due: date
    tags: list[str] = field(default_factory=list)


class Plan(pydantic.BaseModel):
    """A pydantic model, as an agent would store."""

    title: str
    priority: int = pydantic.Field(ge=0, le=10)
    due: datetime | None = None
    cost: Decimal = Decimal(0)
    steps: list[str] = []


class Unreadable:
    """A codec that writes more than it reads."""

    def to_json(self, value: Any) -> Any:
        """The value itself."""
        return value

    def from_json(self, tree: Any) -> Any:
        """Raise KeyError for everything but 1."""
        return {1: tree}[tree]


RICH: dict[str, Any] = {
    "datetime": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    "datetime with an offset": datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    "naive datetime": datetime(2024, 2, 29, 1, 2, 3),  # noqa: DTZ001 - it comes back as it was
    "date": date(1, 1, 1),
    "time": time(23, 59, 59, 999999),
    "UUID": UUID(int=2**127 + 1),
    "Decimal": Decimal("1.10000000000000000000000000000000001"),
    "Enum": Status.DONE,
    "dataclass": Step("build", date(2030, 1, 1), ["a"]),
    "pydantic": Plan(title="x", priority=3, due=datetime(2024, 1, 1, tzinfo=UTC), cost=Decimal("0.10")),
    "in depth": {"a": [{"b": [Decimal("1.0"), None, 1.0, Status.OPEN]}]},
    "a dict with the codec's own tag": {"$type": "date", "value": "2024-01-01"},
    "plain": {"z": 1, "a": [1e22, -0.0, "\x00"]},
}


class Models(Contract):
    """Values that JSON lacks."""

    @pytest.fixture
    def rich(self, harness: Harness) -> Iterator[Memory]:
        """A handle with the codec that is shipped."""
        with harness.connect(codec=agentmem.TypeCodec(Status, Step, Plan)) as memory:
            yield memory

    @pytest.mark.parametrize("value", RICH.values(), ids=RICH)
    def test_r07_a_codec_gives_back_what_was_put(self, rich: Memory, value: Any) -> None:
        entry = rich.put("key", value)
        results = [entry.value, rich.get("key"), rich.get_many(["key"])["key"], rich.search()[0].value]
        rich.update("key", lambda old: old)
        results += [rich.run(lambda tx: tx.get("key")), rich.pop("key")]
        assert results == [value] * 6
        assert {type(result) for result in results} == {type(value)}

    def test_r07_a_codec_serves_lists_and_derived_handles(self, rich: Memory) -> None:
        rich.append("list", Decimal("1.5"), Status.OPEN)
        rich.append("list", date(2024, 1, 1))
        assert rich.get("list") == [Decimal("1.5"), Status.OPEN, date(2024, 1, 1)]
        rich.scoped("in/").put("key", Status.DONE)
        rich.partition("other").put("key", Status.OPEN)
        assert (rich.get("in/key"), rich.partition("other").get("key")) == (Status.DONE, Status.OPEN)

    def test_r07_what_a_codec_does_not_know_is_refused(self, rich: Memory) -> None:
        for value in ({1, 2}, object(), [b"x"], {"a": float("nan")}):
            with pytest.raises(InvalidValue):
                rich.put("key", value)
        assert not rich.exists("key")

    def test_r07_what_the_codec_cannot_read_is_corrupt(self, harness: Harness) -> None:
        with harness.connect(codec=Unreadable()) as memory:
            memory.put_many({"good": 1, "bad": "cannot be read"})
            assert memory.get("good") == 1
            with pytest.raises(CorruptEntry) as caught:
                memory.get("bad")
            assert caught.value.key == "bad"
            assert isinstance(caught.value.__cause__, KeyError)
            assert [entry.key for entry in memory.items()] == ["bad", "good"]

    def test_r14_merge_replaces_what_a_codec_made_an_object_of(self, rich: Memory) -> None:
        def merge(tx: Any) -> Any:
            tx.merge("key", {"due": {"name": "soon"}, "at": Status.DONE, "drop": None})
            return tx.get("key")

        for merged in (merge, lambda _: rich.run(merge)):
            first = rich.put("key", {"due": date(2024, 1, 1), "drop": 1, "keep": 1}, ttl=60, metadata={"owner": "x"})
            merged(rich)
            second = rich.entry("key")
            assert second is not None
            assert second.value == {"due": {"name": "soon"}, "keep": 1, "at": Status.DONE}
            assert (second.metadata, second.expires_at) == (first.metadata, first.expires_at)

    def test_r14_what_a_codec_made_an_object_of_is_none(self, rich: Memory) -> None:
        for value in (date(2024, 1, 1), Step("build", date(2030, 1, 1)), Decimal("1.5")):
            rich.put("key", value)
            with pytest.raises(InvalidOperation, match=type(value).__name__):
                rich.merge("key", {"a": 1})
            with pytest.raises(InvalidOperation), rich.transaction() as tx:
                tx.merge("key", {"a": 1})
            with pytest.raises(InvalidValue, match="codec"):
                rich.apply([Merge("key", {"a": 1})])
            assert rich.get("key") == value
        rich.put("tagged", {"$type": "date", "n": 1})
        assert rich.merge("tagged", {"n": 2}).value == {"$type": "date", "n": 2}

    def test_r07_typed_puts_and_gets_models(self, memory: Memory) -> None:
        plans = memory.typed(Plan)
        plan = Plan(title="build", priority=3, due=datetime(2024, 1, 1, tzinfo=UTC), cost=Decimal("1.10"), steps=["a"])
        entry = plans.put("plan/1", plan, ttl=60, metadata={"owner": "x"})
        assert entry.value == plan
        got = plans.get("plan/1")
        assert got == plan
        assert isinstance(got, Plan)
        assert plans.get("absent") is None
        assert plans.put("plan/2", {"title": "from a dict", "priority": 1}).value.priority == 1
        assert plans.get_many(["plan/1", "plan/2"])["plan/1"] == plan

    def test_r07_typed_searches_and_updates_models(self, memory: Memory) -> None:
        plans = memory.typed(Plan)
        plans.put_many({f"plan/{n}": Plan(title=f"t{n}", priority=n) for n in range(5)})
        page = plans.search("plan/*", where={"priority": {"$gte": 3}})
        assert [entry.value.title for entry in page] == ["t3", "t4"]
        updated = plans.update("plan/0", lambda plan: plan.model_copy(update={"priority": 9}))
        assert updated.value.priority == 9
        assert [entry.value.priority for entry in plans.items("plan/")] == [9, 1, 2, 3, 4]
        assert plans.count(where={"priority": 9}) == 1

    def test_r07_typed_refuses_what_does_not_validate(self, memory: Memory) -> None:
        plans = memory.typed(Plan)
        with pytest.raises(InvalidValue) as caught:
            plans.put("plan", {"title": "x", "priority": 11})
        assert caught.value.path == "value.priority"
        with pytest.raises(InvalidValue):
            plans.put_many({"good": Plan(title="x", priority=1), "bad": {"title": 5}})
        assert list(memory.keys()) == []

    def test_r07_what_no_longer_validates_is_corrupt(self, memory: Memory) -> None:
        plans = memory.typed(Plan)
        plans.put("good", Plan(title="x", priority=1))
        memory.put("old", {"title": "x", "priority": "high"})
        with pytest.raises(CorruptEntry) as caught:
            plans.get("old")
        assert caught.value.key == "old"
        assert isinstance(caught.value.__cause__, pydantic.ValidationError)
        entries = {entry.key: entry for entry in plans.items()}
        assert entries["good"].value.title == "x"
        with pytest.raises(CorruptEntry):
            _ = entries["old"].value

    def test_r13_typed_writes_keep_their_expectations(self, memory: Memory) -> None:
        plans = memory.typed(Plan)
        first = plans.put("plan", Plan(title="a", priority=1), if_absent=True)
        with pytest.raises(VersionConflict) as caught:
            plans.put("plan", Plan(title="b", priority=1), if_version=first.version + 1)
        assert caught.value.current.value == Plan(title="a", priority=1)
        assert plans.delete("plan", if_version=first.version)
