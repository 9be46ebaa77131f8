"""What README.md and the guides show is run as it stands there: Python as one script a page, sessions by a shell.

A block that begins with `# <name>.py` is a file of that name. It is written beside the script, which may import it;
one that is named test_… is given to pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "backends").glob("*.md"))]
PAGES = [ROOT / "README.md", *GUIDES]
PYTHON_PAGES = [page for page in PAGES if "```python" in page.read_text()]
# The manual of the command has a test of its own, in tests/cli.
SESSION_PAGES = [page for page in PAGES if page.name != "cli.md" and "```console" in page.read_text()]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")


def script_of(page: str) -> str:
    """The page's Python with every other line blank, so that a traceback names the page's own lines."""
    script, end = "", 0
    for block in PYTHON.finditer(page):
        if FILE.match(block[1]) is None:
            script += "\n" * page.count("\n", end, block.start(1)) + block[1]
            end = block.end(1)
    return script


def files_of(page: str) -> dict[str, str]:
    return {named[1]: block for block in PYTHON.findall(page) if (named := FILE.match(block))}


def environment(folder: Path) -> dict[str, str]:
    """A shell's, in which `agentmem` is the one of this checkout and nothing points to a store of the user's."""
    executable = folder / "bin" / "agentmem"
    executable.parent.mkdir()
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agentmem "$@"\n')
    executable.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTMEM_")}
    path = f"{executable.parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=110,
    )
    return done.stdout + (f"[exit code {done.returncode}]\n" if done.returncode else "")


@pytest.mark.parametrize("page", [page for page in PAGES if PYTHON.search(page.read_text())], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = page.read_text()
    env = environment(tmp_path)
    if "DATABASE_URL" in text:
        env["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    if "REDIS_URL" in text:
        env["REDIS_URL"] = request.getfixturevalue("redis_client_url")
    for name, content in files_of(text).items():
        (tmp_path / name).write_text(content)
    (tmp_path / page.name).write_text(script_of(text))
    assert run([sys.executable, "-W", "error", page.name], tmp_path, env) == ""


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PYTHON_PAGES if "# test_" in page.read_text()], ids=name_of)
def test_the_test_files_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    files = files_of(page.read_text())
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    tests = [name for name in files if name.startswith("test_")]
    assert tests
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", str(tmp_path)]
    options += ["--strict-markers", "-W", "error"]
    output = run([sys.executable, "-m", "pytest", *options, *tests], tmp_path, environment(tmp_path))
    passed, skipped = (re.search(rf"(\d+) {word}", output) for word in ("passed", "skipped"))
    assert passed, output
    # What a harness says it has not must not take the rest along.
    assert int(passed[1]) > 2 * int(skipped[1] if skipped else 0), output
    assert "[exit code" not in output, output


@pytest.mark.parametrize("page", SESSION_PAGES, ids=name_of)
def test_the_sessions_of_a_page_run(page: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    for session in CONSOLE.findall(page.read_text()):
        _, *parts = re.split(r"^\$ (.*)\n", session, flags=re.MULTILINE)
        for command, expected in zip(parts[0::2], parts[1::2], strict=True):
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                env[name] = value
                continue
            output = run(["sh", "-c", command], tmp_path, env)
            # `…` stands for anything on its line.
            pattern = "[^\n]*".join(re.escape(part) for part in expected.split("…"))
            assert re.fullmatch(pattern, output), f"$ {command}\n{output}instead of\n{expected}"


def test_every_link_inside_of_the_project_leads_somewhere() -> None:
    pages = [*PAGES, *(ROOT / "docs" / "adr").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_every_link_to_a_heading_finds_it() -> None:
    links = [
        (page, file, anchor)
        for page in PAGES
        for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    ]
    assert links
    targets = [(page.name, file, anchor, page.parent / file if file else page) for page, file, anchor in links]
    assert [link for *link, target in targets if link[-1] not in anchors_of(target.read_text())] == []


def anchors_of(page: str) -> set[str]:
    """The headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_commands_for_make_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
