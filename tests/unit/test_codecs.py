"""The shipped codec for types that JSON lacks: R7."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pickle
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentmem import Memory, values
from agentmem.codecs import TypeCodec
from agentmem.errors import ConfigurationError, CorruptEntry, InvalidValue, VersionConflict
from tests.unit.dict_repository import DictRepository


class Colour(enum.Enum):
    RED = ("r", 1)
    BLUE = None


class Status(enum.StrEnum):
    OK = "ok"


class Level(enum.IntEnum):
    HIGH = 3


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Step:
    name: str
    at: dt.datetime | None = None
    more: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Sum:
    terms: Any
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", len(self.terms))


class Inner(pydantic.BaseModel):
    when: dt.datetime
    price: Decimal


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    name: Annotated[str, pydantic.Field(validation_alias="inName", serialization_alias="outName")]
    inner: Inner | None = None
    tags: set[str] = set()
    raw: dict[str, Any] = {}

    @pydantic.computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def size(self) -> int:
        return len(self.name)


CODEC = TypeCodec(Colour, Status, Level, Rights, Step, Sum, Inner, Model)


def encode(value: Any, codec: TypeCodec = CODEC) -> str:
    return values.encode(value, max_bytes=1024 * 1024, codec=codec)


def round_trip(value: Any) -> Any:
    return values.decode(encode(value), "k", CODEC)


# Whole seconds: datetime.fromisoformat takes an offset of a part of a second for UTC.
OFFSETS = st.builds(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)), st.integers(-86_399, 86_399))
NAMES = st.sampled_from(["$type", "value", "a", "", "object"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["a", "date"]),
    st.datetimes(),
    st.datetimes(timezones=OFFSETS | st.just(dt.UTC)),
    st.dates(),
    st.times(),
    st.times(timezones=OFFSETS),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.sampled_from([*Colour, *Status, *Level, *Rights, Rights(0), Rights.READ | Rights.WRITE]),
)
FIRST, LAST = dt.datetime.min, dt.datetime.max  # noqa: DTZ901  # naive ones are to come back naive
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.builds(Step, NAMES, st.none() | st.datetimes(), st.lists(inner, max_size=2))
        | st.builds(Sum, st.lists(inner, max_size=3))
    ),
    max_leaves=15,
)


def exactly(value: Any) -> Any:
    """A form in which equal means that types, the order of keys and the digits of decimals are equal too."""
    if isinstance(value, dict):
        return ["dict", [(key, exactly(item)) for key, item in value.items()]]
    if isinstance(value, list):
        return ["list", list(map(exactly, value))]
    if dataclasses.is_dataclass(value):
        return [type(value), [exactly(getattr(value, field.name)) for field in dataclasses.fields(value)]]
    return [type(value), repr(value) if type(value) in (Decimal, float) else value]


@given(TREES)
@example({"$type": "date", "value": "2024-02-29"})
@example({"$type": "object", "value": {"$type": {"$type": dt.date(2024, 2, 29)}}})
@example([Decimal("-0.00"), Decimal("1E+100"), Decimal("Infinity"), LAST, FIRST, dt.time.max])
def test_r07_the_codec_gives_back_what_it_took(value: Any) -> None:
    assert exactly(round_trip(value)) == exactly(value)


def test_r07_decimal_nan_comes_back() -> None:
    assert round_trip(Decimal("NaN")).is_nan()
    assert round_trip(Decimal("sNaN123")).compare_total(Decimal("sNaN123")) == 0


def test_r07_plain_values_are_stored_as_without_a_codec() -> None:
    value = {"a": [1, 2.5, None, "x", {"value": True}], "b": {}}
    assert encode(value) == values.encode(value, max_bytes=1000)


def test_r07_the_stored_form_is_a_tagged_object() -> None:
    assert encode(dt.date(2024, 2, 29)) == '{"$type":"date","value":"2024-02-29"}'
    assert encode({"$type": 1}) == '{"$type":"object","value":{"$type":1}}'
    assert encode([Level.HIGH, Rights.READ]) == '[{"$type":"Level","value":"HIGH"},{"$type":"Rights","value":1}]'


def test_r07_an_aware_datetime_keeps_moment_and_offset() -> None:
    moment = dt.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    again = round_trip(moment)
    assert again == moment
    assert again.utcoffset() == dt.timedelta(hours=2)


def test_r07_tuples_become_lists_in_a_codec_too() -> None:
    assert round_trip((1, (dt.date(2024, 1, 1),))) == [1, [dt.date(2024, 1, 1)]]


def test_r07_pydantic_models_come_back_whatever_their_aliases() -> None:
    inner = Inner(when=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), price=Decimal("1.10"))
    raw = {"$type": "date", "big": 2**70, "float": 0.1}
    model = Model.model_validate({"inName": "a", "inner": inner, "tags": {"x", "y"}, "raw": raw})
    again = round_trip({"models": [model, inner]})
    assert again == {"models": [model, inner]}
    assert again["models"][0].size == 1


def test_r07_what_to_json_is_given_stays_unchanged() -> None:
    step = Step("a", more=[(dt.date(2024, 1, 1), {"$type": 1})])
    value = {"$type": [step]}
    encode(value)
    assert value == {"$type": [Step("a", more=[(dt.date(2024, 1, 1), {"$type": 1})])]}


class Other(enum.Enum):
    A = 1


@dataclasses.dataclass
class Child(Step):
    pass


@pytest.mark.parametrize(
    "bad", [Other.A, Child("a"), {1}, b"x", object(), float("nan"), "\ud800", 10**4000, dt.timedelta(1)]
)
def test_r07_what_is_not_registered_is_refused_with_its_path(bad: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        encode({"steps": [1, (bad,)]})
    assert caught.value.path == "value.steps[1][0]"


def test_r07_keys_are_never_translated() -> None:
    with pytest.raises(InvalidValue, match="is date, not str"):
        encode({dt.date(2024, 1, 1): 1})


def test_r07_cycles_and_deep_nests_are_refused_through_a_codec() -> None:
    cycle: list[Any] = []
    cycle.extend([cycle, cycle])
    step = Step("a")
    step.more.append([step])
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    for value, reason in ((cycle, "contains itself"), (step, "a Step contains itself"), (deep, "128 levels")):
        with pytest.raises(InvalidValue, match=reason):
            encode(value)


def test_r07_the_same_object_twice_is_no_cycle_for_a_codec() -> None:
    step, part = Step("a"), [1]
    assert round_trip([step, step, part, [part]]) == [step, step, [1], [[1]]]


@pytest.mark.parametrize(
    "body",
    [
        '{"$type":"Other","value":"A"}',
        '{"$type":"os.system","value":"true"}',
        '{"$type":"date"}',
        '{"$type":1,"value":1}',
        '{"$type":["date"],"value":1}',
        '{"$type":"date","value":"2024-02-30"}',
        '{"$type":"date","value":1}',
        '{"$type":"Colour","value":"X"}',
        '{"$type":"Step","value":{"name":"a","gone":1}}',
        '{"$type":"Step","value":{}}',
        '{"$type":"Step","value":1}',
        '{"$type":"Model","value":{}}',
        '{"$type":"decimal","value":"x"}',
        '{"$type":"object","value":1}',
        '{"$type":"date","value":"2024-02-29","x":1}',
    ],
)
def test_r10_a_tag_that_cannot_be_read_is_corrupt(body: str) -> None:
    with pytest.raises(CorruptEntry) as caught:
        values.decode(body, "k", CODEC)
    assert caught.value.key == "k"
    assert caught.value.__cause__ is not None


def test_r10_a_field_that_was_added_later_takes_its_default() -> None:
    assert values.decode('{"$type":"Step","value":{"name":"a"}}', "k", CODEC) == Step("a")


def test_r10_a_model_that_no_longer_fits_has_pydantics_error_as_its_cause() -> None:
    with pytest.raises(CorruptEntry) as caught:
        values.decode('{"$type":"Model","value":{"name":5}}', "k", CODEC)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_r07_a_model_that_pydantic_cannot_dump_is_refused() -> None:
    wrong: Any = 5
    broken = Model.model_construct(name="a", raw={"x": object()})
    with pytest.raises(InvalidValue, match="the codec refuses it"):
        encode(broken)
    with pytest.raises(InvalidValue, match="the codec refuses it"):
        encode(Model.model_construct(name=wrong))


def test_r29_a_conflict_of_a_handle_with_a_codec_survives_pickling() -> None:
    memory = Memory(DictRepository(), codec=CODEC)
    memory.put("k", {"colour": Colour.RED, "at": dt.date(2024, 2, 29)})
    with pytest.raises(VersionConflict) as caught:
        memory.put("k", 1, if_absent=True)
    conflict = pickle.loads(pickle.dumps(caught.value))
    assert conflict.current.value == {"colour": Colour.RED, "at": dt.date(2024, 2, 29)}


@dataclasses.dataclass
class NeedsMore:
    name: str
    secret: dataclasses.InitVar[str]


def test_r31_classes_that_cannot_be_registered_are_refused() -> None:
    namesake: Any = type("Colour", (Step,), {})
    for bad in (int, object, Step("a"), "Step", NeedsMore, enum.Enum("date", "A")):
        with pytest.raises(ConfigurationError, match=r"TypeCodec|cannot be rebuilt"):
            TypeCodec(bad)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match="'Colour'"):
        TypeCodec(Colour, namesake)
    assert TypeCodec(Colour, Colour).to_json(Colour.BLUE) == {"$type": "Colour", "value": "BLUE"}
