"""The workload that every contender runs: keys like `run/0003/000345`, values of about 270 bytes of JSON."""

from __future__ import annotations

import random
from typing import Any

BATCH = 1_000
PAGE = 50


def key(index: int) -> str:
    """A thousand keys share a prefix."""
    return f"run/{index // 1000:04d}/{index:06d}"


def value(index: int) -> dict[str, Any]:
    """What an agent writes down about a task."""
    chosen = random.Random(index)  # noqa: S311  # the same values for every contender
    return {
        "agent": f"analyst-{chosen.randrange(8)}",
        "task": key(index),
        "status": chosen.choice(["open", "running", "done", "failed"]),
        "score": round(chosen.random(), 6),
        "tags": ["quality", "python", f"batch-{chosen.randrange(100)}"],
        "result": {
            "steps": [[chosen.randrange(100), chosen.randrange(100)] for _ in range(3)],
            "message": "all checks of the file have passed, two remarks were written down",
            "ok": True,
        },
    }
