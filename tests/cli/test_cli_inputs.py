"""What people type: durations, JSON, standard input; and how keys and durations are shown."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.cli.inputs import parse_json, parse_number, parse_object, parse_ttl, show_duration
from agentmem.cli.output import plain, to_json
from agentmem.errors import InvalidArgument, InvalidTTL
from agentmem.ttl import UNSET


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("0.07", 0.07),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604800),
        (" 7 D ", 604800),
        ("0.5h", 1800),
        ("never", None),
        ("None", None),
        (None, UNSET),
    ],
)
def test_durations(text: str | None, seconds: Any) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "5w", "1h30m", "1e3", "nan", "inf", "1_0", "5 5", "9" * 30, "0x10"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidTTL, match="a TTL is seconds, or a number with s, m, h or d"):
        parse_ttl(text)


@given(st.integers(1, 10**9))
def test_a_duration_that_is_shown_can_be_typed(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_ttl(show_duration(duration)) == pytest.approx(duration.total_seconds())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON: Expecting property name"),
        ("hello", "it is not JSON"),
        ("", "it is not JSON"),
        ("[1] 2", "it is not JSON: Extra data"),
        ("[" * 100_000, "it nests too deep"),
        ("9" * 5000, "it is not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_json(text, "it")


@pytest.mark.parametrize("text", ["true", '"5"', "[5]", "null"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(InvalidArgument, match="BY must be a number"):
        parse_number(text, "BY")


@pytest.mark.parametrize("text", ["[]", "1", "null", '"{}"'])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--where must be a JSON object"):
        parse_object(text, "--where")


@given(st.text(st.characters(codec="utf-8")))
def test_a_key_that_is_shown_is_on_one_line_and_unambiguous(key: str) -> None:
    shown = plain(key)
    assert shown.isprintable()
    assert (json.loads(shown) if shown.startswith('"') else shown) == key


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_that_is_shown_means_the_value_and_holds_no_control(value: Any) -> None:
    text = to_json(value)
    assert json.loads(text) == value
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in text)
