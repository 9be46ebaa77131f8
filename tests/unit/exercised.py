"""Which public names the tests never use, by reading the tests.

A use is a name of the package that is mentioned outside of an import, an attribute of what is known to be a handle
(`get` alone would be any dict's), or a word that the command was given. What an expression is follows from annotations,
also those of the handles' own methods; where these are not enough, a use is missed, never made up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

_MAKERS = (["agentmem", "connect"], ["harness", "connect"])


def public(kind: type) -> set[str]:
    """A class's public methods, properties and fields."""
    return {name for name in (*dir(kind), *getattr(kind, "__annotations__", ())) if not name.startswith("_")}


def modules_names(source: ast.Module, package: str) -> Iterator[str]:
    """The names of the package's public modules that a test uses, as `agentmem.sql.Base`."""
    imported: dict[str, str] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            imported |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            imported |= {each.name: each.name for each in node.names if each.name == package}
    for node in ast.walk(source):
        if isinstance(node, ast.Name) and node.id in imported:
            yield imported[node.id]
        elif isinstance(node, ast.Attribute) and (dotted := _dotted(node)) and dotted[0] in imported:
            yield ".".join([imported[dotted[0]], *dotted[1:]])


def _dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as its parts; nothing for what is more than names."""
    if isinstance(node, ast.Name):
        return [node.id]
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*before, node.attr] if isinstance(node, ast.Attribute) and before else []


class Uses(ast.NodeVisitor):
    """Collects `Kind.attribute` for expressions whose kind is known.

    Args:
        kinds: the classes, by name.

    Attributes:
        found: what was used.
        calls: the constant words that each call on a kind was given, such as `("Shell", ("db", "upgrade"))`, and those
            that follow `agentmem` in a list, which is a command line.
    """

    def __init__(self, kinds: Mapping[str, type]) -> None:
        self._kinds = kinds
        self._scopes: list[dict[str, str]] = [{}]
        self.found: set[str] = set()
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        known = {each.arg: self._named_in(ast.unparse(each.annotation)) for each in arguments if each.annotation}
        self._scopes.append({name: kind for name, kind in known.items() if kind})
        self.generic_visit(node)
        self._scopes.pop()

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                self._learn(item.optional_vars.id, item.context_expr)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._learn(target.id, node.value)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if kind := self._kind(node.value):
            self.found.add(f"{kind}.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        if kind := self._kind(receiver):
            words = (each.value for each in node.args if isinstance(each, ast.Constant))
            self.calls.append((kind, tuple(word for word in words if isinstance(word, str))))
        self.generic_visit(node)

    def visit_List(self, node: ast.List) -> None:
        words = [each.value if isinstance(each, ast.Constant) else None for each in node.elts]
        if "agentmem" in words:
            after = words[words.index("agentmem") + 1 :]
            self.calls.append(("agentmem", tuple(word for word in after if isinstance(word, str))))
        self.generic_visit(node)

    def _learn(self, name: str, value: ast.expr) -> None:
        self._scopes[-1][name] = self._kind(value) or ""

    def _kind(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), None) or None
        if not isinstance(node, ast.Call):
            return None
        if _dotted(node.func) in _MAKERS:
            return "Memory" if "Memory" in self._kinds else None
        if isinstance(node.func, ast.Name):
            return node.func.id if node.func.id in self._kinds else None
        if isinstance(node.func, ast.Attribute) and (kind := self._kind(node.func.value)):
            method = getattr(self._kinds[kind], node.func.attr, None)
            returned = str(getattr(method, "__annotations__", {}).get("return"))
            return kind if returned == "Self" else self._named_in(returned)
        return None

    def _named_in(self, annotation: str) -> str | None:
        return next((word for word in re.findall(r"\w+", annotation) if word in self._kinds), None)


def unexercised(kinds: Mapping[str, type], sources: Iterable[ast.Module]) -> list[str]:
    """The public attributes of the kinds that no source uses on one of that kind, as `Memory.put`."""
    uses = Uses(kinds)
    for source in sources:
        uses.visit(source)
    return sorted({f"{name}.{each}" for name, kind in kinds.items() for each in public(kind)} - uses.found)
