"""The text of PostgreSQL's writing statements, over the names of the models' tables.

A new row reads `clock_timestamp()` once, for all of its columns; a row that was there reads it when its lock is held,
because a writer may have waited for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentmem.sql.types import POSTGRES_VERSION_CLOCK as CLOCK
from agentmem.ttl import DEFAULT, KEEP

DEAD = "e.expires_at <= clock_timestamp()"
ALIVE = "(e.expires_at IS NULL OR e.expires_at > clock_timestamp())"
COLUMNS = "key, body, version, created_at, updated_at, expires_at, metadata"
E_COLUMNS = ", ".join(f"e.{column}" for column in COLUMNS.split(", "))
_AT_ROW = "e.partition = %(partition)s AND e.key = %(key)s"

# What `put` of agentmem.plan calls expiry, from the parameter ttl and the partition's policy.
_TTL = (
    f"NULLIF(CASE WHEN %(ttl)s::bigint IN ({DEFAULT}, {KEEP}) THEN p.default_ttl_ms ELSE %(ttl)s::bigint END, 0) "
    "* interval '1 millisecond'"
)
_POLICY = "p.name = %(partition)s AND (p.namespace IS NULL OR starts_with({key}, p.namespace))"
_INSERT = "INSERT INTO {entries} AS e (partition, key, body, metadata, version, created_at, updated_at, expires_at) "
# The clock of a new row, read once for each and when its turn comes: the condition makes it depend on the row.
_AT = "CROSS JOIN LATERAL (SELECT clock_timestamp() AS at WHERE p.name IS NOT NULL OFFSET 0) c"
_AT_ROW_OF_BATCH = _AT.replace("p.name", "r.key")
_FIRST = f"GREATEST(CAST(EXTRACT(epoch FROM c.at) * 1000000 AS BIGINT), p.version_floor + 1), c.at, c.at, c.at + {_TTL}"
_NEXT_VERSION = f"version = GREATEST(e.version + 1, {CLOCK})"
# Over a dead row it is a new entry, whose two time stamps are one.
_RESTAMP = (
    f"created_at = CASE WHEN {DEAD} THEN EXCLUDED.created_at ELSE e.created_at END, "
    f"updated_at = CASE WHEN {DEAD} THEN EXCLUDED.updated_at ELSE clock_timestamp() END"
)
# The lock may have been waited for: what counts is the duration, from now.
_FRESH_EXPIRY = "clock_timestamp() + (EXCLUDED.expires_at - EXCLUDED.updated_at)"
_REPLACE = (
    f"ON CONFLICT (partition, key) DO UPDATE SET body = EXCLUDED.body, metadata = EXCLUDED.metadata, {_NEXT_VERSION}, "
    f"{_RESTAMP}, expires_at = {_FRESH_EXPIRY}"
)
_STAMPS = "e.version, e.created_at, e.updated_at, e.expires_at"
# Whether a row that is new (it has no xmax) may have waited after its clock was read: time went by, and others may have
# put and deleted the key meanwhile, with versions above the one that this row was given. Two commits and two wake-ups
# take longer than this limit. Whether there were others is told by the transaction's number, if it is given after the
# wait: in a transaction that has written already it is older.
_WAITED = (
    "e.xmax = 0 AND clock_timestamp() > e.updated_at + interval '100 microseconds' "
    "AND (%(in_transaction)s OR pg_current_xact_id() > pg_snapshot_xmin(pg_current_snapshot()))"
)
_RESTAMPED = f"CASE WHEN {_WAITED} THEN {{memory_entries_restamp}}(e.partition, e.key) END"
_NOT_RESTAMPED = "NULL::bigint[]"
# Only a version ahead of the clock could be given again (R12).
_FLOOR = (
    "UPDATE {partitions} p SET version_floor = g.version FROM (SELECT partition, max(version) AS version FROM gone "
    f"GROUP BY partition HAVING max(version) >= {CLOCK}) g WHERE p.name = g.partition AND p.version_floor < g.version"
)


# A first row of NULLs where the partition's namespace forbids the key: that comes before every expectation.
_FORBIDDEN = (
    "SELECT NULL::boolean, NULL::text, NULL::text, NULL::bigint, NULL::timestamptz, NULL::timestamptz, "
    f"NULL::timestamptz, NULL::text, {_NOT_RESTAMPED} FROM {{partitions}} p "
    "WHERE p.name = %(partition)s AND NOT starts_with(%(key)s, p.namespace) UNION ALL "
)


def put(names: Mapping[str, str]) -> str:
    """An unconditional put; no row when the partition is missing or its namespace forbids the key."""
    return (
        f"{_INSERT} SELECT p.name, %(key)s, %(body)s, %(metadata)s, {_FIRST} FROM {{partitions}} p {_AT} "
        f"WHERE {_POLICY.format(key='%(key)s')} {_REPLACE} RETURNING {_STAMPS}, {_RESTAMPED}"
    ).format_map(names)


def put_many(names: Mapping[str, str]) -> str:
    """Unconditional puts of distinct keys from arrays, locked in the order of keys; all of them or none."""
    rows = "unnest(%(keys)s::text[], %(bodies)s::text[], %(metadatas)s::text[]) AS r (key, body, metadata)"
    return _batch_put(rows).format_map(names)


def put_staged(names: Mapping[str, str]) -> str:
    """The same from the temporary table that COPY filled."""
    return _batch_put("agentmem_staged AS r").format_map(names)


def _batch_put(rows: str) -> str:
    return (
        f"{_INSERT} SELECT p.name, r.key, r.body, r.metadata, {_FIRST} FROM {{partitions}} p, "
        f'(SELECT * FROM {rows} ORDER BY r.key COLLATE "C") r {_AT_ROW_OF_BATCH} '
        "WHERE p.name = %(partition)s AND NOT EXISTS "
        f"(SELECT FROM {rows} WHERE p.namespace IS NOT NULL AND NOT starts_with(r.key, p.namespace)) "
        f"{_REPLACE} RETURNING e.key, {_STAMPS}, {_RESTAMPED}"
    )


def put_if_absent(names: Mapping[str, str]) -> str:
    """True and the new row, or False and the living one; no row when that cannot be told in one statement."""
    return (
        f"WITH written AS ({_INSERT} SELECT p.name, %(key)s, %(body)s, %(metadata)s, {_FIRST} "
        f"FROM {{partitions}} p {_AT} "
        f"WHERE {_POLICY.format(key='%(key)s')} {_REPLACE} WHERE {DEAD} "
        f"RETURNING {E_COLUMNS}, {_RESTAMPED} AS restamped) "
        f"{_FORBIDDEN} SELECT true, {COLUMNS}, restamped FROM written UNION ALL "
        f"SELECT false, {E_COLUMNS}, {_NOT_RESTAMPED} FROM {{entries}} e "
        f"WHERE {_AT_ROW} AND {ALIVE} AND NOT EXISTS (SELECT FROM written)"
    ).format_map(names)


def put_if_version(names: Mapping[str, str]) -> str:
    """True and the new row, or False and the living one, which is locked first and so is the latest."""
    expiry = f"CASE WHEN %(ttl)s::bigint = {KEEP} THEN e.expires_at ELSE clock_timestamp() + {_TTL} END"
    metadata = "CASE WHEN %(keep)s THEN e.metadata ELSE %(metadata)s END"
    return (
        f"WITH found AS MATERIALIZED (SELECT {E_COLUMNS} FROM {{entries}} e WHERE {_AT_ROW} AND {ALIVE} FOR UPDATE), "
        f"written AS (UPDATE {{entries}} e SET body = %(body)s, metadata = {metadata}, {_NEXT_VERSION}, "
        f"updated_at = clock_timestamp(), expires_at = {expiry} FROM found c, {{partitions}} p "
        f"WHERE {_AT_ROW} AND c.version = %(expected)s AND {_POLICY.format(key='e.key')} RETURNING {E_COLUMNS}) "
        f"{_FORBIDDEN} SELECT true, {COLUMNS}, {_NOT_RESTAMPED} FROM written UNION ALL "
        f"SELECT false, {COLUMNS}, {_NOT_RESTAMPED} FROM found WHERE NOT EXISTS (SELECT FROM written)"
    ).format_map(names)


def delete(names: Mapping[str, str], *, bodies: bool) -> str:
    """Whether it lived and, on request, what it was; a dead row goes as well."""
    columns = COLUMNS if bodies else "key"
    returning = f"e.partition, {ALIVE} AS alive, {E_COLUMNS if bodies else 'e.key, e.version'}"
    return (
        f"WITH gone AS (DELETE FROM {{entries}} e WHERE {_AT_ROW} RETURNING {returning}), floor AS ({_FLOOR}) "
        f"SELECT alive, {columns} FROM gone"
    ).format_map(names)


def delete_partition(names: Mapping[str, str]) -> str:
    """Every entry of a partition; how many lived."""
    return (
        "WITH gone AS (DELETE FROM {entries} e WHERE partition = %(partition)s "
        f"RETURNING e.partition, e.version, {ALIVE} AS alive), floor AS ({_FLOOR}) "
        "SELECT count(*) FILTER (WHERE alive) FROM gone"
    ).format_map(names)


def increment(names: Mapping[str, str]) -> str:
    """Add to an int of up to 18 digits, or begin with the total; no row for any other value."""
    keeps = f"NOT ({DEAD}) IS TRUE AND %(ttl)s::bigint = {KEEP}"
    return (
        f"{_INSERT} SELECT p.name, %(key)s, %(total)s::bigint::text, NULL, {_FIRST} FROM {{partitions}} p {_AT} "
        f"WHERE {_POLICY.format(key='%(key)s')} ON CONFLICT (partition, key) DO UPDATE SET "
        f"body = CASE WHEN {DEAD} THEN EXCLUDED.body ELSE (e.body::bigint + %(by)s::bigint)::text END, "
        f"metadata = CASE WHEN {DEAD} THEN NULL ELSE e.metadata END, {_NEXT_VERSION}, {_RESTAMP}, "
        f"expires_at = CASE WHEN {keeps} THEN e.expires_at ELSE {_FRESH_EXPIRY} END "
        f"WHERE {DEAD} OR e.body ~ '^-?[0-9]{{{{1,18}}}}$' RETURNING {E_COLUMNS}, {_RESTAMPED}"
    ).format_map(names)


def placeholders(names: Mapping[str, str]) -> str:
    """Dead rows for keys that are missing, and locks on those that are there, all in the order of keys.

    With the locks taken later, a batch that holds a placeholder and wants a row would meet one that holds the row.
    """
    return (
        f"{_INSERT} SELECT %(partition)s, k, 'null', NULL, 0, 'epoch', 'epoch', 'epoch' "
        'FROM unnest(%(keys)s::text[]) AS k ORDER BY k COLLATE "C" '
        "ON CONFLICT (partition, key) DO UPDATE SET key = EXCLUDED.key WHERE false"
    ).format_map(names)


def lock(names: Mapping[str, str], *, bodies: bool) -> str:
    """The rows of a batch, dead ones too, locked in the order of keys."""
    columns = COLUMNS if bodies else "key, NULL, version, created_at, updated_at, expires_at, NULL"
    return (
        f"SELECT {columns} FROM {{entries}} WHERE partition = %(partition)s AND key = ANY(%(keys)s::text[]) "
        "ORDER BY key FOR UPDATE"
    ).format_map(names)


def store(names: Mapping[str, str]) -> str:
    """Set locked rows to what was planned."""
    arrays = (
        "unnest(%(keys)s::text[], %(bodies)s::text[], %(versions)s::bigint[], %(created)s::timestamptz[], "
        "%(updated)s::timestamptz[], %(expires)s::timestamptz[], %(metadatas)s::text[])"
    )
    return (
        "UPDATE {entries} e SET body = r.body, version = r.version, created_at = r.created_at, "
        f"updated_at = r.updated_at, expires_at = r.expires_at, metadata = r.metadata FROM {arrays} AS r ({COLUMNS}) "
        "WHERE e.partition = %(partition)s AND e.key = r.key"
    ).format_map(names)


def remove(names: Mapping[str, str], condition: str, limit: int) -> str:
    """Remove a piece in the order of keys: how many lived, how many went, and the last key."""
    entries = names["entries"]
    return (
        f"WITH doomed AS MATERIALIZED (SELECT key FROM {entries} e WHERE partition = %(partition)s AND "
        f"key > %(after)s AND {condition} ORDER BY key LIMIT {limit:d} FOR UPDATE), "
        f"gone AS (DELETE FROM {entries} e USING doomed d WHERE e.partition = %(partition)s AND e.key = d.key "
        f"RETURNING e.partition, e.key, e.version, {ALIVE} AS alive), floor AS ({_FLOOR.format_map(names)}) "
        "SELECT count(*) FILTER (WHERE alive), count(*), max(key) FROM gone"
    )


def purge(names: Mapping[str, str], limit: int) -> str:
    """Remove the longest dead rows that nobody holds. The limit is written out: a plan for any would read the table."""
    return (
        "WITH doomed AS MATERIALIZED (SELECT partition, key FROM {entries} e "
        "WHERE expires_at <= (SELECT clock_timestamp()) ORDER BY expires_at "
        f"LIMIT {limit:d} FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM {entries} e USING doomed d WHERE e.partition = d.partition AND e.key = d.key "
        f"RETURNING e.partition, e.version), floor AS ({_FLOOR}) SELECT count(*) FROM gone"
    ).format_map(names)


def server(names: Mapping[str, str]) -> str:
    """What Stats.server tells."""
    entries, queues = (names[table].replace("'", "''") for table in ("entries", "queue_items"))
    return (
        "SELECT current_setting('server_version'), pg_database_size(current_database()), "
        f"pg_table_size('{entries}'::regclass), pg_indexes_size('{entries}'::regclass), "
        f"pg_total_relation_size('{queues}'::regclass), "
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()), "
        "current_setting('max_connections')::int, current_setting('fsync'), current_setting('synchronous_commit'), "
        "current_setting('TimeZone'), current_setting('server_encoding')"
    )
