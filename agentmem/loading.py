"""Writing very many entries: in atomic pieces, in order, with no more than a piece in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from agentmem.commands import PutCommand
    from agentmem.gateway import Gateway

T = TypeVar("T")

PIECE_ENTRIES: Final = 1000
PIECE_CHARACTERS: Final = 1024 * 1024


def pieces(items: Iterable[T], most: int, size: Callable[[T], int] | None = None) -> Iterator[list[T]]:
    """Cut what is read lazily into lists of `most`.

    Args:
        items: any number of them.
        most: how long a list is; the last may be shorter.
        size: of an item in characters; a list then ends sooner where it amounts to PIECE_CHARACTERS.
    """
    piece: list[T] = []
    characters = 0
    for item in items:
        piece.append(item)
        if size is not None:
            characters += size(item)
        if len(piece) == most or characters >= PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def stored(gateway: Gateway, batches: Iterable[list[PutCommand]]) -> Iterator[int]:
    """Write one batch after the other, and yield how many puts each of them had.

    Raises:
        Exception: whatever making a batch or writing it raises, with a note of how many entries were stored before.
    """
    gateway.check_open()
    total = 0
    try:
        for batch in batches:
            gateway.apply(batch)
            total += len(batch)
            yield len(batch)
    except Exception as error:
        error.add_note(f"Entries stored before it: {total:,}.")
        raise
