"""What a user installs: a wheel built from the sdist, in an environment of its own, away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = "agentmem/sql/alembic_scripts/"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it, not from the checkout."""
    target = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, ROOT, cwd=target)
    return target


class Installation:
    """A new environment with the wheel and what it declares, and nothing else."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder / "environment"
        venv.create(self.prefix, with_pip=False)
        run(sys.executable, "-m", "pip", "--python", self.prefix, "install", "--quiet", wheel, cwd=folder)

    def __call__(self, program: str, *arguments: str) -> str:
        # Nothing of the checkout or of this test run leaks in, no PYTHONPATH above all.
        environment = {"HOME": str(self.folder), "PATH": os.defpath, "AGENTMEM_URL": f"sqlite:///{self.folder}/m.db"}
        return run(self.prefix / "bin" / program, *arguments, cwd=self.folder, env=environment)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    (wheel,) = built.glob("*.whl")
    return Installation(wheel, tmp_path_factory.mktemp("installed"))


def test_wheel_holds_the_package_and_the_migrations(built: Path):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    revisions = {SCRIPTS + f"versions/{path.name}" for path in (ROOT / "alembic" / "versions").glob("*.py")}
    assert revisions
    assert {"agentmem/py.typed", SCRIPTS + "env.py", SCRIPTS + "script.py.mako"} | revisions <= names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "agentmem").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources | revisions | {SCRIPTS + "env.py"}


def test_sdist_holds_what_a_developer_needs(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "alembic.ini", "alembic/env.py"}
    assert needed | {"tests/conftest.py", "tests/packaging/test_wheel.py"} <= names
    assert not {name for name in names if name.startswith(".venv") or name.endswith((".pyc", ".db"))}


IMPORT_EVERYTHING = """
import agentmem, importlib, json, pkgutil, sys
left_out = ("agentmem.testing", "agentmem.cli.__main__", "agentmem.sql.alembic_scripts")
missing = {}
for module in pkgutil.walk_packages(agentmem.__path__, "agentmem."):
    try:
        module.name.startswith(left_out) or importlib.import_module(module.name)
    except ImportError as error:
        missing[module.name] = error.name
files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
print(json.dumps([files, missing]))
"""


def test_every_module_but_those_of_a_driver_imports_with_the_core_dependencies(installed: Installation):
    files, missing = json.loads(installed("python", "-c", IMPORT_EVERYTHING))
    assert {"agentmem.memory", "agentmem.sql.models", "agentmem.cli.app"} <= set(files)
    assert set(missing.values()) <= {"psycopg", "redis"}
    sql = ("agentmem.sql.postgres", "agentmem.sql.qtable_postgres", "agentmem.sql.queue_postgres")
    assert not [name for name in missing if not name.startswith((*sql, "agentmem.redis."))]
    assert not {name: path for name, path in files.items() if path and Path(path).is_relative_to(ROOT)}
    assert Path(files["agentmem"]).is_relative_to(installed.prefix)


def test_command_sets_up_a_database_and_works_on_it(installed: Installation):
    installed("agentmem", "db", "upgrade")
    installed("agentmem", "db", "check")
    installed("agentmem", "put", "plan/42", '{"goal": "ship"}')
    assert json.loads(installed("agentmem", "get", "plan/42")) == {"goal": "ship"}
    assert installed("agentmem", "keys").split() == ["plan/42"]


def test_version_is_the_one_of_the_project(installed: Installation):
    assert installed("python", "-c", "import agentmem; print(agentmem.__version__)").strip() == "0.1.0"
