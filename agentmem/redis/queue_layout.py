"""How a step and an item of a work queue are written for scripts. Pure; lua/queue_books.lua is the other half."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from agentmem.moments import from_microseconds
from agentmem.queue_port import Exchange, Item, State

HEADER: Final = struct.Struct(">BhQQQQQQHHHH")
"""Format, priority, max_attempts, attempts, fence, enqueued_at, available_at, leased_until (0: not leased), and the
lengths of dedup key, group, request id and error, which follow; times in microseconds."""

FORMAT: Final = 1
_PRESENT: Final = "="


def step_parts(step: Exchange) -> list[Any]:
    """What the script is told of a step: names, settles, puts, claim; flat lists, so that it makes few tables."""
    names: dict[str, int] = {}

    def place(queue: str) -> int:
        return names.setdefault(queue, len(names) + 1)  # Lua counts from 1

    settles: list[Any] = []
    for settle in step.settles:
        settles += (place(settle.queue), settle.id, settle.fence, settle.verb)
        settles += (settle.delay_ms * 1000, optional(settle.error))
    puts: list[Any] = []
    for queue, item in step.puts:
        puts += (place(queue), item.body, item.delay_ms * 1000, item.priority)
        puts += (optional(item.dedup_key), optional(item.group), item.max_attempts)
    claim = step.claim
    taken = [place(claim.queue), claim.limit, claim.lease_ms * 1000, claim.request_id] if claim else []
    return [list(names), settles, puts, taken]


def items(flat: Sequence[Any], state: State) -> list[Item]:
    """The items of an answer, which has id, header and body."""
    parts = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [item(number, header, body, state) for number, header, body in parts]


def item(number: int, header: bytes, body: bytes | None, state: State) -> Item:
    """An item of its parts. A body that is no UTF-8, or gone, must fail when it is decoded."""
    _, priority, max_attempts, attempts, fence, *rest = HEADER.unpack_from(header)
    enqueued, available, until, *lengths = rest
    dedup_key, group, _, error = texts(header, lengths)
    return Item(
        number,
        (body or b"").decode("utf-8", "surrogateescape"),
        priority,
        dedup_key,
        group,
        max_attempts,
        attempts,
        fence,
        state,
        from_microseconds(enqueued),
        from_microseconds(available),
        from_microseconds(until) if state == "leased" else None,
        error,
    )


def texts(header: bytes, lengths: Sequence[int]) -> list[str | None]:
    """The texts behind a header, by their lengths."""
    found, start = [], HEADER.size
    for length in lengths:
        text = header[start : start + length].decode("utf-8", "surrogateescape")
        found.append(text[len(_PRESENT) :] if text else None)
        start += length
    return found


def optional(text: str | None) -> str:
    """A text that may be missing, as it is stored: an empty one is not a missing one."""
    return "" if text is None else _PRESENT + text
