"""Exit codes and the one line on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from agentmem import errors
from agentmem.cli.exits import ExitCode, NotFound, Refused, code_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

SECRET = "hunter2"

REFUSED = [
    (["get"], "Missing argument 'KEY'"),
    (["gett", "k"], "Did you mean 'get'?"),
    (["get", "k", "--frob"], "No such option: --frob"),
    (["get", "k", "-5"], "(-5)"),
    (["get", ""], "key"),
    (["get", "k" * 1025], "1,024 bytes"),
    (["get", "k", "--default", "{"], "--default is not JSON"),
    (["put", "k", "hello"], "VALUE is not JSON: Expecting value: line 1 column 1 (char 0) (--text stores it"),
    (["put", "k", "NaN"], "value"),
    (["put", "k", '{"a": [1e999]}'], "value.a[0]"),
    (["put", "k", "1", "--ttl", "0"], "above 0"),
    (["put", "k", "1", "--ttl", "-5"], "a TTL is seconds"),
    (["put", "k", "1", "--ttl", "soon"], "a TTL is seconds"),
    (["put", "k", "1", "--ttl", "40000d"], "100 years"),
    (["put", "k", "1", "--metadata", "[1]"], "--metadata must be a JSON object"),
    (["put", "k", "1", "--metadata", "{"], "--metadata is not JSON"),
    (["put", "k", "1", "--if-version", "x"], "Invalid value for '--if-version'"),
    (["put", "k", "1", "-p", ""], "partition"),
    (["put", "k", "1", "-p", "p" * 129], "128 bytes"),
    (["search", "a\\"], "pattern"),
    (["search", "--where", "{"], "--where is not JSON"),
    (["search", "--where", '{"a": {"$near": 1}}'], "$near"),
    (["search", "--cursor", "nonsense"], "cursor"),
    (["search", "--limit", "0"], "limit"),
    (["search", "--order", "size"], "'size' is not one of"),
    (["keys", "--limit", "-1"], "limit must be a whole number of at least 1, not -1"),
    (["delete", "k", "--if-version", "-3"], "if_version must be a whole number of at least 1, not -3"),
    (["tree", "--depth", "0"], "depth"),
    (["increment", "k", "much"], "BY is not JSON"),
    (["increment", "k", '"5"'], "BY must be a number"),
    (["increment", "k", "1e999"], "finite"),
    (["touch", "k", "soon"], "a TTL is seconds"),
    (["purge", "--max-seconds", "x"], "--max-seconds"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words)[:40] for words, _ in REFUSED])
def test_bad_arguments_are_exit_2_and_change_nothing(shell: Shell, words: list[str], message: str) -> None:
    shell.ok("put", "k", "1")
    before = shell.ok("search")
    assert message in shell.fails(2, *words)
    assert shell.ok("search") == before


def test_an_error_in_json(shell: Shell) -> None:
    for words in (["get", "k", "--json"], ["--json", "get", "k"]):
        result = shell(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert json.loads(result.stderr) == {"error": {"type": "NotFound", "message": "no entry at 'k'"}}
    assert json.loads(shell("get", "--json").stderr)["error"]["type"] == "MissingParameter"
    assert json.loads(shell("put", "k", "1", "--ttl", "0", "--json").stderr)["error"]["type"] == "InvalidTTL"


def test_an_empty_url_is_refused_and_not_replaced(shell: Shell) -> None:
    for words in (["get", "k"], ["db", "current"], ["doctor"]):
        assert shell("--url", "", *words).exit_code in (1, 2)


def test_standard_input_that_is_no_utf8(shell: Shell) -> None:
    assert "standard input is not UTF-8" in shell.fails(2, "put", "k", "--text", stdin=b"\xff\xfe")


def test_an_error_is_one_line_whatever_the_argument_holds(shell: Shell) -> None:
    assert "\x1b" not in shell.fails(1, "get", "two\nlines \x1b[31m")
    assert "\x1b" not in shell.fails(2, "put", "k", "\x1b[31m\nred")
    assert "\x1b" not in shell.fails(2, "\x1b[31m\nred")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mongodb://localhost/x", "mongodb"),
        ("nonsense", "nonsense"),
        ("redis://127.0.0.1:1?frob=1", "frob"),
        ("redis://127.0.0.1:1/one", "a database of Redis is a number"),
    ],
)
def test_a_url_that_is_none_of_ours(shell: Shell, url: str, message: str) -> None:
    assert message in shell.fails(2, "get", "k", "--url", url)


def test_a_driver_that_is_not_installed_is_exit_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "redis" or name.startswith("agentmem.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    for words in (["get", "k"], ["db", "current"], ["db", "upgrade"]):
        assert "install the extra `redis`" in shell.fails(2, *words, "--url", "redis://127.0.0.1:1")
    assert "install the extra `redis`" in shell("doctor", "--url", "redis://127.0.0.1:1").stdout


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_server_that_does_not_answer_is_exit_4(shell: Shell, scheme: str) -> None:
    url = f"{scheme}://agent:{SECRET}@127.0.0.1:1" + ("/x" if scheme == "postgresql" else "")
    result = shell("get", "k", "--url", url, "--json")
    assert (result.exit_code, result.stdout) == (4, "")
    assert json.loads(result.stderr)["error"]["type"] == "Unavailable"
    assert SECRET not in result.output


@pytest.mark.parametrize("scheme", ["postgresql", "rediss"])
def test_no_password_is_shown_wherever_a_url_was_typed(shell: Shell, scheme: str) -> None:
    url = f"{scheme}://agent:{SECRET}@127.0.0.1:1/x?password={SECRET}"
    for words in (
        ["get", "k", url],
        [url],
        ["get", "k", f"--ulr={url}"],
        ["--url", url, "stats"],
        ["search", "--limit", url],
    ):
        result = shell(*words)
        assert result.exit_code in (2, 4)
        assert SECRET not in result.output


def test_a_file_that_is_no_database(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is a letter, not a database. " * 100)
    result = shell("get", "k", "--url", f"sqlite:///{tmp_path}/text.db")
    assert result.exit_code in (4, 6)
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("file is not a database\n")


def test_a_defect_is_one_line_and_the_traceback_on_request(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("a bug at postgresql://u:hunter2@host/x")

    monkeypatch.setattr("agentmem.connect", fail)
    text = shell.fails(6, "stats")
    assert text == "unexpected LookupError: a bug at postgresql://u:***@host/x (AGENTMEM_DEBUG=1 shows where)"
    monkeypatch.setenv("AGENTMEM_DEBUG", "1")
    assert "Traceback" in shell("stats").stderr


CODES = [
    (NotFound("k"), 1),
    (errors.InvalidKey("k"), 2),
    (errors.InvalidFilter("k"), 2),
    (errors.ConfigurationError("k"), 2),
    (errors.NamespaceError("k", "n/"), 2),
    (errors.ValueTooLarge("value", 2, 1), 2),
    (errors.VersionConflict("k", 1, None), 3),
    (errors.Unavailable("k"), 4),
    (errors.PoolTimeout("k"), 4),
    (errors.SchemaMismatch("k"), 5),
    (errors.OutcomeUnknown("k"), 6),
    (errors.PermissionDenied("k"), 6),
    (errors.CorruptEntry("k", "no"), 6),
    (errors.CounterOverflow("k", "no"), 6),
    (errors.BackendError("k"), 6),
    (Refused("no"), 6),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[type(error).__name__ for error, _ in CODES])
def test_exit_codes(error: Exception, code: int) -> None:
    assert code_of(error) == code


def test_the_numbers_are_the_documented_ones() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 130, 141]
