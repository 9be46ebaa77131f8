"""Every public name and every command is used by some test."""

from __future__ import annotations

import ast
import pkgutil
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import typer.main

import agentmem
from agentmem import Memory, Transaction, TypedMemory, migrations, sql, transfer
from agentmem.cli.app import app
from tests.cli.conftest import Shell
from tests.unit.exercised import Uses, modules_names, public, unexercised

ROOT = Path(__file__).resolve().parents[2]
HANDLES = {kind.__name__: kind for kind in (Memory, Transaction, TypedMemory)}
#: Those of the exported classes that hold data: their attributes bear names that nothing else has, or that all have.
RECORDS = (agentmem.Entry, agentmem.Page, agentmem.Partition, agentmem.Problem, agentmem.Stats, agentmem.TypedEntry)


@cache
def sources() -> tuple[ast.Module, ...]:
    """The tests, and the suite that is shipped."""
    here = Path(__file__)
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("agentmem/testing/contract/*.py")]
    return tuple(ast.parse(path.read_text(encoding="utf-8")) for path in files if path != here)


def exported() -> set[str]:
    """The names that the manuals of the package speak of."""
    names = {f"{module.__name__}.{name}" for module in (agentmem, migrations, sql) for name in module.__all__}
    return names | {f"{transfer.__name__}.{name}" for name in ("copy", "export_lines", "import_lines")}


def defined(dotted: str) -> str:
    """Where a name that may be exported from several modules was defined; the name itself of what is no definition."""
    try:
        thing = pkgutil.resolve_name(dotted)
    except (ImportError, AttributeError):
        return dotted
    return f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type | FunctionType) else dotted


def commands() -> set[tuple[str, ...]]:
    root: Any = typer.main.get_group(app)
    groups = {name: each for name, each in root.commands.items() if hasattr(each, "commands")}
    return {(name,) for name in root.commands if name not in groups} | {
        (name, each) for name, group in groups.items() for each in group.commands
    }


def test_every_method_and_property_of_a_handle() -> None:
    missing = unexercised(HANDLES, sources())
    assert missing == [], f"no test uses {', '.join(missing)}"


def test_every_attribute_of_what_is_returned() -> None:
    used = {node.attr for source in sources() for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    missing = [f"{kind.__name__}.{name}" for kind in RECORDS for name in sorted(public(kind) - used)]
    assert missing == [], f"no test uses {', '.join(missing)}"


def test_every_exported_name() -> None:
    used = {name for source in sources() for name in modules_names(source, "agentmem")}
    definitions = set(map(defined, used))
    missing = [name for name in sorted(exported()) if name not in used and defined(name) not in definitions]
    assert missing == [], f"no test uses {', '.join(missing)}"


def test_every_command() -> None:
    uses = Uses({"Shell": Shell})
    for source in sources():
        uses.visit(source)
    begun = {words[:length] for _, words in uses.calls for length in (1, 2)}
    missing = [" ".join(words) for words in sorted(commands() - begun)]
    assert missing == [], f"no test runs {', '.join(missing)}"


SAMPLE = """
import agentmem
from agentmem import sql
from agentmem.sql import Base, MemoryEntry

def test_one(memory: Memory, other: dict):
    memory.put("k", 1)
    other.get("k")
    with memory.transaction() as tx:
        tx.delete("k")
    memory.scoped("a/").touch("k", 1)
    memory = {}
    memory.pop("k")
    print(Base, sql.migrations, agentmem.UNSET)
"""


def test_what_no_test_uses_is_found() -> None:
    missing = unexercised(HANDLES, [ast.parse(SAMPLE)])
    assert {"Memory.get", "Memory.pop", "Transaction.put", "TypedMemory.put"} <= set(missing)
    assert not {"Memory.put", "Memory.transaction", "Transaction.delete", "Memory.scoped", "Memory.touch"} & set(
        missing
    )


def test_an_import_is_no_use() -> None:
    used = set(modules_names(ast.parse(SAMPLE), "agentmem"))
    assert {"agentmem.sql.Base", "agentmem.sql.migrations", "agentmem.UNSET"} <= used
    assert "agentmem.sql.MemoryEntry" not in used


@pytest.mark.parametrize("name", ["put", "frobnicate"])
def test_a_word_elsewhere_is_no_command(name: str) -> None:
    uses = Uses({"Shell": Shell})
    uses.visit(ast.parse(f"def test(shell: Shell, log):\n    shell.ok('get', 'k')\n    log.write('{name}')"))
    assert uses.calls == [("Shell", ("get", "k"))]
