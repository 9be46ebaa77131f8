"""`memory.check()` for the queues of a partition: every item is in one place, and every index leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from agentmem import values
from agentmem.entries import Problem
from agentmem.errors import CorruptEntry
from agentmem.moments import microseconds
from agentmem.queue_port import Item, State
from agentmem.redis import scripts
from agentmem.redis.queue_layout import item

if TYPE_CHECKING:
    from agentmem.redis.layout import Place
    from agentmem.redis.servers import Servers

PIECE: Final = 500
_ATTEMPTS: Final = 3
_STATES: Final[dict[str, State]] = {"r": "ready", "d": "delayed", "l": "leased", "b": "blocked", "x": "dead"}
_CLAIMED: Final = "c"


def problems(servers: Servers, place: Place, partition: str, queue: str) -> list[Problem]:
    """Look at every item of a queue, in pieces, while others may work.

    What is wrong with an item is seen in one step. Sums take several: they are reckoned again when they do not tally
    while something moves.
    """
    details: list[str] = []
    for _ in range(_ATTEMPTS):
        rows, sizes = _rows(servers, place, queue)
        details = [detail for letter, row in rows for detail in _row(letter, row)]
        if len(sizes) > 1:
            continue
        return [_problem(partition, queue, detail) for detail in [*details, *_sums(rows, next(iter(sizes)))]]
    return [_problem(partition, queue, detail) for detail in details]


def _problem(partition: str, queue: str, detail: str) -> Problem:
    kind = "corrupt_value" if detail.startswith("the body") else "index"
    return Problem(kind, partition, queue, f"the queue {queue!r}: {detail}")


def _rows(servers: Servers, place: Place, queue: str) -> tuple[list[tuple[str, list[Any]]], set[tuple[int, ...]]]:
    rows: list[tuple[str, list[Any]]] = []
    sizes: set[tuple[int, ...]] = set()
    for letter in _STATES:
        rank = 0
        while rank >= 0:
            arguments = (queue.encode(), letter, rank, PIECE)
            found, rank, *piece = servers.run(place, scripts.QUEUE_AUDIT, *arguments)
            sizes.add(tuple(found))
            rows += ((letter, row) for row in piece)
    return rows, sizes


def _row(letter: str, row: list[Any]) -> Iterator[str]:
    member, score, header, body, others, holder, head = row
    number = member[-16:].decode("utf-8", "replace")
    if not header:
        yield f"{number} is {_STATES[letter]}, and there is no such item"
        return
    found = item(int(number), header, body, _STATES[letter])
    for other in others.decode().replace(_CLAIMED, ""):
        yield f"{number} is {found.state}, and {_STATES[other]} as well"
    if float(score) != _score(found):
        yield f"{number} is {found.state} at {float(score):.0f}, its header says {_score(found)}"
    if (found.state == "leased") != (_CLAIMED in others.decode()):
        yield f"{number} is {found.state}, the list of claims says otherwise"
    if found.dedup_key is not None and found.state != "dead" and holder != member[-16:]:
        yield f"{number} has the dedup key {found.dedup_key!r}, which leads to {_shown(holder)}"
    if found.group is not None and found.state != "dead" and _has_turn(found) != (head == member[-16:]):
        yield f"{number} is {found.state}, the turn of its group {found.group!r} is with {_shown(head)}"
    try:
        values.decode(found.body, number)
    except CorruptEntry as error:
        yield f"the body of {number}: {error.reason}"


def _score(found: Item) -> int:
    if found.state == "ready":
        return -found.priority
    if found.state == "delayed":
        return microseconds(found.available_at)
    return microseconds(found.leased_until) if found.leased_until is not None else 0


def _has_turn(found: Item) -> bool:
    return found.state != "blocked"


def _shown(number: bytes | None) -> str:
    return "nobody" if number is None else number.decode("utf-8", "replace")


def _sums(rows: list[tuple[str, list[Any]]], sizes: tuple[int, ...]) -> Iterator[str]:
    fields, keys, heads, claims, *_ = sizes
    living = [row for letter, row in rows if letter != "x"]
    for what, noted, found in (
        ("fields of items", fields, 2 * len(rows) + 1),
        ("dedup keys", keys, sum(row[5] is not None for row in living)),
        ("turns of groups", heads, sum(row[6] is not None for letter, row in rows if letter in "rdl")),
        ("claims", claims, sum(letter == "l" for letter, _ in rows)),
    ):
        if noted != found:
            yield f"{noted} {what} are noted, the items make {found}"
