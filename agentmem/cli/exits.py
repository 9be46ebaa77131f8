"""How the command ends: exit codes, and the one line on stderr that goes with a failure."""

from __future__ import annotations

import enum
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import typer

from agentmem.errors import AgentMemError, InvalidArgument, SchemaMismatch, Unavailable, VersionConflict
from agentmem.urls import redact

#: What typer raises for a bad command line; where its own name for it is imported from differs between its versions.
UsageError: Final[Any] = typer.BadParameter.__base__


class ExitCode(enum.IntEnum):
    """What a shell sees in `$?`. The numbers are stable."""

    OK = 0
    #: No living entry under that key; also: `doctor` found something wrong.
    NOT_FOUND = 1
    #: The command line, a key, a value, a TTL, a filter, a URL or a setting was refused; nothing was changed, except by
    #: `import` and `copy`, whose message says how far they came.
    USAGE = 2
    #: `--if-version` or `--if-absent` did not hold; nothing was changed.
    CONFLICT = 3
    #: The backend could not be reached or was busy too long; nothing was changed, with the same exception, and another
    #: try may succeed.
    UNAVAILABLE = 4
    #: The database's schema is not the one that this version of agentmem works with.
    SCHEMA = 5
    #: Anything else: a corrupt entry, a permission, an unknown outcome, a file, a question answered with no.
    FAILED = 6
    #: Ctrl-C: 128 and the number of SIGINT, as shells have it.
    INTERRUPTED = 130
    #: Whoever read stdout went away: 128 and the number of SIGPIPE.
    BROKEN_PIPE = 141


class NotFound(Exception):
    """There is no living entry under the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no entry at {key!r}")


class Refused(Exception):
    """A question was answered with no, or could not be asked; nothing was changed."""


class FileFailed(Exception):
    """A file that was named could not be read or written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{str(path)!r}: {error.strerror or error}")


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (NotFound, ExitCode.NOT_FOUND),
    (InvalidArgument, ExitCode.USAGE),
    (UsageError, ExitCode.USAGE),
    (VersionConflict, ExitCode.CONFLICT),
    (Unavailable, ExitCode.UNAVAILABLE),
    (SchemaMismatch, ExitCode.SCHEMA),
)


def code_of(error: BaseException) -> ExitCode:
    """The exit code that an exception stands for."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def report(error: Exception, *, as_json: bool) -> ExitCode:
    """Write the error as one line to stderr, without any password, and return the exit code.

    An exception that is none of agentmem's is a defect of this program: `$AGENTMEM_DEBUG` shows where it came from.
    """
    if os.environ.get("AGENTMEM_DEBUG"):
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(redact(line), file=sys.stderr)
    kind = type(error).__name__
    message = " ".join(redact(_message(error)).split())
    line = json.dumps({"error": {"type": kind, "message": message}}) if as_json else f"error: {message}"
    print(line, file=sys.stderr)
    return code_of(error)


def _message(error: Exception) -> str:
    if isinstance(error, UsageError):
        return f"{error.format_message()} {_hint(error)}"
    if isinstance(error, AgentMemError | NotFound | Refused | FileFailed):
        notes = " ".join(getattr(error, "__notes__", ()))
        return f"{error}. {notes}" if notes else str(error)
    return f"unexpected {type(error).__name__}: {error} (AGENTMEM_DEBUG=1 shows where)"


def _hint(error: Exception) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    return f"(see {path} --help)" if path else ""
