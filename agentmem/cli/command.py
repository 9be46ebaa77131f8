"""What all commands share: the options on every command, the handle, and one place where failures end.

A command is a function whose parameters are typer's, and which may also name `run` (a `Run`), `url`, `partition` or
`as_json`: those come from the shared options, which `shared_options` adds to it. They are accepted before and after
the command's name; what stands after it wins.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from agentmem.cli.exits import ExitCode, Refused, UsageError, report
from agentmem.cli.output import Output
from agentmem.errors import ConfigurationError

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.settings import Settings

_PANEL: Final = "Store and output"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where the store is. Else $AGENTMEM_URL, else a SQLite file in your data folder.",
        rich_help_panel=_PANEL,
    ),
]
PartitionName = Annotated[
    str | None,
    typer.Option(
        "--partition",
        "-p",
        metavar="NAME",
        help="Which partition. Else $AGENTMEM_PARTITION, else `default`.",
        rich_help_panel=_PANEL,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="An option of the store's backend, such as `schema=agents`; once for each.",
        rich_help_panel=_PANEL,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON document, for machines.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: which store, which partition, which output.

    Attributes:
        url: as given; None leaves it to `agentmem.connect`.
        partition: as given; None is the default one.
        as_json: write one JSON document.
        options: of the backend, as `agentmem.connect` takes them.
    """

    url: str | None = None
    partition: str | None = None
    as_json: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def overlaid(self, url: str | None, partition: str | None, option: list[str] | None, *, as_json: bool) -> Run:
        """These options, with what was given further right on the command line in their place."""
        return Run(
            self.url if url is None else url,
            self.partition if partition is None else partition,
            self.as_json or as_json,
            {**self.options, **dict(map(_name_and_value, option or ()))},
        )

    @property
    def naming(self) -> dict[str, Any]:
        """Those of the options that say how the tables are called: what agentmem.migrations takes."""
        return {name: self.options[name] for name in ("schema", "table_prefix") if name in self.options}

    @property
    def output(self) -> Output:
        """Where to write."""
        return Output(as_json=self.as_json)

    def memory(self, **options: Any) -> Memory:
        """Connect; the caller closes the handle."""
        import agentmem

        if self.partition is not None:
            options["partition"] = self.partition
        return agentmem.connect(self.url, **{**self.options, **options})

    def settings(self) -> Settings:
        """What the environment says."""
        from agentmem import settings

        return settings.load()

    def partition_name(self) -> str:
        """The partition that `memory` is bound to."""
        return (self.settings().partition or "default") if self.partition is None else self.partition

    def place(self) -> str:
        """The URL that `memory` connects to."""
        from agentmem.connect import default_url

        return (self.settings().url or default_url()) if self.url is None else self.url

    @property
    def is_redis(self) -> bool:
        """Whether `place` is a Redis."""
        from agentmem.connect import SCHEMES
        from agentmem.urls import scheme_of

        return SCHEMES.get(scheme_of(self.place())) == SCHEMES["redis"]

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask on stderr, so that stdout stays a document, and read the answer from stdin.

        Raises:
            Refused: the answer is anything but y or yes.
        """
        if yes:
            return
        print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline() if sys.stdin else ""
        if not answer.endswith("\n"):
            print(file=sys.stderr)
        if answer.strip().lower() not in ("y", "yes"):
            raise Refused("not confirmed, nothing was changed (--yes answers beforehand)")


def _name_and_value(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ConfigurationError(f"-o takes NAME=VALUE, not {text!r}")
    if name in ("partition", "namespace", "codec", "sweep_every", "url"):
        raise ConfigurationError(f"-o is for the options of a backend, {name!r} is none")
    return name, value


def _shared(url: Url = None, partition: PartitionName = None, option: Options = None, as_json: AsJson = False) -> None:
    """Hold the shared options' declarations."""


_SHARED: Final = inspect.signature(_shared, eval_str=True).parameters


def shared_options(function: Callable[..., Any]) -> Callable[..., None]:
    """Add the shared options to a command, and give it those that its parameters name."""
    named = inspect.signature(function, eval_str=True).parameters
    own = {name: parameter for name, parameter in named.items() if name != "run" and name not in _SHARED}

    @functools.wraps(function)
    def command(context: typer.Context, **given: Any) -> None:
        shared = {name: given.pop(name) for name in _SHARED}
        run = (context.obj or Run()).overlaid(**shared)
        # Subcommands inherit the object of the group before them.
        context.obj = run
        offered = {"run": run, "url": run.url, "partition": run.partition, "as_json": run.as_json}
        function(**given, **{name: offered[name] for name in named if name in offered})

    _declare(command, {"context": _CONTEXT, **own, **_SHARED})
    return command


_CONTEXT: Final = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _declare(function: Any, parameters: dict[str, inspect.Parameter]) -> None:
    # Typer reads the signature and the annotations; keyword-only parameters may stand in any order of defaults.
    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters.values()]
    function.__signature__ = inspect.Signature(keyword_only)
    function.__annotations__ = {each.name: each.annotation for each in keyword_only}


_NEGATIVE: Final = re.compile(r"-\d+(\.\d+)?([eE][+-]?\d+)?")
# No argument of a process can hold NUL, so the mark cannot be mistaken for something that was typed.
_MARK: Final = "\0"
# As typer's own messages escape it.
_SHOWN_MARK: Final = "\\x00"


class Command(TyperCommand):
    """A command that takes `-5` as an argument; any other word that begins with a dash is an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hide negative numbers from the parser of options, and bring them back afterwards."""
        # One that follows an option of a value is taken for that, whatever it begins with.
        takers = {name for each in self.params if not getattr(each, "is_flag", False) for name in each.opts}
        words = [
            _MARK + word if _NEGATIVE.fullmatch(word) and before not in takers else word
            for before, word in zip(["", *args], args, strict=False)
        ]
        try:
            rest = super().parse_args(ctx, words)
        except UsageError as error:
            error.message = error.message.replace(_MARK, "").replace(_SHOWN_MARK, "")
            raise
        for name, value in ctx.params.items():
            if type(value) is str:  # not an enumeration's member, which is a str as well
                ctx.params[name] = value.removeprefix(_MARK)
        return rest


class Application(TyperGroup):
    """The whole command: the one place where exceptions become a line on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - of the method's signature; there is one mode here
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse and run; always ends in SystemExit with an `ExitCode`, whatever `standalone_mode` says."""
        words = list(sys.argv[1:] if args is None else args)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What an odd locale's encoding lacks is shown somehow, rather than not at all.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            # Outside of its standalone mode typer returns the code of an Exit, or what the command returned.
            code = super().main(words or ["--help"], prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            code = ExitCode.INTERRUPTED
        except Exception as error:  # noqa: BLE001 - a command ends in a message, never in a traceback
            code = report(error, as_json=_asks_for_json(words))
        sys.exit(int(code) if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and flush, so that a reader who went away shows here."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_stdout()
            raise typer.Exit(ExitCode.BROKEN_PIPE) from None


def _asks_for_json(words: list[str]) -> bool:
    # The parser may have failed before it came to the option, so it cannot be asked.
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _silence_stdout() -> None:
    """Point stdout at nothing: Python flushes it once more at exit, and would complain on stderr."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
