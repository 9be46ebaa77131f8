"""Processes by their ids."""

from __future__ import annotations

import psutil


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has, though nobody has asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
