"""put, get, entry, delete, increment, touch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.fixture
def shell(each_shell: Shell) -> Shell:
    """On every backend."""
    return each_shell


EXACT = [
    '{"b": 1, "a": {"z": [], "y": {}}}',
    "123456789012345678901234567890",
    "-9007199254740993",
    "[1.0, 1, 0.1, -0.0]",
    '"Grüße, 記憶 🧠"',
    '"\\u0000 and \\u001b[31m"',
    "null",
    "true",
    "-5",
]


@pytest.mark.parametrize("text", EXACT)
def test_what_is_put_is_got(shell: Shell, text: str) -> None:
    shell.ok("put", "k", text)
    assert shell.ok("get", "k") == text + "\n"
    assert shell.ok("get", "k", "--json") == text + "\n"
    assert repr(json.loads(shell.ok("entry", "k", "--json"))["value"]) == repr(json.loads(text))


def test_1e22_stays_a_float(shell: Shell) -> None:
    shell.ok("put", "k", "1e22")
    assert repr(shell.json("get", "k")) == "1e+22"


def test_put_reads_standard_input_when_the_value_is_missing_or_a_dash(shell: Shell) -> None:
    shell.ok("put", "missing", stdin='{"from": "a pipe"}\n')
    shell.ok("put", "dash", "-", stdin="[1]")
    assert shell.json("get", "missing") == {"from": "a pipe"}
    assert shell.json("get", "dash") == [1]


def test_text_goes_in_and_out_as_it_is(shell: Shell) -> None:
    document = 'first "line"\n\tsecond \x07é\r\n'
    shell.ok("put", "file", "--text", stdin=document.encode())
    assert shell("get", "file", "--text").stdout_bytes == document.encode()
    assert shell.json("get", "file", "--text") == document


def test_text_of_an_argument_is_a_string_whatever_it_looks_like(shell: Shell) -> None:
    for text in ("42", "-5", "{", "two words"):
        shell.ok("put", "k", text, "--text")
        assert shell.json("get", "k") == text


def test_get_text_writes_anything_but_a_string_as_json(shell: Shell) -> None:
    shell.ok("put", "k", "[1, 2]")
    assert shell.ok("get", "k", "--text") == "[1, 2]\n"


def test_get_default(shell: Shell) -> None:
    assert shell.ok("get", "k", "--default", '{"a": 1}') == '{"a": 1}\n'
    assert shell.ok("get", "k", "--default", "null") == "null\n"
    shell.ok("put", "k", "2")
    assert shell.ok("get", "k", "--default", "1") == "2\n"


def test_a_stored_null_is_found(shell: Shell) -> None:
    shell.ok("put", "k", "null")
    assert shell.ok("get", "k") == "null\n"
    assert shell.json("entry", "k")["value"] is None


def test_put_confirms_in_words_and_in_json(shell: Shell) -> None:
    words = shell.ok("put", "k", "1")
    entry = shell.json("put", "k", "2", "--ttl", "1h", "--metadata", '{"owner": "é"}')
    assert words.startswith("stored k (version ")
    assert words.endswith(", expires never)\n")
    assert list(entry) == ["key", "value", "version", "created_at", "updated_at", "expires_at", "metadata"]
    assert (entry["key"], entry["value"], entry["metadata"]) == ("k", 2, {"owner": "é"})
    assert entry == shell.json("entry", "k")


def test_times_in_json_are_aware_and_in_utc(shell: Shell) -> None:
    entry = shell.json("put", "k", "1", "--ttl", "90")
    updated, expires = (datetime.fromisoformat(entry[name]) for name in ("updated_at", "expires_at"))
    assert updated.tzinfo == expires.tzinfo == UTC
    # Redis rounds up to its own millisecond.
    assert timedelta(0) <= expires - updated - timedelta(seconds=90) < timedelta(milliseconds=1)
    assert shell.json("put", "k", "1")["expires_at"] is None


def test_an_entry_that_cannot_be_decoded_is_shown_all_the_same(shell: Shell) -> None:
    shell.ok("put", "k", "1", "--metadata", '{"owner": "ops"}')
    shell.corrupt("k")
    lines = dict(line.split("\t") for line in shell.ok("entry", "k").splitlines())
    document = shell.json("entry", "k")
    assert (lines["version"], lines["metadata"]) == (str(document["version"]), '{"owner": "ops"}')
    assert lines["value"] == f"<{document['error']}>"
    assert "cannot be decoded" in lines["value"]
    assert "cannot be decoded" in shell.fails(6, "get", "k")


def test_entry_in_words(shell: Shell) -> None:
    entry = shell.json("put", "plan/1", '{"a": [1]}', "--metadata", '{"by": "me"}')
    lines = dict(line.split("\t") for line in shell.ok("entry", "plan/1").splitlines())
    assert list(lines) == ["key", "version", "created", "updated", "expires", "metadata", "value"]
    assert lines["key"] == "plan/1"
    assert lines["version"] == str(entry["version"])
    assert (lines["expires"], lines["metadata"], lines["value"]) == ("never", '{"by": "me"}', '{"a": [1]}')


@pytest.mark.parametrize("command", ["get", "entry", "delete"])
def test_a_missing_key_is_exit_1(shell: Shell, command: str) -> None:
    assert shell.fails(1, command, "plan/1") == "no entry at 'plan/1'"


def test_delete(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    assert shell.ok("delete", "k") == "deleted k\n"
    assert shell("get", "k").exit_code == 1
    shell.ok("put", "k", "1")
    assert shell.json("delete", "k") == {"deleted": True}


def test_if_absent_and_if_version(shell: Shell) -> None:
    version = shell.json("put", "k", "1", "--if-absent")["version"]
    assert shell.fails(3, "put", "k", "2", "--if-absent") == f"'k': expected no entry, found version {version}"
    newer = shell.json("put", "k", "2", "--if-version", str(version))["version"]
    assert newer > version
    assert f"found version {newer}" in shell.fails(3, "put", "k", "3", "--if-version", str(version))
    assert f"found version {newer}" in shell.fails(3, "delete", "k", "--if-version", str(version))
    assert shell.json("get", "k") == 2
    shell.ok("delete", "k", "--if-version", str(newer))


def test_increment(shell: Shell) -> None:
    assert shell.ok("increment", "n") == "1\n"
    assert shell.ok("increment", "n", "41") == "42\n"
    assert shell.ok("increment", "n", "-50") == "-8\n"
    assert shell.json("increment", "n", "0.5") == -7.5
    assert shell.json("increment", "other", "1", "--initial", "-10", "--ttl", "5m") == -9
    assert shell.json("entry", "other")["expires_at"] is not None


def test_increment_of_what_is_no_number_changes_nothing(shell: Shell) -> None:
    shell.ok("put", "k", '"text"')
    assert "'k'" in shell.fails(6, "increment", "k")
    assert shell.json("get", "k") == "text"


def test_touch(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    touched = shell.json("touch", "k", "2h")
    lived = datetime.fromisoformat(touched["expires_at"]) - datetime.fromisoformat(touched["updated_at"])
    assert timedelta(0) <= lived - timedelta(hours=2) < timedelta(milliseconds=1)  # which is Redis's unit
    assert "expires never" in shell.ok("touch", "k", "never")
    assert shell.fails(1, "touch", "gone", "5") == "no entry at 'gone'"


def test_partition_before_and_after_the_name(shell: Shell) -> None:
    shell.ok("put", "k", "1", "--partition", "one")
    shell.ok("-p", "two", "put", "k", "2")
    assert shell.json("-p", "one", "get", "k") == 1
    assert shell.json("get", "k", "-p", "two") == 2
    assert shell.json("-p", "one", "get", "k", "-p", "two") == 2
    assert shell("get", "k").exit_code == 1


def test_url_before_and_after_the_name(shell: Shell, tmp_path: object) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    shell.ok("--url", other, "put", "k", "1")
    assert shell.json("get", "k", "--url", other) == 1
    assert shell("get", "k").exit_code == 1


def test_json_before_the_name(shell: Shell) -> None:
    shell.ok("put", "k", "1")
    assert json.loads(shell.ok("--json", "entry", "k"))["key"] == "k"
