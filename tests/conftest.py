"""Fixtures that all tests share."""

import os
from collections.abc import Iterator

import pytest
import redis

from tests.processes import RedisServer

# Tests run side by side, a process for each core: threads of torch beside them would only wait for
# one another. Read when torch is first imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read when shap is first imported, which then compiles for half a minute otherwise.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis server for the whole run."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis database."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url
