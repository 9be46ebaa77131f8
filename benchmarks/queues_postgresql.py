"""Work queues on PostgreSQL: by hand, and the SQL of two peers, each on prepared statements of one connection.

The peers' SQL is run without the peers' clients: that is what their servers do at best. Procrastinate's is its own, as
its wheel brings it; its jobs are claimed one at a time, and deleted when they are done. pgmq's is written down here in
the shape of its functions, which put a statement together at each call.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.types.json import set_json_loads

from benchmarks.queues import QueueContender

_PGMQ = """
    CREATE TABLE q_bench (
        msg_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        read_ct int DEFAULT 0 NOT NULL,
        enqueued_at timestamptz DEFAULT now() NOT NULL,
        vt timestamptz NOT NULL,
        message jsonb
    );
    CREATE INDEX ON q_bench (vt ASC);
    CREATE TYPE message_record AS (
        msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb
    );
    CREATE FUNCTION pgmq_send_batch(queue_name text, msgs jsonb[], delay integer) RETURNS SETOF bigint AS $$
    BEGIN
        RETURN QUERY EXECUTE format(
            'INSERT INTO %I (vt, message) SELECT clock_timestamp() + %L, unnest($1) RETURNING msg_id',
            'q_' || queue_name, make_interval(secs => delay)
        ) USING msgs;
    END $$ LANGUAGE plpgsql;
    CREATE FUNCTION pgmq_read(queue_name text, vt integer, qty integer) RETURNS SETOF message_record AS $$
    BEGIN
        RETURN QUERY EXECUTE format(
            'WITH cte AS (SELECT msg_id FROM %1$I WHERE vt <= clock_timestamp() ORDER BY msg_id ASC LIMIT $1 '
            'FOR UPDATE SKIP LOCKED) UPDATE %1$I m SET vt = clock_timestamp() + %2$L, read_ct = read_ct + 1 FROM cte '
            'WHERE m.msg_id = cte.msg_id RETURNING m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.message',
            'q_' || queue_name, make_interval(secs => vt)
        ) USING qty;
    END $$ LANGUAGE plpgsql;
    CREATE FUNCTION pgmq_delete(queue_name text, msg_ids bigint[]) RETURNS SETOF bigint AS $$
    BEGIN
        RETURN QUERY EXECUTE format('DELETE FROM %I WHERE msg_id = ANY ($1) RETURNING msg_id', 'q_' || queue_name)
            USING msg_ids;
    END $$ LANGUAGE plpgsql;
"""


class _Connected(QueueContender):
    def __init__(self, url: str) -> None:
        self._db: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)

    def _run(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement.encode(), parameters, prepare=True).fetchall()

    def close(self) -> None:
        self._db.close()


class ByHand(_Connected):
    """One table, SKIP LOCKED, a lease that nothing ends: no fences, groups, dedup, attempts or delays."""

    name = "SQL by hand"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._db.execute(
            "CREATE TABLE raw_queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL, "
            "leased_until timestamptz)"
        )
        self._db.execute("CREATE INDEX ON raw_queue (id) WHERE leased_until IS NULL")

    def put(self, values: list[Any]) -> None:
        bodies = [orjson.dumps(each).decode() for each in values]
        self._run("INSERT INTO raw_queue (body) SELECT unnest(%s::text[]) RETURNING id", bodies)

    def work(self, size: int) -> int:
        rows = self._run(
            "WITH picked AS MATERIALIZED (SELECT id FROM raw_queue WHERE leased_until IS NULL ORDER BY id LIMIT %s "
            "FOR UPDATE SKIP LOCKED) UPDATE raw_queue q SET leased_until = clock_timestamp() + interval '1 hour' "
            "FROM picked p WHERE q.id = p.id RETURNING q.id, q.body",
            size,
        )
        done = [orjson.loads(body) for _, body in rows]
        self._run("DELETE FROM raw_queue WHERE id = ANY(%s) RETURNING id", [number for number, _ in rows])
        return len(done)


class Pgmq(_Connected):
    """pgmq's send_batch, read and delete: as in its SQL, statements that are put together at each call."""

    name = "pgmq's SQL"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        set_json_loads(orjson.loads, self._db)  # psycopg's own JSON is nobody's limit
        self._db.execute(_PGMQ.encode())

    def put(self, values: list[Any]) -> None:
        bodies = [orjson.dumps(each).decode() for each in values]
        self._run("SELECT * FROM pgmq_send_batch('bench', %s::jsonb[], 0)", bodies)

    def work(self, size: int) -> int:
        rows = self._run("SELECT * FROM pgmq_read('bench', 3600, %s)", size)
        self._run("SELECT * FROM pgmq_delete('bench', %s)", [row[0] for row in rows])
        return len([row[4] for row in rows])


class Procrastinate(_Connected):
    """Procrastinate's functions; a job is deleted when it is done."""

    name = "Procrastinate's SQL"
    most = 1
    needs = "procrastinate"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        set_json_loads(orjson.loads, self._db)
        module = find_spec("procrastinate")
        assert module is not None
        assert module.origin is not None
        self._db.execute(Path(module.origin).with_name("sql").joinpath("schema.sql").read_bytes())
        self._worker = self._run("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")[0][0]

    def put(self, values: list[Any]) -> None:
        bodies = [orjson.dumps(each).decode() for each in values]
        self._run(
            "SELECT procrastinate_defer_jobs_v1(ARRAY(SELECT ROW('bench', 'task', 0, NULL, NULL, body, NULL)"
            "::procrastinate_job_to_defer_v1 FROM unnest(%s::jsonb[]) AS body))",
            bodies,
        )

    def work(self, _: int) -> int:
        [row] = self._run(
            "SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, "
            "worker_id FROM procrastinate_fetch_job_v2(%s::varchar[], %s)",
            ["bench"],
            self._worker,
        )
        self._run("SELECT procrastinate_finish_job_v1(%s, 'succeeded', true)", row[0])
        return 1


MAKERS = ByHand, (Pgmq, Procrastinate)
