"""Models and images that numeric tests share."""

import pytest
from torch import Tensor

from expound_worker.models.model import Model
from tests.numeric import models


@pytest.fixture(scope="session")
def efficientnet() -> Model:
    return models.efficientnet_lite0()


@pytest.fixture(scope="session")
def cifar() -> Model:
    return models.cifar_net()


@pytest.fixture
def photo(efficientnet: Model) -> Tensor:
    """`chelsea` for EfficientNet-Lite0: (3, 224, 224)."""
    return models.cat(efficientnet)


@pytest.fixture
def thumbnail(cifar: Model) -> Tensor:
    """`chelsea` for the CIFAR network: (3, 32, 32)."""
    return models.cat(cifar)
