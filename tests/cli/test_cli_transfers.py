"""export, import, copy."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agentmem.cli.command import Run
from agentmem.errors import PoolTimeout
from agentmem.loading import PIECE_ENTRIES
from agentmem.testing.support import exactly

if TYPE_CHECKING:
    from pathlib import Path

    from agentmem.memory import Memory
    from tests.cli.conftest import Shell

ENTRIES: dict[str, Any] = {
    "a/1": {"z": -0.0, "a": [1e22, 2**70, "\x00\x9b \u202e é 🧠"]},
    "a/2": None,
    "b\n": "an odd key",
}


@pytest.fixture
def shell(each_shell: Shell) -> Shell:
    """On every backend."""
    return each_shell


@pytest.fixture
def filled(shell: Shell) -> Shell:
    with shell.connect() as memory:
        memory.put_many(ENTRIES)
        memory.put("a/3", "soon gone", ttl=3600, metadata={"by": "é"})
    return shell


def everything(memory: Memory) -> dict[str, tuple[str, dict[str, Any], bool]]:
    return {each.key: (exactly(each.value), each.metadata, each.expires_at is None) for each in memory.items()}


def test_what_is_exported_is_imported(filled: Shell) -> None:
    text = filled("export").stdout_bytes
    assert [json.loads(line)["key"] for line in text.splitlines()] == ["a/1", "a/2", "a/3", "b\n"]
    assert filled.ok("import", "-p", "other", stdin=text) == "imported 4 entries\n"
    with filled.connect() as memory:
        assert everything(memory.partition("other")) == everything(memory)
        entry = memory.partition("other").entry("a/3")
        assert entry is not None
        assert entry.expires_at is not None
        assert timedelta(minutes=59) < entry.expires_at - entry.updated_at <= timedelta(hours=1)


def test_through_a_file_and_in_json(filled: Shell, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    assert filled.ok("export", "--output", str(path)) == "exported 4 entries\n"
    assert path.read_bytes().count(b"\n") == 4
    assert filled.json("export", "a/", "--output", str(path)) == {"exported": 3, "skipped": 0}
    assert filled.json("import", str(path), "-p", "other") == {"imported": 3}
    assert filled.ok("keys", "-p", "other") == "a/1\na/2\na/3\n"
    assert [each.name for each in tmp_path.glob("all*")] == ["all.jsonl"]


def test_copy_into_another_store_and_another_partition(filled: Shell, tmp_path: Path) -> None:
    there = f"sqlite:///{tmp_path / 'there.db'}"
    assert filled.ok("copy", "--to", there) == "copied 4 entries\n"
    filled.env["AGENTMEM_TO_URL"] = there
    assert filled.json("copy", "a/", "--to-partition", "other") == {"copied": 3, "skipped": 0}
    del filled.env["AGENTMEM_TO_URL"]
    assert filled.ok("copy", "a/1", "--to-partition", "here") == "copied 1 entry\n"
    with filled.connect() as source, type(filled)(there, {}).connect() as target:
        assert everything(target) == everything(source)
        assert list(target.partition("other").keys()) == ["a/1", "a/2", "a/3"]
        assert list(source.partition("here").keys()) == ["a/1"]


def test_a_copy_back_is_exact(filled: Shell, tmp_path: Path) -> None:
    there = f"sqlite:///{tmp_path / 'there.db'}"
    filled.ok("copy", "--to", there)
    filled.ok("copy", "--url", there, "--to", filled.url, "--to-partition", "back")
    with filled.connect() as memory:
        assert everything(memory.partition("back")) == everything(memory)


def test_a_corrupt_entry_is_named_and_left_out_on_request(filled: Shell, tmp_path: Path) -> None:
    filled.corrupt("a/1")
    path = tmp_path / "all.jsonl"
    path.write_text("yesterday's\n")
    for words in (["export", "--output", str(path)], ["copy", "--to-partition", "other"]):
        message = filled.fails(6, *words)
        assert "'a/1' cannot be decoded" in message
        assert message.endswith("--skip-corrupt leaves such entries out.")
        assert path.read_text() == "yesterday's\n"
    for words in (["export", "--output", str(path)], ["copy", "--to-partition", "other"]):
        result = filled(*words, "--skip-corrupt", "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout) == {{"export": "exported", "copy": "copied"}[words[0]]: 3, "skipped": 1}
        assert result.stderr.startswith("left out: the entry 'a/1' cannot be decoded")
    assert path.read_text().count("\n") == 3


REFUSED = [
    ('{"key": "a"}', "line 2 is no entry"),
    ('{"key": "\\u0000", "value": 1}', "This was the entry '\\x00'."),
    ('{"key": "a", "value": 1, "ttl": 0}', "This was the entry 'a'."),
    ('{"key": "a", "value": "' + 2**20 * "x" + '"}', "This was the entry 'a'."),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_is_named(shell: Shell, line: str, message: str) -> None:
    assert message in shell.fails(2, "import", "-", stdin='{"key": "first", "value": 1}\n' + line)
    assert shell.ok("keys") == ""


def test_an_error_says_how_far_it_came(shell: Shell) -> None:
    lines = [f'{{"key": "k{number:04}", "value": 1}}' for number in range(PIECE_ENTRIES)]
    message = shell.fails(2, "import", stdin="\n".join([*lines, "nonsense"]))
    assert message.startswith("line 1,001 is no entry")
    assert message.endswith("Entries stored before it: 1,000.")
    assert shell.ok("count") == "1000\n"


def test_the_namespace_holds_for_what_comes_in(shell: Shell) -> None:
    shell.env["AGENTMEM_NAMESPACE"] = "aqe/"
    assert "This was the entry 'b'" in shell.fails(2, "import", stdin='{"key": "b", "value": 1}')


def test_copy_without_a_place_is_refused(sqlite_shell: Shell) -> None:
    for words in ([], ["--to", sqlite_shell.url], ["-p", "one", "--to-partition", "one"]):
        assert "--to names another store" in sqlite_shell.fails(2, "copy", *words)


def test_copy_leaves_the_options_of_one_store_out_of_the_other(sqlite_shell: Shell, tmp_path: Path) -> None:
    sqlite_shell.ok("put", "k", "1")
    there = f"sqlite:///{tmp_path / 'there.db'}?synchronous=normal"
    assert sqlite_shell.ok("copy", "-o", "synchronous=full", "--to", there) == "copied 1 entry\n"
    assert "nonsense" in sqlite_shell.fails(2, "copy", "-o", "nonsense=1", "--to", there)


def test_files_that_cannot_be_used(sqlite_shell: Shell, tmp_path: Path) -> None:
    sqlite_shell.ok("put", "k", "1")
    assert "No such file" in sqlite_shell.fails(6, "import", str(tmp_path / "nowhere"))
    assert "Is a directory" in sqlite_shell.fails(6, "import", str(tmp_path))
    assert "No such file" in sqlite_shell.fails(6, "export", "--output", str(tmp_path / "nowhere" / "x"))
    assert "'/dev/full': No space left" in sqlite_shell.fails(6, "export", "--output", "/dev/full")


def test_an_export_keeps_a_link_and_writes_into_what_is_no_file(sqlite_shell: Shell, tmp_path: Path) -> None:
    sqlite_shell.ok("put", "k", "1")
    (tmp_path / "link").symlink_to("real.jsonl")
    sqlite_shell.ok("export", "--output", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == '{"key":"k","value":1}\n'
    sqlite_shell.ok("export", "--output", os.devnull)
    assert not (tmp_path / os.devnull).is_file()


def test_a_store_that_is_busy_is_not_blamed_on_the_file(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(run: Any) -> Any:
        raise PoolTimeout("no connection became free")

    monkeypatch.setattr(Run, "memory", busy)
    (tmp_path / "in.jsonl").write_text('{"key": "k", "value": 1}\n')
    assert shell.fails(4, "import", str(tmp_path / "in.jsonl")) == "no connection became free"
