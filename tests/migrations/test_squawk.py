"""The SQL of the migrations, read by Squawk: no lock that lasts on a table that is in use. See .squawk.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentmem import migrations
from agentmem.sql import schema

ROOT = Path(__file__).resolve().parents[2]
SQUAWK = shutil.which("squawk", path=f"{Path(sys.executable).parent}") or shutil.which("squawk")


def squawk(script: str) -> tuple[int, str]:
    assert SQUAWK, "squawk is not installed: it is in the extra [dev]"
    command = [SQUAWK, "--config", str(ROOT / ".squawk.toml"), "--stdin-filepath", "script.sql", "--reporter", "gcc"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("step", migrations.history(), ids=lambda step: step.revision)
@pytest.mark.parametrize("names", [{}, {"schema": "agents", "table_prefix": "am_"}], ids=["plain", "named"])
def test_each_revision_by_itself(step: migrations.Revision, names: dict[str, str]) -> None:
    """By itself: in one script with the revision that made a table, whatever is done to it looks harmless."""
    script = migrations.sql("postgresql", f"{step.down_revision or 'base'}:{step.revision}", **names)
    assert squawk(script)[0] == 0, squawk(script)[1]


def test_all_of_them_at_once() -> None:
    assert squawk(migrations.sql("postgresql"))[0] == 0


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX ix ON memory_entries (version)", "require-concurrent-index-creation"),
        ("ALTER TABLE memory_entries ALTER COLUMN version TYPE numeric", "changing-column-type"),
        ("ALTER TABLE memory_entries ADD COLUMN a int NOT NULL", "adding-required-field"),
        ("ALTER TABLE memory_entries ADD CONSTRAINT c CHECK (version > 0)", "constraint-missing-not-valid"),
        ("ALTER TABLE memory_entries DROP COLUMN version", "ban-drop-column"),
    ],
)
def test_what_a_later_revision_must_not_do_is_found(statement: str, rule: str) -> None:
    script = migrations.sql("postgresql", f"{schema.HEAD}:{schema.HEAD}").replace("COMMIT;", f"{statement};\nCOMMIT;")
    status, output = squawk(script)
    assert status != 0
    assert rule in output
