"""Batches lock all of their keys in one order, those that are there and those that are missing (R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

import agentmem
from agentmem import Append, Delete, Increment, Put, Touch
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.operations import Operation

pytestmark = pytest.mark.postgres

#: On a key that is there and one that is not.
BATCHES: dict[str, Callable[[str, str], list[Operation]]] = {
    "increment and put": lambda there, missing: [Increment(there), Put(missing, 1)],
    "touch, put and append": lambda there, missing: [Touch(there, 60), Put(missing, 2), Append(f"{there}/list", 1)],
    "delete and delete": lambda there, missing: [Delete(there), Delete(missing)],
    "touch and delete": lambda there, missing: [Touch(missing, 60), Delete(there)],
}


def deadlocks(url: str) -> int:
    """As the server has counted them in sessions that have ended."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("name", BATCHES)
def test_r15_pitfall_batches_beside_a_put_of_both_keys_do_not_deadlock(postgres_schema_url: str, name: str) -> None:
    """A deadlock would only show as a second's delay: its victim is tried again."""
    with psycopg.connect(postgres_schema_url, autocommit=True) as administrator:
        database = administrator.info.dbname
        administrator.execute(f"ALTER DATABASE \"{database}\" SET deadlock_timeout = '10ms'".encode())
    with agentmem.connect(postgres_schema_url) as memory:
        for number in range(100):
            there, missing = f"{number}/a", f"{number}/b"
            memory.put(there, 1)
            batch = BATCHES[name](there, missing)

            def work(index: int, batch: list[Operation] = batch, both: tuple[str, str] = (there, missing)) -> None:
                memory.apply(batch if index % 2 else [Put(key, 1) for key in both])

            run_threads(4, work)
    assert deadlocks(postgres_schema_url) == 0
