"""Models and images that numeric tests share."""

from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from expound_worker.models.model import Model
from tests.numeric import cuts, models
from tests.numeric.classifiers import DOZEN


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small problems are far slower on many threads, above all on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def efficientnet() -> Model:
    return models.efficientnet_lite0()


@pytest.fixture(scope="session")
def cifar() -> Model:
    return models.cifar_net()


@pytest.fixture(scope="session", params=DOZEN)
def classifier(request: pytest.FixtureRequest) -> cuts.Classifier:
    """Each of the dozen in turn; one at a time is held, whatever the number of tests."""
    return cuts.load(request.param)


@pytest.fixture
def photo(efficientnet: Model) -> Tensor:
    """`chelsea` for EfficientNet-Lite0: (3, 224, 224)."""
    return models.cat(efficientnet)


@pytest.fixture
def thumbnail(cifar: Model) -> Tensor:
    """`chelsea` for the CIFAR network: (3, 32, 32)."""
    return models.cat(cifar)
