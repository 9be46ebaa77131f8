"""The items of work queues, and PostgreSQL's functions for what is done to them in one round trip.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "queue_items"
OTHERS = (
    "pk_queue_items",
    "ix_queue_items_ready",
    "ix_queue_items_due",
    "ix_queue_items_request",
    "ix_queue_items_blocked",
    "ix_queue_items_dead",
    "uq_queue_items_dedup",
    "uq_queue_items_active",
)
FUNCTIONS = {
    "queue_items_stripe": "text, text, text",
    "queue_items_lock": "text, text[], text[]",
    "queue_items_advance": "text, text[], text[]",
    "queue_items_ripen": "text, text, timestamptz",
    "queue_items_settle": "text, text[], bigint[], bigint[], text[], bigint[], text[]",
    "queue_items_put": "text, text[], text[], bigint[], smallint[], text[], text[], bigint[], text[], boolean",
    "queue_items_claim": "text, text, integer, bigint, text, smallint[], bigint[], smallint[], bigint, boolean",
    "queue_items_redrive": "text, text, integer",
    "queue_items_purge": "text, text, smallint, bigint, integer",
}

# States: 0 ready, 1 leased, 2 delayed, 3 blocked, 4 dead. Of a group one item at the most is in a state below 3.
# `rank` is the priority negated, so that items are claimed in the ascending order of (rank, id). `due_at` is when the
# clock may change an item's state: no later than that must it be looked at.
INDEXES = tuple(
    f"CREATE {kind} {{{name}}} ON {{queue_items}} ({columns}) WHERE {where}"
    for kind, name, columns, where in (
        ("INDEX", "ix_queue_items_ready", "partition, queue, rank, id", "state = 0"),
        ("INDEX", "ix_queue_items_due", "partition, queue, due_at", "due_at IS NOT NULL"),
        ("INDEX", "ix_queue_items_request", "partition, queue, request_id", "request_id IS NOT NULL"),
        ("INDEX", "ix_queue_items_blocked", "partition, queue, group_key, id", "state = 3"),
        ("INDEX", "ix_queue_items_dead", "partition, queue, id", "state = 4"),
        ("UNIQUE INDEX", "uq_queue_items_dedup", "partition, queue, dedup_key", "dedup_key IS NOT NULL AND state < 4"),
        ("UNIQUE INDEX", "uq_queue_items_active", "partition, queue, group_key", "group_key IS NOT NULL AND state < 3"),
    )
)

# One plan for every call, made once by a session: by the indexes, also where the table was empty when it was made.
SETTINGS = "SET plan_cache_mode = force_generic_plan " + " ".join(
    f"SET enable_{kind} = off" for kind in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")
)

# What an extended lease changes is in no index, and pages keep room for the next version of a row.
POSTGRESQL = (
    """
    CREATE TABLE {queue_items} (
        id bigint NOT NULL,
        partition text COLLATE "C" NOT NULL,
        queue text COLLATE "C" NOT NULL,
        body text NOT NULL,
        rank smallint NOT NULL,
        dedup_key text COLLATE "C",
        group_key text COLLATE "C",
        max_attempts bigint NOT NULL,
        attempts bigint NOT NULL,
        fence bigint NOT NULL,
        state smallint NOT NULL,
        request_id text COLLATE "C",
        enqueued_at timestamp with time zone NOT NULL,
        available_at timestamp with time zone NOT NULL,
        leased_until timestamp with time zone,
        due_at timestamp with time zone,
        error text,
        CONSTRAINT {pk_queue_items} PRIMARY KEY (id)
    ) WITH (fillfactor = 60)
    """,
    "CREATE SEQUENCE {queue_items_id_seq} OWNED BY {queue_items}.id",
    *INDEXES,
    # Groups and dedup keys are locked in 256 stripes a queue, so that any number of them is few locks.
    """
    CREATE FUNCTION {queue_items_stripe}(place text, line text, name text) RETURNS bigint
    LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN (hashtextextended(format('%s/%s', place, line), {queue_items_seed}) & ~255::bigint)
            | (hashtext(name) & 255);
    END
    $$
    """,
    # In one order. Whoever needs rows as well locks those first.
    """
    CREATE FUNCTION {queue_items_lock}(place text, queues text[], names text[]) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(stripes.number) FROM (
            SELECT DISTINCT {queue_items_stripe}(place, given.queue, given.name) AS number
            FROM unnest(queues, names) AS given (queue, name) WHERE given.name IS NOT NULL ORDER BY number
        ) stripes;
    END
    $$
    """,
    # With the groups locked: of each the item that is to come next becomes active, if none is leased.
    """
    CREATE FUNCTION {queue_items_advance}(place text, queues text[], names text[]) RETURNS void
    LANGUAGE plpgsql {settings} AS $$
    DECLARE
        given record;
        active record;
        successor bigint;
    BEGIN
        FOR given IN
            SELECT DISTINCT g.queue, g.name FROM unnest(queues, names) AS g (queue, name) WHERE g.name IS NOT NULL
        LOOP
            SELECT i.id INTO successor FROM {queue_items} i
            WHERE i.partition = place AND i.queue = given.queue AND i.group_key = given.name AND i.state = 3
            ORDER BY i.id LIMIT 1;
            CONTINUE WHEN successor IS NULL;
            SELECT i.id, i.state INTO active FROM {queue_items} i
            WHERE i.partition = place AND i.queue = given.queue AND i.group_key = given.name AND i.state < 3;
            IF FOUND THEN
                CONTINUE WHEN active.state = 1 OR active.id < successor;
                -- Whoever claims it at this moment was first: the row is waited for, and looked at again.
                UPDATE {queue_items} i SET state = 3, due_at = NULL WHERE i.id = active.id AND i.state IN (0, 2);
                CONTINUE WHEN NOT FOUND;
            END IF;
            UPDATE {queue_items} i SET
                state = CASE WHEN i.available_at > clock_timestamp() THEN 2 ELSE 0 END,
                due_at = CASE WHEN i.available_at > clock_timestamp() THEN i.available_at END
            WHERE i.id = successor AND i.state = 3;
        END LOOP;
    END
    $$
    """,
    # What the clock has changed since: delayed items are ready, ended leases give their items back. A group that
    # somebody works on is left for the next time.
    """
    CREATE FUNCTION {queue_items_ripen}(place text, line text, since timestamptz) RETURNS integer
    LANGUAGE plpgsql {settings} AS $$
    DECLARE
        moment timestamptz := clock_timestamp();
        changed integer;
        names text[];
    BEGIN
        WITH due AS MATERIALIZED (
            SELECT i.id FROM {queue_items} i
            WHERE i.partition = place AND i.queue = line AND i.due_at > since AND i.due_at <= moment
                AND (i.group_key IS NULL OR i.state = 2 OR i.leased_until > moment
                    OR pg_try_advisory_xact_lock({queue_items_stripe}(place, line, i.group_key)))
            ORDER BY i.due_at LIMIT 2000 FOR UPDATE SKIP LOCKED
        ), ripe AS (
            UPDATE {queue_items} i SET
                state = CASE
                    WHEN i.state = 2 THEN 0
                    WHEN i.leased_until > moment THEN 1
                    WHEN i.max_attempts > 0 AND i.attempts >= i.max_attempts THEN 4
                    WHEN i.group_key IS NOT NULL THEN 3
                    ELSE 0
                END,
                request_id = CASE WHEN i.leased_until > moment THEN i.request_id END,
                leased_until = CASE WHEN i.leased_until > moment THEN i.leased_until END,
                -- A lease that was extended is looked at again when it ends.
                due_at = CASE WHEN i.leased_until > moment THEN i.leased_until END
            FROM due WHERE i.id = due.id RETURNING i.group_key, i.state
        )
        SELECT count(*), array_agg(ripe.group_key) FILTER (WHERE ripe.group_key IS NOT NULL AND ripe.state >= 3)
        INTO changed, names FROM ripe;
        IF names IS NOT NULL THEN
            PERFORM {queue_items_advance}(place, array_fill(line, ARRAY[cardinality(names)]), names);
        END IF;
        RETURN changed;
    END
    $$
    """,
    # `lost` names the items whose leases do not stand: then nothing was changed.
    """
    CREATE FUNCTION {queue_items_settle}(
        place text, queues text[], ids bigint[], fences bigint[], verbs text[], delays bigint[], errors text[],
        OUT lost bigint[], OUT moment timestamptz
    ) LANGUAGE plpgsql {settings} AS $$
    DECLARE
        held bigint[];
        lines text[];
        names text[];
        gone integer;
    BEGIN
        moment := clock_timestamp();
        IF 'ack' = ALL (verbs) THEN
            BEGIN
                DELETE FROM {queue_items} i USING unnest(queues, ids, fences) AS s (queue, id, fence)
                WHERE i.id = s.id AND i.partition = place AND i.queue = s.queue AND i.fence = s.fence AND i.state = 1
                    AND i.leased_until > moment AND i.group_key IS NULL;
                GET DIAGNOSTICS gone = ROW_COUNT;
                IF gone = cardinality(ids) THEN
                    RETURN;
                END IF;
                RAISE no_data_found;
            EXCEPTION WHEN no_data_found THEN
                -- Nothing was deleted: some are of groups, or their leases do not stand.
            END;
        END IF;
        held := ARRAY(
            SELECT i.id FROM unnest(queues, ids, fences) AS s (queue, id, fence) JOIN {queue_items} i ON i.id = s.id
            WHERE i.partition = place AND i.queue = s.queue AND i.fence = s.fence AND i.state = 1
                AND i.leased_until > moment
            ORDER BY i.id FOR UPDATE OF i
        );
        SELECT array_agg(s.id) INTO lost FROM unnest(ids) AS s (id) WHERE s.id <> ALL (held);
        IF lost IS NOT NULL THEN
            RETURN;
        END IF;
        SELECT array_agg(i.queue), array_agg(i.group_key) INTO lines, names FROM {queue_items} i
        WHERE i.id = ANY (held) AND i.group_key IS NOT NULL;
        IF names IS NOT NULL THEN
            PERFORM {queue_items_lock}(place, lines, names);
        END IF;
        DELETE FROM {queue_items} i USING unnest(ids, verbs) AS s (id, verb) WHERE s.verb = 'ack' AND i.id = s.id;
        UPDATE {queue_items} i SET
            leased_until = moment + s.delay * interval '1 millisecond',
            due_at = LEAST(i.due_at, moment + s.delay * interval '1 millisecond')
        FROM unnest(ids, verbs, delays) AS s (id, verb, delay) WHERE s.verb = 'extend' AND i.id = s.id;
        UPDATE {queue_items} i SET
            state = n.state,
            request_id = NULL,
            leased_until = NULL,
            available_at = n.available_at,
            due_at = CASE n.state WHEN 2 THEN n.available_at END,
            error = n.error
        FROM (
            SELECT h.id, s.error,
                CASE s.verb WHEN 'nack' THEN moment + s.delay * interval '1 millisecond' ELSE h.available_at END
                    AS available_at,
                CASE
                    WHEN s.verb = 'bury' OR h.max_attempts > 0 AND h.attempts >= h.max_attempts THEN 4
                    WHEN h.group_key IS NOT NULL THEN 3
                    WHEN s.delay > 0 THEN 2
                    ELSE 0
                END AS state
            FROM unnest(ids, verbs, delays, errors) AS s (id, verb, delay, error)
            JOIN {queue_items} h ON h.id = s.id WHERE s.verb IN ('nack', 'bury')
        ) n WHERE i.id = n.id;
        IF names IS NOT NULL THEN
            PERFORM {queue_items_advance}(place, lines, names);
        END IF;
    END
    $$
    """,
    # The id of each item, in order; negative where one of its dedup key was there already. NULL without a partition.
    """
    CREATE FUNCTION {queue_items_put}(
        place text, queues text[], bodies text[], delays bigint[], ranks smallint[], dedups text[], names text[],
        limits bigint[], channels text[], proceed boolean
    ) RETURNS bigint[] LANGUAGE plpgsql {settings} AS $$
    DECLARE
        moment timestamptz;
        given record;
        made bigint;
        ids bigint[];
    BEGIN
        IF NOT proceed THEN
            RETURN NULL;
        END IF;
        IF names IS NOT NULL OR cardinality(dedups) > 1 THEN
            -- Nobody else puts into the same groups until this is to be seen: so ids rise in the order of commits.
            PERFORM {queue_items_lock}(place, queues || queues, names || dedups);
        END IF;
        moment := clock_timestamp();
        IF names IS NULL AND dedups IS NULL THEN
            WITH stored AS (
                INSERT INTO {queue_items} AS i (
                    id, partition, queue, body, rank, max_attempts, attempts, fence, state, enqueued_at, available_at,
                    due_at
                )
                SELECT nextval({queue_items_ids}), place, u.* FROM (
                    SELECT g.queue, g.body, g.rank, g.most, 0, 0, CASE WHEN g.delay > 0 THEN 2 ELSE 0 END, moment,
                        moment + g.delay * interval '1 millisecond',
                        CASE WHEN g.delay > 0 THEN moment + g.delay * interval '1 millisecond' END
                    FROM {partitions} p, unnest(queues, bodies, delays, ranks, limits) WITH ORDINALITY
                        AS g (queue, body, delay, rank, most, number)
                    WHERE p.name = place ORDER BY g.number
                ) u RETURNING i.id
            )
            SELECT array_agg(stored.id ORDER BY stored.id) INTO ids FROM stored;
        ELSE
            -- Nobody drops the partition from here on.
            LOCK TABLE {queue_items} IN ROW EXCLUSIVE MODE;
            IF NOT EXISTS (SELECT FROM {partitions} p WHERE p.name = place) THEN
                RETURN NULL;
            END IF;
            FOR given IN
                SELECT * FROM unnest(queues, bodies, delays, ranks, dedups, names, limits) WITH ORDINALITY
                    AS u (queue, body, delay, rank, dedup, name, most, number) ORDER BY u.number
            LOOP
                LOOP
                    INSERT INTO {queue_items} AS i (
                        id, partition, queue, body, rank, dedup_key, group_key, max_attempts, attempts, fence, state,
                        enqueued_at, available_at, due_at
                    )
                    SELECT nextval({queue_items_ids}), place, given.queue, given.body, given.rank, given.dedup,
                        given.name, given.most, 0, 0, g.state, moment, g.at, CASE g.state WHEN 2 THEN g.at END
                    FROM (
                        SELECT moment + given.delay * interval '1 millisecond' AS at, CASE
                            WHEN given.name IS NOT NULL AND EXISTS (
                                SELECT FROM {queue_items} a WHERE a.partition = place AND a.queue = given.queue
                                    AND a.group_key = given.name AND a.state < 3
                            ) THEN 3
                            WHEN given.delay > 0 THEN 2
                            ELSE 0
                        END AS state
                    ) g
                    ON CONFLICT (partition, queue, dedup_key) WHERE dedup_key IS NOT NULL AND state < 4 DO NOTHING
                    RETURNING i.id INTO made;
                    EXIT WHEN FOUND;
                    SELECT -i.id INTO made FROM {queue_items} i
                    WHERE i.partition = place AND i.queue = given.queue AND i.dedup_key = given.dedup
                        AND i.dedup_key IS NOT NULL AND i.state < 4;
                    -- Or it was there for the insert, and is no more.
                    EXIT WHEN FOUND;
                END LOOP;
                ids := ids || made;
            END LOOP;
        END IF;
        IF ids IS NOT NULL THEN
            PERFORM pg_notify(c.channel, '') FROM unnest(channels) AS c (channel);
        END IF;
        RETURN ids;
    END
    $$
    """,
    # One row an item; or, where there is none, one row without an id. `visited` is how many entries of the indexes were
    # read for that. What is looked at is, segment by segment, what lies beyond a (rank, id) and below another rank; and
    # of what is due, only what became so in the last `recent` milliseconds: NULL is everything.
    """
    CREATE FUNCTION {queue_items_claim}(
        place text, line text, wanted integer, lease bigint, request text, ranks smallint[], ids bigint[],
        ends smallint[], recent bigint, proceed boolean
    ) RETURNS TABLE (
        visited bigint, id bigint, body text, rank smallint, dedup_key text, group_key text, max_attempts bigint,
        attempts bigint, fence bigint, enqueued_at timestamptz, available_at timestamptz, leased_until timestamptz,
        error text
    ) LANGUAGE plpgsql {settings} AS $$
    #variable_conflict use_column
    DECLARE
        moment timestamptz;
        since timestamptz;
        is_due boolean;
        again bigint[];
    BEGIN
        IF NOT proceed THEN
            RETURN;
        END IF;
        visited := -pg_stat_get_xact_tuples_returned({ix_queue_items_ready_place})
            - pg_stat_get_xact_tuples_returned({ix_queue_items_due_place});
        -- The same claim may still be at work, on a connection that its client has given up.
        PERFORM pg_advisory_xact_lock(hashtextextended(request, {queue_items_seed}));
        moment := clock_timestamp();
        since := COALESCE(moment - recent * interval '1 millisecond', '-infinity');
        SELECT EXISTS (
            SELECT FROM {queue_items} i
            WHERE i.partition = place AND i.queue = line AND i.due_at > since AND i.due_at <= moment
        ), ARRAY(
            SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line AND i.request_id = request
                AND i.state = 1 AND i.leased_until > moment
        ) INTO is_due, again;
        WHILE is_due LOOP
            is_due := {queue_items_ripen}(place, line, since) = 2000;
        END LOOP;
        IF again <> '{{}}' THEN
            RETURN QUERY SELECT 0::bigint, i.id, i.body, i.rank, i.dedup_key, i.group_key, i.max_attempts, i.attempts,
                i.fence, i.enqueued_at, i.available_at, i.leased_until, i.error
            FROM {queue_items} i WHERE i.id = ANY (again) ORDER BY i.rank, i.id;
            RETURN;
        END IF;
        moment := clock_timestamp() + lease * interval '1 millisecond';
        RETURN QUERY WITH picked AS MATERIALIZED (
            SELECT p.id FROM unnest(COALESCE(ranks, '{{-32768}}'), COALESCE(ids, '{{0}}'), COALESCE(ends, '{{32767}}'))
                AS s (rank, id, before)
            CROSS JOIN LATERAL (
                SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line AND i.state = 0
                    AND (i.rank, i.id) > (s.rank, s.id) AND (i.rank, i.id) < (s.before, 0::bigint)
                ORDER BY i.rank, i.id LIMIT wanted FOR UPDATE SKIP LOCKED
            ) p LIMIT wanted
        ), taken AS (
            UPDATE {queue_items} i SET state = 1, attempts = i.attempts + 1, fence = i.fence + 1, request_id = request,
                leased_until = moment, due_at = moment
            FROM picked p WHERE i.id = p.id RETURNING i.*
        )
        SELECT visited + pg_stat_get_xact_tuples_returned({ix_queue_items_ready_place})
            + pg_stat_get_xact_tuples_returned({ix_queue_items_due_place}), i.id, i.body, i.rank, i.dedup_key,
            i.group_key, i.max_attempts, i.attempts, i.fence, i.enqueued_at, i.available_at, i.leased_until, i.error
        FROM taken i ORDER BY i.rank, i.id;
        IF NOT FOUND THEN
            visited := visited + pg_stat_get_xact_tuples_returned({ix_queue_items_ready_place})
                + pg_stat_get_xact_tuples_returned({ix_queue_items_due_place});
            RETURN NEXT;
        END IF;
    END
    $$
    """,
    """
    CREATE FUNCTION {queue_items_redrive}(place text, line text, wanted integer) RETURNS integer
    LANGUAGE plpgsql {settings} AS $$
    DECLARE
        given record;
        revived integer := 0;
        names text[];
    BEGIN
        FOR given IN
            SELECT i.id, i.group_key FROM {queue_items} i
            WHERE i.partition = place AND i.queue = line AND i.state = 4 ORDER BY i.id FOR UPDATE SKIP LOCKED
        LOOP
            EXIT WHEN revived >= wanted;
            UPDATE {queue_items} i SET
                state = CASE WHEN i.group_key IS NULL THEN 0 ELSE 3 END, attempts = 0, available_at = clock_timestamp()
            WHERE i.id = given.id AND (i.dedup_key IS NULL OR NOT EXISTS (
                SELECT FROM {queue_items} d WHERE d.partition = place AND d.queue = line
                    AND d.dedup_key = i.dedup_key AND d.dedup_key IS NOT NULL AND d.state < 4
            ));
            CONTINUE WHEN NOT FOUND;
            revived := revived + 1;
            names := names || given.group_key;
        END LOOP;
        names := array_remove(names, NULL);
        IF names <> '{{}}' THEN
            PERFORM {queue_items_lock}(place, array_fill(line, ARRAY[cardinality(names)]), names);
            PERFORM {queue_items_advance}(place, array_fill(line, ARRAY[cardinality(names)]), names);
        END IF;
        RETURN revived;
    END
    $$
    """,
    # Remove items of one kind, up to an id: of the states 0, 3, 4, or for 1 and 2 what has a time. By the index of the
    # kind: by that of the ids, which are those of all queues, one could look for long.
    """
    CREATE FUNCTION {queue_items_purge}(place text, line text, kind smallint, last bigint, wanted integer)
    RETURNS integer LANGUAGE plpgsql {settings} AS $$
    DECLARE
        doomed bigint[];
        names text[];
    BEGIN
        doomed := CASE kind
            WHEN 0 THEN ARRAY(SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line
                AND i.state = 0 AND i.id + 0 <= last LIMIT wanted FOR UPDATE)
            WHEN 3 THEN ARRAY(SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line
                AND i.state = 3 AND i.id + 0 <= last LIMIT wanted FOR UPDATE)
            WHEN 4 THEN ARRAY(SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line
                AND i.state = 4 AND i.id + 0 <= last LIMIT wanted FOR UPDATE)
            ELSE ARRAY(SELECT i.id FROM {queue_items} i WHERE i.partition = place AND i.queue = line
                AND i.due_at IS NOT NULL AND i.id + 0 <= last LIMIT wanted FOR UPDATE)
        END;
        SELECT array_agg(i.group_key) INTO names FROM {queue_items} i
        WHERE i.id = ANY (doomed) AND i.group_key IS NOT NULL AND i.state < 3;
        IF names IS NOT NULL THEN
            PERFORM {queue_items_lock}(place, array_fill(line, ARRAY[cardinality(names)]), names);
        END IF;
        DELETE FROM {queue_items} i WHERE i.id = ANY (doomed);
        IF names IS NOT NULL THEN
            PERFORM {queue_items_advance}(place, array_fill(line, ARRAY[cardinality(names)]), names);
        END IF;
        RETURN cardinality(doomed);
    END
    $$
    """,
)

SQLITE = (
    """
    CREATE TABLE {queue_items} (
        id INTEGER CONSTRAINT {pk_queue_items} PRIMARY KEY AUTOINCREMENT NOT NULL,
        "partition" TEXT NOT NULL,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        rank INTEGER NOT NULL,
        dedup_key TEXT,
        group_key TEXT,
        max_attempts INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        state INTEGER NOT NULL,
        request_id TEXT,
        enqueued_at INTEGER NOT NULL,
        available_at INTEGER NOT NULL,
        leased_until INTEGER,
        due_at INTEGER,
        error TEXT
    )
    """,
    *INDEXES,
)


def upgrade() -> None:
    is_postgresql = op.get_context().dialect.name == "postgresql"
    statements = POSTGRESQL if is_postgresql else SQLITE
    if _was_kept():
        op.rename_table(_table(f"{TABLE}_kept"), _table(TABLE), schema=_option("schema"))
        statements = tuple(each for each in statements if "CREATE FUNCTION" in each)
    names = _names()
    for statement in statements:
        op.execute(cleandoc(statement).format_map(names))


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        names = _names()
        for function, arguments in FUNCTIONS.items():
            op.execute(f"DROP FUNCTION {names[function]}({arguments})")
    # What waits to be done stays, under a name that nobody uses.
    op.rename_table(_table(TABLE), _table(f"{TABLE}_kept"), schema=_option("schema"))


def _was_kept() -> bool:
    # A script for later (--sql) cannot look; where the table was kept, it stops at the names of its indexes.
    if op.get_context().as_sql:
        return False
    return sa.inspect(op.get_bind()).has_table(_table(f"{TABLE}_kept"), schema=_option("schema"))


def _option(name: str) -> Any:
    return op.get_context().opts[name]


def _table(name: str) -> str:
    return str(_option("table_name")(name))


def _names() -> dict[str, str]:
    """What the statements call things, quoted."""
    quote = op.get_context().dialect.identifier_preparer.quote
    schema = _option("schema")
    place = "" if schema is None else f"{quote(schema)}."
    other = _option("other_name")
    names = {name: place + quote(_table(name)) for name in (TABLE, "partitions", *FUNCTIONS)}
    indexes = {name: quote(other(name)) for name in OTHERS}
    # Looked up when a function first runs, as all names in it are.
    places = {f"{name}_place": f"{_text(place + index)}::regclass" for name, index in indexes.items()}
    seed = f"{_text(names[TABLE])}::regclass::oid::bigint"
    sequence = place + quote(_table("queue_items_id_seq"))
    places |= {"queue_items_id_seq": sequence, "queue_items_ids": f"{_text(sequence)}::regclass"}
    return {**names, **indexes, **places, "queue_items_seed": seed, "settings": SETTINGS}


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
