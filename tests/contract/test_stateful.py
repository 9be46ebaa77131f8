"""The state machines, of entries and of queues, on every backend. AGENTMEM_EXAMPLES=1000 searches longer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from agentmem.testing.harnesses import PostgresHarness, SQLiteFileHarness, SQLiteMemoryHarness
from agentmem.testing.queue_stateful import queue_machine
from agentmem.testing.redis_harness import RedisHarness
from agentmem.testing.stateful import state_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hypothesis.stateful import RuleBasedStateMachine

    from agentmem.testing.harness import Harness
    from agentmem.testing.redis_server import RedisServer

    Machine = Callable[[Callable[[], Harness]], type[RuleBasedStateMachine]]

# A failing example is shrunk, which takes longer than it took to find.
pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("AGENTMEM_EXAMPLES", "60"))
STEPS = 30


@pytest.fixture(params=[state_machine, queue_machine], ids=["entries", "queues"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """What makes the machine for a backend."""
    return request.param


def drive(machine: Machine, factory: Callable[[], Harness]) -> None:
    """Run a machine."""
    bounded = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine(factory), settings=bounded)


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[Path]:
    """Directories that do not exist yet, one for each example."""

    def make() -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            directory = tmp_path / str(number)
            directory.mkdir()
            yield directory

    return make()


def test_the_model_agrees_with_a_sqlite_file(machine: Machine, directories: Any) -> None:
    drive(machine, lambda: SQLiteFileHarness(next(directories)))


def test_the_model_agrees_with_sqlite_in_memory(machine: Machine) -> None:
    drive(machine, SQLiteMemoryHarness)


def test_the_model_agrees_with_postgresql(machine: Machine, postgres_harness: PostgresHarness) -> None:
    def fresh() -> Harness:
        postgres_harness.empty()
        return postgres_harness

    drive(machine, fresh)


def drive_on_redis(machine: Machine, server: RedisServer) -> None:
    stores: list[str] = []

    def fresh() -> Harness:
        while stores:
            server.drop_store(stores.pop())
        stores.append(server.new_store())
        return RedisHarness(stores[0])

    try:
        drive(machine, fresh)
    finally:
        while stores:
            server.drop_store(stores.pop())


def test_the_model_agrees_with_redis(machine: Machine, redis_server: RedisServer) -> None:
    drive_on_redis(machine, redis_server)


def test_the_model_agrees_with_the_other_redis(machine: Machine, other_redis: RedisServer) -> None:
    drive_on_redis(machine, other_redis)
