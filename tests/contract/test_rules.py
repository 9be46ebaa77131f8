"""docs/contract.md names the tests of every rule, and there are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentmem.testing import rules
from agentmem.testing.contract import PARTS, ContractSuite

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found() -> rules.Found:
    return rules.find(ROOT)


def test_every_rule_has_a_test_and_a_section(found: rules.Found) -> None:
    text = (ROOT / rules.DOCUMENT).read_text(encoding="utf-8")
    assert rules.missing(text, found) == []


def test_the_document_is_up_to_date(found: rules.Found) -> None:
    text = (ROOT / rules.DOCUMENT).read_text(encoding="utf-8")
    assert rules.refreshed(text, found) == text, "run: python -m agentmem.testing.rules"


def test_the_suite_alone_shows_every_rule() -> None:
    assert sorted(rules.find(ROOT, [rules.SUITE])) == list(rules.RULES)


def test_the_suite_inherits_every_part() -> None:
    folder = ROOT / "agentmem" / "testing" / "contract"
    with_tests = {path.stem for path in folder.glob("*.py") if "    def test_" in path.read_text(encoding="utf-8")}
    assert {part.__module__.rpartition(".")[2] for part in PARTS} == with_tests
    parts = [part for part in ContractSuite.__mro__ if part.__module__.startswith("agentmem.testing.contract.")]
    names = [name for part in parts for name in vars(part) if name.islower() and not name.startswith("_")]
    names = [name for name in names if name != "pytestmark"]
    assert "memory" in names, "fixtures are among them"
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, "two parts have a test or a fixture of the same name: one would take the other's place in both"


def test_a_rule_is_found_by_name_and_by_marker(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.rule('R7')\n"
        "class TestX:\n"
        "    def test_r03_a(self): ...\n"
        "    @pytest.mark.rule('R12')\n"
        "    def test_b(self): ...\n"
        "def test_c(): ...\n"
    )
    found = rules.find(tmp_path, ["."])
    assert {rule: files["test_x.py"] for rule, files in found.items()} == {
        3: ["test_r03_a"],
        7: ["test_r03_a", "test_b"],
        12: ["test_b"],
    }


def test_lines_are_written_once_at_the_end_of_a_section() -> None:
    text = "# T\n\n### R7. Values\nOne.\n\nShown by old.\n\nTwo.\n## Next\n### R8\n"
    once = rules.refreshed(text, {7: {"tests/test_x.py": ["test_a"]}})
    assert once == rules.refreshed(once, {7: {"tests/test_x.py": ["test_a"]}})
    assert once.count("Shown by `tests/test_x.py`: `test_a`.") == 1
    assert "Shown by **no test**." in once
    assert once.index("Two.") < once.index("Shown by `tests") < once.index("## Next")
