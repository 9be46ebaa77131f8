"""Which files there are to examine, and what they are called in memory."""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

#: Packages that were installed beside the tree are not part of it.
SKIPPED_FOLDERS: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})

#: Printable ASCII stands for itself in a name; other bytes and `%` become %XX. So every file name can be a key.
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

#: A key has at most 1,024 bytes, and the board puts prefixes before the name.
_MAX_NAME_BYTES: Final = 800


class Source(NamedTuple):
    """A file to examine: its name in memory, and its size when the plan was made."""

    name: str
    size_bytes: int


class Listing(NamedTuple):
    """What a tree holds.

    Attributes:
        sources: by name.
        skipped: what could not be listed, as text for people.
    """

    sources: list[Source]
    skipped: list[str]


def standard_library() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def list_sources(root: Path, limit: int | None = None) -> Listing:
    """Find the `*.py` files below a folder, without hidden folders and installed packages.

    Args:
        root: the folder.
        limit: at most so many, the first ones by name.

    Raises:
        NotADirectoryError: `root` is none.
    """
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    skipped: list[str] = []
    sources = []
    for folder, names, files in os.walk(root, onerror=lambda error: skipped.append(str(error))):
        names[:] = [name for name in names if name not in SKIPPED_FOLDERS and not name.startswith(".")]
        for file in files:
            path = Path(folder, file)
            if not file.endswith(".py") or not path.is_file():
                continue
            name = to_name(path.relative_to(root))
            if len(name) > _MAX_NAME_BYTES:
                skipped.append(f"too long a name for a key: {name[:80]}...")
            else:
                sources.append(Source(name, path.stat().st_size))
    return Listing(sorted(sources)[:limit], skipped)


def to_name(relative: Path) -> str:
    """The name of a file in memory: its path below the root, readable where it is plain ASCII."""
    return quote_from_bytes(os.fsencode(relative.as_posix()), safe=_PLAIN)


def to_path(root: Path, name: str) -> Path:
    """The file that `to_name` named."""
    return root / os.fsdecode(unquote_to_bytes(name))


def tree_name(root: Path, limit: int | None = None) -> str:
    """A short name for what is examined: the same folder and limit give the same name in every process."""
    resolved = root.resolve()
    digest = hashlib.sha256(os.fsencode(resolved) + f"\0{limit}".encode()).hexdigest()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", resolved.name)[:40] or "root"
    return f"{plain}-{digest[:8]}"
