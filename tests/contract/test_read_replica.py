"""The contract through a handle that reads from a standby: whatever it has written, it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import agentmem
from agentmem.memory import Memory
from agentmem.testing.contract import ContractSuite
from agentmem.testing.harnesses import PostgresHarness
from agentmem.testing.postgres_pair import PostgresPair
from agentmem.testing.servers import local_postgres_binaries, wheel_postgres_binaries

PROGRAMS = [*wheel_postgres_binaries(), *local_postgres_binaries()]


class ReadingFromStandby(PostgresHarness):
    """A primary to write to and its standby to read from; who changes the store from outside waits until both have it.

    Two handles may see each other's writes late, so there is one.
    """

    shared: ClassVar[bool] = False
    multiprocess: ClassVar[bool] = False

    def __init__(self, pair: PostgresPair, url: str) -> None:
        super().__init__(url)
        self._pair = pair
        self._read_url = pair.standby.url(url.rpartition("/")[2])

    def connect(self, **options: Any) -> Memory:
        """As Harness says."""
        return agentmem.connect(self.url, read_url=self._read_url, **options)

    def _execute(self, statement: str, **parameters: object) -> Any:
        result = super()._execute(statement, **parameters)
        self._pair.wait_until_in_step()
        return result


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    """Both on this machine."""
    with PostgresPair(PROGRAMS[0]) as pair:
        yield pair


@pytest.fixture(scope="module")
def store(pair: PostgresPair) -> Iterator[ReadingFromStandby]:
    """A database with our schema."""
    url = pair.primary.new_database()
    agentmem.connect(url, create="always").close()
    pair.wait_until_in_step()
    harness = ReadingFromStandby(pair, url)
    yield harness
    harness._own.dispose()
    pair.primary.drop_database(url)


@pytest.mark.variant
@pytest.mark.slow
@pytest.mark.postgres
class TestReadingFromStandby(ContractSuite):
    """All rules that one handle can show."""

    # A server that is somebody else's cannot be given a standby.
    __test__ = bool(PROGRAMS)

    @pytest.fixture
    def harness(self, store: ReadingFromStandby) -> ReadingFromStandby:
        """The store, emptied."""
        store.empty()
        return store
