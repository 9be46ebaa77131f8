"""Which tests show which rule of the contract, and docs/contract.md kept up to date with that.

    python -m agentmem.testing.rules            # in a checkout: rewrites the lines `Shown by` of docs/contract.md
    python -m agentmem.testing.rules --check    # fails if they are out of date or a rule has no test

A test shows a rule when its name says so, `test_r07_…`, or its marker, `@pytest.mark.rule("R7")`.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RULES = range(1, 44)
DOCUMENT = "docs/contract.md"
SUITE = "agentmem/testing/contract"
PLACES = (SUITE, "tests")
"""Where tests are looked for, in a checkout."""

#: What one backend in one process cannot show, or not alone, by rule; it is shown by tests of the project itself.
ELSEWHERE = {
    15: "a server that dies in the middle of a batch (the suite kills writers, not servers)",
    17: "durability through the end of a server; appendfsync and synchronous as configured",
    18: "a reply that is lost on the wire, and that the drivers retry nothing themselves",
    21: "a caller whose clock is wrong (the suite changes only its time zone)",
    25: "that a filter is pushed down to the server, and agrees there with the evaluator on generated filters",
    27: "the statements and plans themselves: no KEYS, no unbounded SCAN, no sequential scan for a prefix",
    30: "logs, and every message of a driver that could hold a URL; that nothing imports pickle for data",
    31: "a driver that is not installed",
    32: "PoolTimeout, which needs connections that are held",
    34: "restarts and broken connections, where the harness cannot restart a server",
    35: "a host's engine or client, which stays open",
}

_HEADING = re.compile(r"^### R(\d+)\b")
_SHOWN = "Shown by "

Found = dict[int, dict[str, list[str]]]
"""For each rule, for each file, the names of the tests."""


def find(root: Path, places: Iterable[str] = PLACES) -> Found:
    """Look for the tests of all rules.

    Args:
        root: the checkout.
        places: directories below it.
    """
    found: Found = defaultdict(dict)
    for path in sorted(path for place in places for path in (root / place).rglob("*.py")):
        for name, rules in _tests(ast.parse(path.read_text(encoding="utf-8"))):
            for rule in rules:
                found[rule].setdefault(path.relative_to(root).as_posix(), []).append(name)
    return found


def _tests(tree: ast.AST, inherited: frozenset[int] = frozenset()) -> Iterator[tuple[str, frozenset[int]]]:
    """Names of test functions and the rules that they show, those of their class included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, inherited | _marked(node))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            named = re.match(r"test_r(\d\d)_", node.name)
            rules = inherited | _marked(node) | (frozenset({int(named[1])}) if named else frozenset())
            if rules:
                yield node.name, rules


def _marked(node: ast.ClassDef | ast.FunctionDef) -> frozenset[int]:
    return frozenset(
        int(argument.value.removeprefix("R"))
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule"
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )


def refreshed(text: str, found: Found) -> str:
    """The document with its lines `Shown by` as they should be: one at the end of each rule's section."""
    lines: list[str] = []
    rule: int | None = None
    for line in text.splitlines():
        if line.startswith(_SHOWN):
            continue
        if line.startswith("#"):
            _close(lines, rule, found)
            heading = _HEADING.match(line)
            rule = int(heading[1]) if heading else None
        lines.append(line)
    _close(lines, rule, found)
    return "\n".join(lines).rstrip("\n") + "\n"


def _close(lines: list[str], rule: int | None, found: Found) -> None:
    if rule is None:
        return
    while lines and not lines[-1]:
        lines.pop()
    lines += ["", _shown(rule, found), ""]


def _shown(rule: int, found: Found) -> str:
    files = found.get(rule, {})
    by_suite = [_listed(path, names) for path, names in files.items() if path.startswith(SUITE)]
    by_others = [_listed(path, names) for path, names in files.items() if not path.startswith(SUITE)]
    line = _SHOWN + ("; ".join(by_suite + by_others) or "**no test**") + "."
    return f"{line} Not by the suite: {ELSEWHERE[rule]}." if rule in ELSEWHERE else line


def _listed(path: str, names: list[str]) -> str:
    short = path.removeprefix(f"{SUITE}/")
    return f"`{short}`: " + ", ".join(f"`{name}`" for name in names)


def missing(text: str, found: Found) -> list[int]:
    """The rules that have no test, or no section in the document."""
    sections = {int(heading[1]) for heading in map(_HEADING.match, text.splitlines()) if heading}
    return [rule for rule in RULES if rule not in found or rule not in sections]


def main(arguments: Sequence[str] | None = None) -> int:
    """Refresh or check the document of the checkout in the working directory."""
    parser = argparse.ArgumentParser(prog="python -m agentmem.testing.rules", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is out of date")
    options = parser.parse_args(arguments)
    document = Path(DOCUMENT)
    text = document.read_text(encoding="utf-8")
    found = find(Path())
    wanted = refreshed(text, found)
    without = missing(text, found)
    for rule in without:
        sys.stderr.write(f"R{rule} has no test or no section\n")
    if options.check and wanted != text:
        sys.stderr.write(f"{DOCUMENT} is out of date: run python -m agentmem.testing.rules\n")
        return 1
    if not options.check:
        document.write_text(wanted, encoding="utf-8")
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main())
