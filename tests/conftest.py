"""What all tests share: the fixtures for real stores, where they lie, and how Hypothesis behaves here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import agentmem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory

pytest_plugins = ["agentmem.testing.plugin"]

# Examples reach databases, whose speed is not what is tested; `-p no:randomly` with the printed blob repeats a failure.
hypothesis.settings.register_profile("agentmem", deadline=None, print_blob=True)
hypothesis.settings.load_profile("agentmem")

# Hundreds of databases are made and synced: on a disk that takes milliseconds for that, it is most of the run. Servers
# keep fsync on; what a test shows about processes that die holds on any file system. TMPDIR overrides it. A container
# may have 64 MB there, which is not enough.
_MEMORY_BACKED = Path("/dev/shm")
_ROOM_BYTES = 3 * 1024**3
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY_BACKED, os.W_OK | os.X_OK)
    and shutil.disk_usage(_MEMORY_BACKED).free >= _ROOM_BYTES
):
    os.environ["TMPDIR"] = str(_MEMORY_BACKED)
    tempfile.tempdir = None


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the memory of whoever runs them."""
    monkeypatch.delenv("AGENTMEM_URL", raising=False)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store, on each of the two databases: for tests that look behind the handle."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_schema_url")


@pytest.fixture
def memory(url: str) -> Iterator[Memory]:
    """A handle on such a store."""
    with agentmem.connect(url) as memory:
        yield memory
