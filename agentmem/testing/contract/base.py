"""The fixtures that all parts of the suite share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness


class Contract:
    """The base of every part: give `harness` in a subclass, use `memory` in tests."""

    @pytest.fixture
    def harness(self) -> Harness:
        """A fresh store for one test."""
        raise NotImplementedError("override the fixture `harness` so that it returns a Harness of your backend")

    @pytest.fixture
    def memory(self, harness: Harness) -> Iterator[Memory]:
        """A handle on the store's default partition, closed after the test."""
        with harness.connect() as memory:
            yield memory

    @pytest.fixture
    def shared(self, harness: Harness) -> Harness:
        """The harness, in tests that open a second handle."""
        if not harness.shared:
            pytest.skip("each handle has a store of its own here")
        return harness

    @pytest.fixture
    def url(self, harness: Harness) -> str:
        """The store's address, in tests that start processes."""
        if not harness.multiprocess or harness.url is None:
            pytest.skip("the store lives in one process")
        return harness.url
