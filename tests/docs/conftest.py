"""What pages and examples run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentmem.testing.servers import RedisServer


@pytest.fixture
def redis_client_url(disposable_redis_server: RedisServer) -> str:
    """The URL of a Redis of this test's own, for clients of redis-py too, which know no prefix of a store."""
    disposable_redis_server.start()
    return disposable_redis_server.url()
