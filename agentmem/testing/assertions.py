"""Imported before the parts of the contract suite, so that their assertions explain themselves without a plugin."""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path

import pytest

_PARTS = "agentmem.testing.contract"
_names = [f"{_PARTS}.{part.name}" for part in pkgutil.iter_modules([str(Path(__file__).parent / "contract")])]
pytest.register_assert_rewrite(*(name for name in _names if name not in sys.modules))
