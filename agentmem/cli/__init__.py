"""The `agentmem` command: look at a memory, change it and keep its database in order, from a shell.

docs/cli.md is its manual. Every command goes through the same handle as a program would (agentmem.connect).
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line in `sys.argv`; always ends in SystemExit, with a code of `agentmem.cli.exits.ExitCode`."""
    try:
        from agentmem.cli.app import app

        app(prog_name="agentmem")
    except KeyboardInterrupt:
        # Ctrl-C while modules are still being imported, before the application can answer for it.
        sys.exit(130)
