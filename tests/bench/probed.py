"""A service whose models are probed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expound_client import Client, Support
from tests.processes import wait_until
from tests.service import MODELS, Service


@contextmanager
def probed_service(models: Path = MODELS) -> Iterator[Service]:
    """Starts one, whose worker is done with what it does behind its first requests."""
    with Service(models) as service:
        wait_until(lambda: _probed(service), "the models being probed", 300)
        yield service


def _probed(service: Service) -> bool:
    with Client(service.address) as client:
        return all(
            capability.support is not Support.UNSPECIFIED
            for model in client.models()
            for capability in model.capabilities.values()
        )
