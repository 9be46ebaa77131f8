"""The calls of PostgreSQL's functions that a step of a queue is made of, and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from agentmem.sql.postgres_arrays import number_array, text_array
from agentmem.sql.queue_dialect import COLUMNS

if TYPE_CHECKING:
    from agentmem.queue_port import Put, Settle

_ITEM: Final = ", ".join("1" if column == "state" else f"c.{column}" for column in COLUMNS.split(", "))
SETTLE: Final = (
    "{queue_items_settle}(a.place, CAST(:settle_queues AS text[]), CAST(:ids AS bigint[]), "
    "CAST(:fences AS bigint[]), CAST(:verbs AS text[]), CAST(:settle_delays AS bigint[]), CAST(:errors AS text[]))"
)
# Most settles, and most puts, of a step differ in little: what they share is sent once.
SETTLE_ALIKE: Final = (
    "{queue_items_settle}(a.place, array_fill(CAST(:settle_queue AS text), ARRAY[CAST(:settles AS int)]), "
    "CAST(:ids AS bigint[]), CAST(:fences AS bigint[]), "
    "array_fill(CAST(:verb AS text), ARRAY[CAST(:settles AS int)]), "
    "array_fill(CAST(:settle_delay AS bigint), ARRAY[CAST(:settles AS int)]), "
    "array_fill(CAST(:error AS text), ARRAY[CAST(:settles AS int)]))"
)
NO_SETTLE: Final = "(SELECT CAST(NULL AS bigint[]) AS lost, CAST(NULL AS timestamptz) AS moment)"
PUT: Final = (
    "(SELECT {queue_items_put}(a.place, CAST(:put_queues AS text[]), CAST(:bodies AS text[]), "
    "CAST(:put_delays AS bigint[]), CAST(:ranks AS smallint[]), CAST(:dedups AS text[]), "
    "CAST(:names AS text[]), CAST(:most AS bigint[]), CAST(:channels AS text[]), s.lost IS NULL) AS ids OFFSET 0)"
)
PUT_ALIKE: Final = (
    "(SELECT {queue_items_put}(a.place, array_fill(CAST(:put_queue AS text), ARRAY[CAST(:puts AS int)]), "
    "CAST(:bodies AS text[]), array_fill(CAST(:put_delay AS bigint), ARRAY[CAST(:puts AS int)]), "
    "array_fill(CAST(:rank AS smallint), ARRAY[CAST(:puts AS int)]), NULL, "
    "CASE WHEN CAST(:name AS text) IS NOT NULL THEN array_fill(CAST(:name AS text), ARRAY[CAST(:puts AS int)]) END, "
    "array_fill(CAST(:most AS bigint), ARRAY[CAST(:puts AS int)]), CAST(:channels AS text[]), s.lost IS NULL) AS ids "
    "OFFSET 0)"
)
NO_PUT: Final = "(SELECT CAST('{{}}' AS bigint[]) AS ids)"
CLAIM: Final = (
    "{queue_items_claim}(:partition, :queue, CAST(:limit AS integer), :lease, :request, CAST(:above AS smallint[]), "
    "CAST(:floors AS bigint[]), CAST(:ends AS smallint[]), CAST(:recent AS bigint), "
    "s.lost IS NULL AND p.ids IS NOT NULL)"
)
NO_CLAIM: Final = "(SELECT CAST(NULL AS bigint) AS visited, CAST(NULL AS bigint) AS id)"

# No row where the policy forbids a queue that something is put into. It stays in front of what depends on its column.
_ALLOWED: Final = (
    "(SELECT CAST(:partition AS text) AS place WHERE NOT EXISTS (SELECT FROM {{partitions}} n, {queues} AS q (name) "
    "WHERE n.name = :partition AND NOT starts_with(q.name, n.namespace)) OFFSET 0)"
)
_PLACES: Final = {
    NO_PUT: "(SELECT CAST(:partition AS text) AS place)",
    PUT: _ALLOWED.format(queues="unnest(CAST(:put_queues AS text[]))"),
    PUT_ALIKE: _ALLOWED.format(queues="(SELECT CAST(:put_queue AS text))"),
}


def step_of(settles: str, puts: str, claim: str) -> str:
    """One statement, whose parts are called one after the other: each is given what came of those before.

    It gives no row, and none of them is called, where the partition's namespace forbids a put.
    """
    item = "c.id" if claim == NO_CLAIM else _ITEM
    return (
        f"SELECT s.lost, s.moment, p.ids, c.visited, {item} FROM {_PLACES[puts]} a CROSS JOIN LATERAL {settles} s "
        f"CROSS JOIN LATERAL {puts} p LEFT JOIN LATERAL {claim} c ON true"
    )


def of_settles(settles: Sequence[Settle]) -> tuple[str, dict[str, Any]]:
    """The part of the statement, and its parameters."""
    if not settles:
        return NO_SETTLE, {}
    # Rows are locked in this order.
    in_order = sorted(settles, key=attrgetter("id"))
    queues, ids, fences, verbs, delays, errors = map(list, zip(*in_order, strict=True))
    parameters: dict[str, Any] = {"ids": number_array(ids), "fences": number_array(fences)}
    shared = {(each.queue, *each[3:]) for each in settles}
    if len(shared) > 1:
        parameters |= {"settle_queues": text_array(queues), "verbs": text_array(verbs)}
        return SETTLE, parameters | {"settle_delays": number_array(delays), "errors": text_array(errors)}
    names = ("settle_queue", "verb", "settle_delay", "error")
    return SETTLE_ALIKE, parameters | dict(zip(names, *shared, strict=True)) | {"settles": len(settles)}


def of_puts(puts: Sequence[Put]) -> tuple[str, dict[str, Any]]:
    """The part of the statement, and its parameters."""
    if not puts:
        return NO_PUT, {}
    bodies, delays, priorities, dedups, groups, most = map(list, zip(*(put.item for put in puts), strict=True))
    parameters: dict[str, Any] = {"bodies": text_array(bodies)}
    if len({(put.queue, *put.item[1:]) for put in puts}) == 1 and dedups[0] is None:
        parameters |= {"put_queue": puts[0].queue, "put_delay": delays[0], "rank": -priorities[0], "name": groups[0]}
        return PUT_ALIKE, parameters | {"most": most[0], "puts": len(puts)}
    return PUT, parameters | {
        "put_queues": text_array(put.queue for put in puts),
        "put_delays": number_array(delays),
        "ranks": number_array(-priority for priority in priorities),
        "dedups": text_array(dedups) if any(key is not None for key in dedups) else None,
        "names": text_array(groups) if any(name is not None for name in groups) else None,
        "most": number_array(most),
    }
