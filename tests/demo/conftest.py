from __future__ import annotations

from pathlib import Path

import pytest

import agentmem
from agentmem.demo.board import Board
from agentmem.demo.fleet import make_plan

BROKEN = {
    "broken/syntax.py": b"def f(:\n",
    "broken/nul.py": b"x = 1\0\n",
    "broken/latin.py": b"name = '\xe9'\n",
    "broken/indent.py": b"if x:\npass\n",
}


def source(number: int) -> str:
    branches = "\n".join(f"    if x == {case}:\n        return {case}" for case in range(number % 7))
    imports = "import os\nfrom json import dumps\n"
    return f"{imports}\n\nclass C{number}:\n    pass\n\n\ndef f{number}(x):\n{branches}\n    return x\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """44 small source files, four of which cannot be parsed."""
    root = tmp_path / "tree"
    for number in range(40):
        file = root / f"package{number % 3}" / f"module{number:02d}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source(number))
    for name, content in BROKEN.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


@pytest.fixture(params=["sqlite_url", "postgres_schema_url", "redis_url"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A store of its own for one test, on each backend."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def memory(store_url: str):
    with agentmem.connect(store_url, partition="demo") as memory:
        yield memory


@pytest.fixture
def board(memory: agentmem.Memory) -> Board:
    return Board(memory.scoped("tree/"), retention_seconds=3600, lease_seconds=30)


@pytest.fixture
def plan(board: Board, tree: Path):
    return make_plan(board, tree)
