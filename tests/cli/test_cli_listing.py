"""search, keys, tree, count."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.fixture
def shell(each_shell: Shell) -> Shell:
    """On every backend."""
    return each_shell


@pytest.fixture
def filled(shell: Shell) -> Shell:
    for number in range(5):
        shell.ok("put", f"job/{number}", json.dumps({"score": number / 4}))
    shell.ok("put", "note", '"x"')
    return shell


def test_search_writes_a_line_per_entry(filled: Shell) -> None:
    lines = [line.split("\t") for line in filled.ok("search", "job/*").splitlines()]
    assert [line[0] for line in lines] == [f"job/{number}" for number in range(5)]
    assert [line[-1] for line in lines] == [f'{{"score": {number / 4}}}' for number in range(5)]
    assert {len(line) for line in lines} == {5}


def test_search_in_json_is_items_and_cursor(filled: Shell) -> None:
    page = filled.json("search")
    assert [item["key"] for item in page["items"]] == [*(f"job/{number}" for number in range(5)), "note"]
    assert page["items"][0] == filled.json("entry", "job/0")
    assert page["cursor"] is None


def test_an_empty_listing_is_a_document_too(shell: Shell) -> None:
    for command in ("search", "keys", "tree", "partitions"):
        assert shell.json(command, *([] if command == "partitions" else ["nothing"])) == {"items": [], "cursor": None}
    assert shell.ok("search") == shell.ok("keys") == shell.ok("tree") == ""


def test_where_order_and_descending(filled: Shell) -> None:
    found = filled.json("search", "--where", '{"score": {"$gte": 0.5}}', "--descending")
    assert [item["key"] for item in found["items"]] == ["job/4", "job/3", "job/2"]
    filled.ok("put", "job/1", "{}")
    newest = filled.json("search", "--order", "updated", "--descending", "--limit", "1")
    assert newest["items"][0]["key"] == "job/1"


def test_pages_by_limit_and_cursor(filled: Shell) -> None:
    first = filled.json("search", "--limit", "4")
    second = filled.json("search", "--limit", "4", "--cursor", first["cursor"])
    assert [len(page["items"]) for page in (first, second)] == [4, 2]
    assert second["cursor"] is None
    assert len({item["key"] for page in (first, second) for item in page["items"]}) == 6


def test_a_page_in_words_tells_on_stderr_how_to_go_on(filled: Shell) -> None:
    result = filled("search", "--limit", "4")
    cursor = result.stderr.strip().removeprefix("more entries follow: --cursor ")
    assert len(result.stdout.splitlines()) == 4
    assert len(filled.ok("search", "--cursor", cursor).splitlines()) == 2


def test_all_follows_the_pages(filled: Shell) -> None:
    with filled.connect() as memory:
        memory.put_many({f"many/{number:05}": number for number in range(2500)})
    everything = filled.json("search", "many/*", "--all")
    assert [item["value"] for item in everything["items"]] == list(range(2500))
    assert everything["cursor"] is None
    assert len(filled.ok("search", "--all").splitlines()) == 2506


def test_all_and_limit_exclude_each_other(shell: Shell) -> None:
    assert "--all and --limit" in shell.fails(2, "search", "--all", "--limit", "3")


def test_keys(filled: Shell) -> None:
    assert filled.ok("keys", "job/", "--limit", "2") == "job/0\njob/1\n"
    assert filled.json("keys", "n") == {"items": ["note"], "cursor": None}


def test_tree(shell: Shell) -> None:
    for key in ("a", "a/b/1", "a/b/2", "a/c", "d/e/f/g"):
        shell.ok("put", key, "1")
    assert shell.ok("tree") == "a\na/\nd/\n"
    assert shell.ok("tree", "a/") == "a/b/\na/c\n"
    assert shell.json("tree", "--depth", "2")["items"] == ["a", "a/b/", "a/c", "d/e/"]


def test_count(filled: Shell) -> None:
    assert filled.ok("count") == "6\n"
    assert filled.json("count", "job/?", "--where", '{"score": {"$lt": 0.5}}') == {"count": 2}


def test_keys_that_a_line_cannot_show_are_written_as_json_strings(shell: Shell) -> None:
    odd = ["two\nlines", "tab\there", "\x1b[31mred", "\u202eright to left", '"quoted"', "plain [bold]é"]
    with shell.connect() as memory:
        memory.put_many(dict.fromkeys(odd, 1))
    lines = shell.ok("keys").splitlines()
    assert sorted(json.loads(line) if line.startswith('"') else line for line in lines) == sorted(odd)
    assert "plain [bold]é" in lines
    assert not any(character in shell.ok("search") for character in "\x1b\u202e")
    assert sorted(shell.json("keys")["items"]) == sorted(odd)


def test_values_cannot_drive_the_terminal(shell: Shell) -> None:
    dangerous = "\x1b]0;title\x07 \x9b31m \u202e \u2066 \ufeff"
    shell.ok("put", "k", json.dumps(dangerous))
    for command in (["get", "k"], ["entry", "k"], ["search"], ["entry", "k", "--json"]):
        assert all(character.isprintable() or character in "\n\t" for character in shell.ok(*command))
    assert shell.json("get", "k") == dangerous


def test_a_corrupt_entry_is_named_and_the_listing_goes_on(filled: Shell) -> None:
    filled.corrupt("job/1")
    items = filled.json("search", "job/*")["items"]
    assert [item["key"] for item in items if "error" in item] == ["job/1"]
    assert items[1]["value"] is None
    assert items[2]["value"] == {"score": 0.5}
    assert "'job/1' cannot be decoded" in filled.ok("search", "job/*").splitlines()[1]
    assert "cannot be decoded" in filled.fails(6, "get", "job/1")
