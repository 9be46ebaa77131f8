"""Which files are examined, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.demo.sources import list_sources, standard_library, to_name, to_path, tree_name

# What a path on Linux may consist of: any byte but NUL; the slash separates.
segments = st.binary(min_size=1, max_size=20).filter(lambda b: not set(b) & {0, 0x2F} and b not in (b".", b".."))


@given(st.lists(segments, min_size=1, max_size=4))
def test_every_file_name_becomes_a_key_and_comes_back(parts: list[bytes]) -> None:
    relative = Path(*(os.fsdecode(part) for part in parts))
    name = to_name(relative)
    assert name.isascii()
    assert name.isprintable()
    assert to_path(Path("/root"), name) == Path("/root") / relative


def test_an_ordinary_name_is_its_own_key() -> None:
    assert to_name(Path("json/decoder.py")) == "json/decoder.py"
    assert to_name(Path("100%/é.py")) == "100%25/%C3%A9.py"


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")


def test_hidden_and_installed_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a/c.py", "a/notes.txt", ".git/d.py", "site-packages/e.py", "a/__pycache__/f.py")
    assert [source.name for source in list_sources(tmp_path).sources] == ["a/c.py", "b.py"]
    assert list_sources(tmp_path).sources[0].size_bytes == 6


def test_a_limit_takes_the_first_names(tmp_path: Path) -> None:
    make(tmp_path, "c.py", "a.py", "b.py")
    assert [source.name for source in list_sources(tmp_path, 2).sources] == ["a.py", "b.py"]


def test_a_name_too_long_for_a_key_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "short.py", "/".join(["é" * 100] * 3) + "/long.py")
    listing = list_sources(tmp_path)
    assert [source.name for source in listing.sources] == ["short.py"]
    assert len(listing.skipped) == 1
    assert "too long" in listing.skipped[0]


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    make(tmp_path, "a.py")
    with pytest.raises(NotADirectoryError):
        list_sources(tmp_path / "a.py")


def test_a_dangling_link_is_no_source(tmp_path: Path) -> None:
    make(tmp_path, "a.py")
    (tmp_path / "b.py").symlink_to(tmp_path / "gone.py")
    assert [source.name for source in list_sources(tmp_path).sources] == ["a.py"]


def test_a_tree_keeps_its_name_and_another_limit_is_another_tree(tmp_path: Path) -> None:
    make(tmp_path, "x/y [1]/a.py")
    root = tmp_path / "x" / "y [1]"
    assert tree_name(root) == tree_name(root.parent / "." / "y [1]")
    assert tree_name(root).startswith("y-1-")
    assert len({tree_name(root), tree_name(root, 5), tree_name(root.parent)}) == 3


def test_the_standard_library_is_found() -> None:
    assert (standard_library() / "json" / "decoder.py").is_file()
