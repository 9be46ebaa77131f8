"""What an analyst finds in a source file: size, functions, imports, complexity, by `ast` alone."""

from __future__ import annotations

import ast
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A larger file is recorded as an error: it is generated, and its tree would take gigabytes.
MAX_SOURCE_BYTES: Final = 4 * 1024 * 1024

#: What adds a path through a function, after McCabe, "A Complexity Measure" (1976).
_BRANCHES: Final[frozenset[type[ast.AST]]] = frozenset(
    {
        ast.If,
        ast.IfExp,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.ExceptHandler,
        ast.Assert,
        ast.comprehension,
        ast.match_case,
    }
)

#: Three fifths of all nodes, with nothing below them that counts: not visited.
_LEAVES: Final[frozenset[type[ast.AST]]] = frozenset({ast.Name, ast.Constant, ast.Load, ast.Store, ast.Del})

_ONE_PARSER: Final = threading.Lock()


@dataclass(slots=True)
class _Function:
    name: str
    line: int
    lines: int
    complexity: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "line": self.line, "lines": self.lines, "complexity": self.complexity}


@dataclass(slots=True)
class _Tally:
    """What one walk through a tree collects; `module` bears the branches outside of every function."""

    module: _Function
    functions: list[_Function]
    imports: set[str]
    classes: int = 0


def examine(file: Path) -> dict[str, Any]:
    """Read and analyse one file.

    Returns:
        A finding: a JSON object with the same fields for every file; `error` tells why the others are empty, or is
        None. It depends on nothing but the file's bytes and the Python version.
    """
    try:
        source = file.read_bytes()
    except OSError as error:
        return _failed(0, f"not readable: {error.strerror or type(error).__name__}")
    lines = source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
    if len(source) > MAX_SOURCE_BYTES:
        return _failed(lines, f"{len(source):,} bytes, the limit is {MAX_SOURCE_BYTES:,}")
    try:
        tree = _parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _failed(lines, _describe(error))
    return _finding(lines, _walk(tree, lines))


def _parse(source: bytes) -> ast.Module:
    # Early releases of Python 3.11 count the depth of all threads' trees in one place and raise SystemError when two
    # are built at once (python/cpython#106905). The parser holds the GIL anyway, so one at a time costs nothing.
    with _ONE_PARSER:
        return ast.parse(source)


def _failed(lines: int, error: str) -> dict[str, Any]:
    nothing = _Tally(_Function("", 0, 0, 0), [], set())
    return {**_finding(lines, nothing), "error": error}


def _describe(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
    # A message may quote the source's own lone surrogates, which no JSON text can hold.
    clean = f"{text}{where}".encode(errors="backslashreplace").decode()
    return f"{type(error).__name__}: {clean}"


def _finding(lines: int, tally: _Tally) -> dict[str, Any]:
    functions = tally.functions
    longest = max(functions, key=lambda function: function.lines, default=None)
    knottiest = max(functions, key=lambda function: function.complexity, default=None)
    return {
        "lines": lines,
        "functions": len(functions),
        "classes": tally.classes,
        "complexity": tally.module.complexity + sum(function.complexity for function in functions),
        "longest": None if longest is None else longest.to_json(),
        "knottiest": None if knottiest is None else knottiest.to_json(),
        "imports": sorted(tally.imports),
        "error": None,
    }


def _walk(tree: ast.Module, lines: int) -> _Tally:
    """Visit every node once, with a stack of our own: generated code nests deeper than Python recurses."""
    module = _Function("<module>", 1, lines)
    tally = _Tally(module, [], set())
    stack: list[tuple[ast.AST, _Function, str]] = [(tree, module, "")]
    while stack:
        node, owner, scope = stack.pop()
        if type(node) in _BRANCHES:
            owner.complexity += 1
        elif isinstance(node, ast.BoolOp):
            owner.complexity += len(node.values) - 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            owner = _function(node, scope)
            tally.functions.append(owner)
            scope = f"{owner.name}."
        elif isinstance(node, ast.ClassDef):
            tally.classes += 1
            scope = f"{scope}{node.name}."
        elif isinstance(node, ast.Import | ast.ImportFrom):
            tally.imports.update(_modules(node))
        stack.extend([(child, owner, scope) for child in _children(node) if type(child) not in _LEAVES])
    return tally


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: str) -> _Function:
    return _Function(scope + node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)


def _children(node: ast.AST) -> list[ast.AST]:
    # ast.iter_child_nodes does the same in twice the time.
    found: list[ast.AST] = []
    for value in vars(node).values():
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The top-level names of absolute imports; a relative import names no module of others."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif node.level == 0 and node.module:
        yield node.module.partition(".")[0]
