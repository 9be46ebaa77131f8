"""The checks of the workshop check something: each of these fails when one of them is switched off."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOLS = PROJECT["tool"]
LAYERS, DRIVERS = TOOLS["importlinter"]["contracts"]
RELAXING = {"ignore_errors", "disable_error_code", "follow_imports", "check_untyped_defs", "strict", "strict_optional"}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False)


CARELESS = {
    "no-untyped-def": "def double(number): return number",
    "type-arg": "def first(items: list) -> None: ...",
    "assignment": "def show(text: str = None) -> None: ...",
    "ignore-without-code": "number: int = 'x'  # type: ignore",
    "unused-ignore": "number: int = 1  # type: ignore[assignment]",
    "no-any-return": "import json\ndef load() -> int: return json.loads('1')",
    "redundant-expr": "def pick(text: str) -> bool: return isinstance(text, str) and True",
}


@pytest.mark.slow
def test_mypy_is_strict_with_the_package(tmp_path: Path):
    (tmp_path / "agentmem").mkdir()
    for number, line in enumerate(CARELESS.values()):
        (tmp_path / "agentmem" / f"careless_{number}.py").write_text(line + "\n")
    done = run("mypy", f"--config-file={ROOT / 'pyproject.toml'}", "agentmem", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for number, code in enumerate(CARELESS):
        assert re.search(rf"careless_{number}\.py.*\[{code}\]", done.stdout), code


def test_no_override_relaxes_mypy_for_the_package():
    assert TOOLS["mypy"]["strict"] is True
    assert "agentmem" in TOOLS["mypy"]["files"]
    assert not RELAXING & {name for name in TOOLS["mypy"] if name != "strict"}
    for override in TOOLS["mypy"]["overrides"]:
        modules = override["module"]
        ours = [name for name in modules if name in {"*", "agentmem", "agentmem.*"} or name.startswith("agentmem.")]
        assert not ours, f"{ours} would be checked less strictly"


def test_package_says_that_it_is_typed():
    assert (ROOT / "agentmem" / "py.typed").exists()


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import os, sys", "E401"),
        ("def public() -> None:\n    pass", "D103"),
        ("assert True", "S101"),
        ("import pickle\npickle.loads(b'')", "S301"),
        ("try:\n    print()\nexcept Exception:\n    pass", "BLE001"),
        ("from . import errors", "TID252"),
        ("import datetime\ndatetime.datetime.now()", "DTZ005"),
    ],
)
def test_ruff_minds_the_package(line: str, rule: str):
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format=concise",
        "--stdin-filename=agentmem/new.py",
        "-",
    ]
    done = subprocess.run(command, cwd=ROOT, input=line + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert rule in done.stdout


def test_every_exception_of_ruff_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2].partition("[tool.ruff.lint.flake8")[0]
    exceptions = [line.strip() for line in text.partition("ignore = [")[2].splitlines() if line.strip().startswith('"')]
    codes = [line for line in exceptions if not line.endswith("= [")]
    assert len(codes) > 20
    # A rule without one shares that of the rule above it.
    bare = [line for line in codes if "#" not in line]
    assert bare == ['"TC002",', '"TC003",']


def layer(text: str) -> list[str]:
    return [name.strip() for name in text.split(":")]


def test_everything_below_the_backends_is_kept_from_the_drivers():
    assert LAYERS["exhaustive"] is True
    layers = [layer(text) for text in LAYERS["layers"]]
    below = [name for names in layers[layers.index(["redis", "sql"]) + 1 :] for name in names]
    assert sorted(DRIVERS["source_modules"]) == sorted(f"agentmem.{name}" for name in below)
    assert {"sqlalchemy", "alembic", "psycopg", "redis", "typer", "rich"} <= set(DRIVERS["forbidden_modules"])


def test_pytest_fails_on_warnings_unknown_markers_and_stuck_tests():
    options = TOOLS["pytest"]
    assert options["filterwarnings"][0] == "error"
    assert options["strict_markers"] is options["strict_config"] is options["strict_xfail"] is True
    assert float(options["timeout"]) == 120


def test_installing_the_package_changes_nobody_elses_pytest():
    assert "entry-points" not in PROJECT["project"]
    assert not [point for point in entry_points(group="pytest11") if point.value.startswith("agentmem")]


def test_help_lists_every_target_of_the_makefile():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    text = (ROOT / "Makefile").read_text().replace("\\\n", "")
    (phony,) = [line for line in text.splitlines() if line.startswith(".PHONY:")]
    assert listed == set(phony.split()[1:])
    assert {"help", "demo", "test", "lint", "types", "check", "clean"} <= listed


def test_continuous_integration_runs_the_commands_that_people_run():
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nmake check" in script
    assert "\nmake demo" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_no_module_is_so_long_that_it_should_be_split():
    lengths = {path.name: path.read_text().count("\n") for path in (ROOT / "agentmem").rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 500} == {}
