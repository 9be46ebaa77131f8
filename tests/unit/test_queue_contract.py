"""The parts of the contract about queues, on the reference in a dict: what a native one is compared with."""

from __future__ import annotations

from typing import Any

import pytest

import agentmem
from agentmem.testing.contract.queue_attempts import QueueAttempts
from agentmem.testing.contract.queue_batches import QueueBatches
from agentmem.testing.contract.queue_names import QueueNames
from agentmem.testing.contract.queue_order import QueueOrder
from agentmem.testing.contract.queue_processes import QueueProcesses
from agentmem.testing.contract.queue_repeats import QueueRepeats
from agentmem.testing.contract.queue_work import QueueWork
from agentmem.testing.contract.queues import Queues
from agentmem.testing.harness import Harness
from tests.unit.dict_repository import DictRepository


class DictHarness(Harness):
    def __init__(self) -> None:
        self.repository = DictRepository()

    def connect(self, **options: Any) -> agentmem.Memory:
        for name in ("pool_size", "pool_timeout"):
            options.pop(name, None)
        return agentmem.connect(self.repository, **options)

    def corrupt(self, partition: str, key: str) -> None:
        self.repository.spoil(key, partition=partition)

    def stored(self, partition: str) -> int:
        return self.repository.stored(partition)


class TestReferenceQueues(
    Queues, QueueOrder, QueueAttempts, QueueBatches, QueueRepeats, QueueNames, QueueProcesses, QueueWork
):
    @pytest.fixture
    def harness(self) -> DictHarness:
        return DictHarness()
