"""What a step of a queue costs: round trips to PostgreSQL, counted on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem import Ack, Append, Enqueue, Increment, LeaseLost, migrations
from agentmem.testing.faults import FaultProxy
from tests.sql.test_round_trips import WARM_UP, RoundTrips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.coordination.queue import Queue
    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

pytestmark = pytest.mark.postgres


def held(queue: Queue, number: int = 1) -> list[agentmem.Job]:
    queue.put_many(range(number))
    return queue.claim(number)


#: What is done beforehand, and then with what that gave.
CALLS: dict[str, tuple[Callable[[Queue], object], Callable[[Queue, Memory, list[agentmem.Job]], object]]] = {
    "put": (lambda q: [], lambda q, m, jobs: q.put(1)),
    "put with a delay": (lambda q: [], lambda q, m, jobs: q.put(1, delay=60, priority=3)),
    "put with a dedup key": (lambda q: [], lambda q, m, jobs: q.put(1, dedup_key="same")),
    "put into a group": (lambda q: [], lambda q, m, jobs: q.put(1, group="g")),
    "put_many": (lambda q: [], lambda q, m, jobs: q.put_many(range(1_000))),
    "claim": (lambda q: q.put(1), lambda q, m, jobs: q.claim()),
    "claim of many": (lambda q: q.put_many(range(200)), lambda q, m, jobs: q.claim(200)),
    "claim of nothing": (lambda q: q.purge(), lambda q, m, jobs: q.claim()),
    "ack": (held, lambda q, m, jobs: q.ack(*jobs)),
    "ack of many": (lambda q: held(q, 100), lambda q, m, jobs: q.ack(*jobs)),
    "ack in a group": (lambda q: [q.put(1, group="h"), q.claim(9)][1], lambda q, m, jobs: q.ack(*jobs)),
    "nack": (held, lambda q, m, jobs: q.nack(*jobs)),
    "extend": (held, lambda q, m, jobs: q.extend(*jobs)),
    "bury": (held, lambda q, m, jobs: q.bury(*jobs)),
    "ack_and_claim": (held, lambda q, m, jobs: q.ack_and_claim(jobs)),
    "refused": (held, lambda q, m, jobs: refused(q, jobs)),
    "enqueue and increment": (lambda q: [], lambda q, m, jobs: m.apply([Enqueue("wire", 1), Increment("n")])),
    "ack and append": (held, lambda q, m, jobs: m.apply([Ack(jobs[0]), Append("list", 1, limit=5)])),
}
MORE = {
    "refused": (2, "the ack, and the one that is refused"),
    "enqueue and increment": (3, "the queue's part, the entry's, and the commit"),
    "ack and append": (4, "the queue's part, the two of the entry's, and the commit"),
}


def refused(queue: Queue, jobs: list[agentmem.Job]) -> None:
    queue.ack(*jobs)
    with pytest.raises(LeaseLost):
        queue.ack(*jobs)


@pytest.fixture(scope="module")
def connected(postgres_server: PostgresServer) -> Iterator[tuple[Memory, RoundTrips]]:
    trips = RoundTrips()
    url = postgres_server.new_database()
    migrations.upgrade(url)
    with FaultProxy(url, trips) as proxy, agentmem.connect(proxy.url, pool_size=1) as memory:
        yield memory, trips
    postgres_server.drop_database(url)


@pytest.mark.parametrize("name", CALLS)
def test_round_trips_of_a_queue(connected: tuple[Memory, RoundTrips], name: str) -> None:
    memory, trips = connected
    queue = memory.queue("wire", lease=3600)
    queue.purge()
    prepare, call = CALLS[name]
    costs = []
    for _ in range(WARM_UP + 3):
        jobs = prepare(queue)
        before = trips.total
        call(queue, memory, jobs if isinstance(jobs, list) else [])
        costs.append(trips.total - before)
    assert min(costs[WARM_UP:]) == MORE.get(name, (1, ""))[0]


def test_what_is_due_costs_no_round_trip_more(connected: tuple[Memory, RoundTrips]) -> None:
    memory, trips = connected
    queue = memory.queue("due", lease=3600)
    costs = []
    cost = 0
    for number in range(WARM_UP + 1):
        queue.put(number, delay=0.001)
        jobs: list[agentmem.Job] = []
        while not jobs:
            before = trips.total
            jobs = queue.claim()
            cost = trips.total - before
        costs.append(cost)
        queue.ack(*jobs)
    assert costs[-1] == 1
