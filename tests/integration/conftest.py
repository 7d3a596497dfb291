"""One whole service for all integration tests."""

from collections.abc import Iterator

import pytest

from expound_client import Client
from tests.service import Service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A running service with the tests' models."""
    with Service() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """A client of that service."""
    with Client(service.address) as connected:
        yield connected
