"""The contract as a pytest suite, for any backend.

Subclass `ContractSuite`, give it a `harness`, and every rule of docs/contract.md that one backend can show is tested:

    class TestMyBackend(ContractSuite):
        @pytest.fixture
        def harness(self, tmp_path):
            return MyHarness(tmp_path)

The harness (agentmem.testing.harness) must be a fresh store at each call. A test's name begins with its rule; `pitfall`
after that says that it guards against a fault that was reported against, or measured in, other systems. Tests marked
`slow` take a second or more and run by default. What takes more than one backend, or the end of a server, is shown
elsewhere: agentmem.testing.rules lists it.
"""

from __future__ import annotations

import agentmem.testing.assertions  # noqa: F401 - comes first: see there
from agentmem.testing.contract.barriers import Barriers
from agentmem.testing.contract.batches import Batches
from agentmem.testing.contract.corruption import Corruption
from agentmem.testing.contract.costs import Costs
from agentmem.testing.contract.counters import Counters
from agentmem.testing.contract.documents import Documents
from agentmem.testing.contract.expiry import Expiry
from agentmem.testing.contract.filters import Filters
from agentmem.testing.contract.fleets import Fleets
from agentmem.testing.contract.keys import Keys
from agentmem.testing.contract.learning import Learning
from agentmem.testing.contract.learning_names import LearningNames
from agentmem.testing.contract.learning_tables import LearningTables
from agentmem.testing.contract.learning_together import LearningTogether
from agentmem.testing.contract.lease_fences import LeaseFences
from agentmem.testing.contract.leases import Leases
from agentmem.testing.contract.life import Life
from agentmem.testing.contract.limits import Limits
from agentmem.testing.contract.linearizability import Linearizability
from agentmem.testing.contract.listing import Listing
from agentmem.testing.contract.loading import Loading
from agentmem.testing.contract.models import Models
from agentmem.testing.contract.namespaces import Namespaces
from agentmem.testing.contract.partitions import Partitions
from agentmem.testing.contract.patterns import Patterns
from agentmem.testing.contract.processes import Processes
from agentmem.testing.contract.purging import Purging
from agentmem.testing.contract.queue_attempts import QueueAttempts
from agentmem.testing.contract.queue_batches import QueueBatches
from agentmem.testing.contract.queue_names import QueueNames
from agentmem.testing.contract.queue_order import QueueOrder
from agentmem.testing.contract.queue_processes import QueueProcesses
from agentmem.testing.contract.queue_repeats import QueueRepeats
from agentmem.testing.contract.queue_work import QueueWork
from agentmem.testing.contract.queues import Queues
from agentmem.testing.contract.refusals import Refusals
from agentmem.testing.contract.restarts import Restarts
from agentmem.testing.contract.scopes import Scopes
from agentmem.testing.contract.searching import Searching
from agentmem.testing.contract.session_life import SessionLife
from agentmem.testing.contract.sessions import Sessions
from agentmem.testing.contract.statistics import Statistics
from agentmem.testing.contract.threads import Threads
from agentmem.testing.contract.transactions import Transactions
from agentmem.testing.contract.value_indexes import ValueIndexes
from agentmem.testing.contract.values import Values
from agentmem.testing.contract.versions import Versions
from agentmem.testing.contract.watching import Watching
from agentmem.testing.contract.writing import Writing


class ContractSuite(
    Keys,
    Patterns,
    Namespaces,
    Partitions,
    Scopes,
    Values,
    Limits,
    Models,
    Writing,
    Versions,
    Counters,
    Documents,
    Batches,
    Loading,
    Transactions,
    Expiry,
    Purging,
    Searching,
    Listing,
    Filters,
    ValueIndexes,
    Statistics,
    Corruption,
    Refusals,
    Costs,
    Threads,
    Linearizability,
    Processes,
    Life,
    Restarts,
    Leases,
    LeaseFences,
    Sessions,
    SessionLife,
    Queues,
    QueueOrder,
    QueueAttempts,
    QueueBatches,
    QueueRepeats,
    QueueNames,
    QueueProcesses,
    QueueWork,
    Fleets,
    Barriers,
    Watching,
    Learning,
    LearningTogether,
    LearningNames,
    LearningTables,
):
    """All parts of the contract."""


PARTS = ContractSuite.__bases__

__all__ = ["PARTS", "ContractSuite"]
