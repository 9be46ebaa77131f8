"""The commands put together. The modules of commands import nothing heavy, so `agentmem --help` is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentmem.cli import database, doctor, entries, listing, store, transfers
from agentmem.cli.command import Application, Command, shared_options
from agentmem.cli.demo import demo

if TYPE_CHECKING:
    from collections.abc import Callable

_DESCRIPTION: Final = """The memory of agents in SQLite, PostgreSQL or Redis: keys, JSON values, versions and TTLs.

The options under "Store and output" stand before a command's name or after it.

Exit codes: 0 done; 1 no such entry; 2 refused arguments; 3 version conflict; 4 unavailable; 5 schema mismatch;
6 anything else.
"""

_COMMANDS: Final[dict[str, tuple[Callable[..., Any], ...]]] = {
    "Entries": (entries.put, entries.get, entries.entry, entries.delete, entries.increment, entries.touch),
    "Listings": (listing.search, listing.keys, listing.tree, listing.count),
    "Store": (store.stats, store.partitions, store.clear, store.purge),
    "Transfers": (transfers.export, transfers.import_, transfers.copy),
    "Care": (doctor.doctor, demo),
}


def _show_version(wanted: bool) -> None:
    if wanted:
        from agentmem.cli.versions import own_version

        typer.echo(f"agentmem {own_version()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command's name."""


def _build() -> typer.Typer:
    application = typer.Typer(
        name="agentmem", cls=Application, help=_DESCRIPTION, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    application.callback()(shared_options(_root))
    for panel, functions in _COMMANDS.items():
        for function in functions:
            name = function.__name__.removesuffix("_")  # `import` is a word of Python's
            application.command(name, cls=Command, rich_help_panel=panel)(shared_options(function))
    application.add_typer(database.app, name="db", rich_help_panel="Care")
    return application


app: Final = _build()
