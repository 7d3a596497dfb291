"""A fake service and clients of it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from expound_client import AsyncClient, Client
from tests.client.fake_service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as running:
        yield running


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address, timeout_s=10) as connected:
        yield connected


@pytest.fixture
async def async_client(service: FakeService) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.address, timeout_s=10) as connected:
        yield connected
