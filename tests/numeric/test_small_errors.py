"""Standard errors that are likely too small are warned of, and others are not."""

import pytest
import torch
from torch import Tensor, nn

from expound.v1 import method_pb2 as m
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.lime import Lime
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.models.model import Model
from tests.numeric.models import ignore, resolved, with_module

GRID = m.Segmentation(grid=m.GridSegmentation(rows=3, columns=3))
TOO_SMALL = "the standard errors are likely too small: "


class Sure(nn.Module):
    """Gives its first class to a logit around a constant, which each part of the image changes."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant
        self.weights = torch.linspace(-1, 1, 16)

    def forward(self, inputs: Tensor) -> Tensor:
        cells = nn.functional.adaptive_avg_pool2d(inputs[:, :1], 4).flatten(1)
        logits = self.constant + cells @ self.weights + cells[:, :8].prod(dim=1)
        return torch.stack([logits, torch.zeros_like(logits)], dim=1)


def warnings(name: str, constant: float, n_samples: int, model: Model) -> list[str]:
    network, image = with_module(model, Sure(constant)), torch.ones(3, 32, 32)
    match name:
        case "lime":
            lime = resolved(m.Lime(n_samples=n_samples, segmentation=GRID))
            (answer,) = Lime().attribute(network, image, [0], lime, 0, ignore)
        case "kernel_shap":
            shap = resolved(m.KernelShap(n_samples=n_samples, segmentation=GRID))
            (answer,) = KernelShap().attribute(network, image, [0], shap, 0, ignore)
        case _:
            orders = resolved(m.PermutationShap(n_samples=n_samples, segmentation=GRID))
            (answer,) = PermutationShap().attribute(network, image, [0], orders, 0, ignore)
    return answer.warnings


each_method = pytest.mark.parametrize("name", ["kernel_shap", "lime"])


@pytest.mark.parametrize("name", ["kernel_shap", "lime", "permutation_shap"])
@pytest.mark.parametrize(("constant", "bound"), [(-8, 0), (8, 1)])
def test_probabilities_that_are_both_near_an_end_are_warned_of(
    constant: float, bound: int, name: str, cifar: Model
) -> None:
    assert warnings(name, constant, 100, cifar) == [
        f"{TOO_SMALL}image and baseline both have a probability within 0.01 of {bound}; raise "
        "n_samples"
    ]


@each_method
@pytest.mark.parametrize("n_samples", [2, 12])
def test_few_evaluations_are_warned_of(n_samples: int, name: str, cifar: Model) -> None:
    (warning,) = warnings(name, 0, n_samples, cifar)
    assert warning.startswith(TOO_SMALL)
    assert warning.endswith("evaluations are few for 9 segments; raise n_samples")


@each_method
def test_both_are_one_warning(name: str, cifar: Model) -> None:
    (warning,) = warnings(name, -8, 12, cifar)
    assert "for 9 segments, and image and baseline both" in warning


@each_method
@pytest.mark.parametrize(("constant", "n_samples"), [(0, 100), (0, 20), (-8, 512)])
def test_others_are_not(constant: float, n_samples: int, name: str, cifar: Model) -> None:
    assert warnings(name, constant, n_samples, cifar) == []
