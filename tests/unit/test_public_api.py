"""The package's face: its names, its weight at import, its version."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import agentmem
from agentmem import Memory, Transaction, TypedMemory, errors


def test_all_is_sorted_complete_and_importable() -> None:
    def order(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert agentmem.__all__ == sorted(agentmem.__all__, key=order)
    assert len(set(agentmem.__all__)) == len(agentmem.__all__)
    for name in agentmem.__all__:
        if name != "__version__":
            assert getattr(agentmem, name) is not None


def test_every_error_is_exported() -> None:
    kinds = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert kinds <= set(agentmem.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = agentmem.nonsense


def test_the_version_is_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"agentmem-store": "1.2.3"}.__getitem__)
    assert agentmem.__version__ == "1.2.3"


HEAVY = ("sqlalchemy", "psycopg", "redis", "rich", "typer", "pydantic", "pydantic_settings", "alembic", "platformdirs")


def test_importing_loads_no_driver_and_nothing_heavy() -> None:
    code = "import json, sys, threading, agentmem; print(json.dumps([*sys.modules, threading.active_count()]))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *modules, threads = json.loads(output)
    assert "agentmem" in modules
    assert not {module.partition(".")[0] for module in modules} & set(HEAVY)
    folders = tuple(f"agentmem.{name}" for name in ("sql", "redis", "cli", "demo", "testing"))
    assert not [module for module in modules if module.startswith(folders)]
    assert threads == 1


SURFACE = {
    "put": "key, value, *, ttl, metadata, if_version, if_absent, fence",
    "get": "key, default",
    "entry": "key",
    "exists": "key",
    "delete": "key, *, if_version",
    "get_many": "keys",
    "put_many": "mapping, *, ttl, chunk",
    "load": "pairs, *, ttl, chunk",
    "delete_many": "keys",
    "pop": "key, default",
    "increment": "key, by, *, initial, ttl",
    "append": "key, *items, limit",
    "merge": "key, mapping",
    "update": "key, function, *, default, attempts",
    "touch": "key, ttl",
    "apply": "operations",
    "transaction": "",
    "search": "pattern, *, where, order, descending, limit, cursor",
    "keys": "prefix, *, limit",
    "items": "prefix",
    "children": "prefix, *, depth",
    "count": "pattern, *, where",
    "delete_matching": "pattern, *, where",
    "stats": "",
    "clear": "",
    "purge_expired": "*, batch, max_seconds",
    "partition": "name, *, default_ttl, namespace, description, index_values, **unknown",
    "partitions": "",
    "drop_partition": "name",
    "scoped": "prefix",
    "typed": "model",
    "run": "function, *, attempts",
    "queue": "name, *, lease, max_attempts",
    "queues": "prefix",
    "fleet": "name",
    "watch": "prefix, *, position, poll, timeout, heartbeat, stop",
    "qtable": "name, *, alpha, gamma, initial",
    "qtables": "prefix",
    "lease": "name, ttl, *, owner, wait, renew, metadata",
    "fenced": "fence",
    "session": "session_id, *, ttl, keep, max_bytes",
    "sessions": "prefix",
    "using": "transaction",
    "check": "",
    "ping": "",
    "close": "",
}


def shape(function: Any) -> str:
    parts: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        stars = 1 if parameter.kind is parameter.VAR_POSITIONAL else 2 if parameter.kind is parameter.VAR_KEYWORD else 0
        parts.append("*" * stars + parameter.name)
    return ", ".join(parts)


def test_the_surface_is_the_contracts() -> None:
    assert {name: shape(getattr(Memory, name)) for name in SURFACE} == SURFACE
    assert {name for name in dir(Memory) if not name.startswith("_")} == set(SURFACE)


@pytest.mark.parametrize("name", sorted(name for name in dir(TypedMemory) if not name.startswith("_")))
def test_typed_methods_take_what_the_memorys_take(name: str) -> None:
    assert shape(getattr(TypedMemory, name)) == SURFACE[name]


@pytest.mark.parametrize("name", sorted(set(dir(Transaction)) & set(SURFACE) - {"check"}))
def test_a_transactions_methods_take_what_the_memorys_take(name: str) -> None:
    # A transaction is fenced as a whole: memory.fenced(lease).transaction().
    assert shape(getattr(Transaction, name)) == SURFACE[name].removesuffix(", fence")


@pytest.mark.parametrize("kind", [Memory, Transaction, TypedMemory, agentmem.connect])
def test_everything_public_says_what_it_promises(kind: Any) -> None:
    members = [kind, *(getattr(kind, name) for name in dir(kind) if not name.startswith("_"))]
    for member in members:
        assert inspect.getdoc(member), member


def test_no_class_of_the_handle_exceeds_300_lines() -> None:
    for kind in (*Memory.__mro__[:-1], Transaction, TypedMemory):
        assert len(inspect.getsourcelines(kind)[0]) <= 300, kind
