"""What is shown on a terminal, and in a locale that lacks the characters."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from agentmem.cli.app import app

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.fixture
def terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command with stdin and stdout that say to be a terminal of 80 columns without colours."""
    with CliRunner().isolation():
        stream = type(sys.stdout)
    monkeypatch.setattr(stream, "isatty", lambda self: True)
    shell.env |= {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    return shell


def lines_of(shown: str) -> list[str]:
    assert "\x1b" not in shown
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80
    return [line.strip() for line in lines if line]


def test_a_table_fits_and_markup_is_not_read(terminal: Shell) -> None:
    with terminal.connect() as memory:
        memory.put("[red]note", {"text": "[bold]not markup[/bold] :smile: " + "long " * 100})
    lines = lines_of(terminal.ok("search"))
    assert lines[0].split() == ["key", "updated", "expires", "value"]
    assert re.match(r'\[red\]note +\d+s ago +never +\{"text": "\[bold\]not markup.*…$', lines[2])


def test_a_long_key_is_folded_and_never_cut(terminal: Shell) -> None:
    key = "".join(f"{number:04}" for number in range(100))
    with terminal.connect() as memory:
        memory.put(key, "short", ttl=3600 * 24 * 7 + 60)
    lines = lines_of(terminal.ok("search"))
    assert "".join(line.split()[0] for line in lines[2:]) == key
    assert re.search(r'\d+s ago +in 7d +"short"', lines[2])


def test_a_tree(terminal: Shell) -> None:
    with terminal.connect() as memory:
        memory.put_many(dict.fromkeys(["a", "a/b/c", "a/d", "e", "x[1]//y", "x[1]/z/"], 1))
    shown = terminal.ok("tree", "--depth", "2")
    assert [line.rstrip() for line in shown.splitlines()] == [
        "/",
        "├── a",
        "├── a/",
        "│   ├── b/",
        "│   └── d",
        "├── e",
        "└── x[1]/",
        "    ├── /",
        "    └── z/",
    ]
    assert lines_of(terminal.ok("tree", "a/"))[0] == "a/"


def test_other_answers(terminal: Shell) -> None:
    with terminal.connect() as memory:
        memory.put("k", "v", metadata={"by": "[me]"})
    for words, expected in (
        (["entry", "k"], r'metadata +\{"by": "\[me\]"\}'),
        (["stats"], r"entries +1$"),
        (["partitions"], r"default +never"),
        (["doctor"], r"verdict +all is well$"),
        (["db", "history"], r"0001 "),
    ):
        assert any(re.match(expected, line) for line in lines_of(terminal.ok(*words)))


def test_text_ends_in_a_line_feed_on_a_terminal_alone(terminal: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.ok("put", "k", "v", "--text")
    assert terminal.ok("get", "k", "--text") == "v\n"
    monkeypatch.undo()
    assert terminal.ok("get", "k", "--text") == "v"


def test_json_is_one_document_on_a_terminal_too(terminal: Shell) -> None:
    terminal.ok("put", "k", "[1, 2]")
    assert terminal.ok("get", "k") == "[\n  1,\n  2\n]\n"
    assert terminal.ok("get", "k", "--json") == "[1, 2]\n"
    assert terminal.json("search")["items"][0]["key"] == "k"


def test_a_missing_value_is_not_waited_for(terminal: Shell) -> None:
    assert terminal.fails(2, "put", "k").startswith("VALUE is missing")
    terminal.ok("put", "k", "-", stdin="1")


@pytest.mark.parametrize("words", [["get", "schlüssel"], ["search"], ["keys"], ["entry", "schlüssel"], ["tree"]])
def test_an_encoding_that_lacks_the_characters(shell: Shell, words: list[str]) -> None:
    with shell.connect() as memory:
        memory.put("schlüssel", "Grüße 🧠")
    env = {**shell.env, "AGENTMEM_URL": shell.url}
    for options in ([], ["--json"]):
        result = CliRunner(charset="ascii").invoke(app, [*words, *options], env=env)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout_bytes.isascii()
    found = json.loads(result.stdout_bytes)
    assert found in ("Grüße 🧠", {"items": ["schlüssel"], "cursor": None}) or "Grüße 🧠" in str(found)
