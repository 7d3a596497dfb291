"""The classifiers of torchvision as tests run them, and how exact DeepLIFT is on all of them.

``python -m tests.numeric.classifiers [NAME...]`` prints the completeness error of each.
"""

import sys
import time
from dataclasses import dataclass

import torch
import torchvision.models
from torch import Tensor, nn

from expound_worker.propagation.deep_lift.propagate import propagate

DOZEN = (
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "densenet121",
    "inception_v3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "shufflenet_v2_x1_0",
    "vit_b_32",
    "swin_t",
)
_SIZES = {
    "alexnet": 96,
    "googlenet": 96,
    "inception_v3": 96,
    "maxvit_t": 224,
    "squeezenet1_0": 96,
    "squeezenet1_1": 96,
    "vit_b_32": 96,
    "vit_h_14": 56,
    "vit_l_32": 96,
}
"""Height and width of inputs for networks that do not take the usual one."""
_USUAL_SIZE = 64
_MOST_PARAMETERS = 60e6


@dataclass(frozen=True)
class Exactness:
    """How DeepLIFT did on one input: errors relative to the difference of the scores."""

    completeness_error: float
    output: float
    baseline_output: float
    seconds: float


def classifiers(most_parameters: float = _MOST_PARAMETERS) -> list[str]:
    """All classifiers of torchvision with no more parameters, the smallest first."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    found = [name for name in names if _parameter_count(name) <= most_parameters]
    return sorted(found, key=_parameter_count)


def build(name: str, seed: int = 0) -> tuple[nn.Module, int]:
    """A classifier with random weights, and the height and width of its inputs.

    BatchNorm has the statistics of one batch of noise, or the logits would be degenerate; so would
    be those of a ViT, whose last layer torchvision sets to zero. The noise has contrasts
    from 0 to twice that of the inputs explained: the logits of deep networks explode for images
    outside of what their statistics know, blank ones too (calibrated on noise of one contrast, the
    gradient of efficientnet_b6 at zeros changes by half where the zeros change by 1e-7).
    """
    size = _SIZES.get(name, _USUAL_SIZE)
    arguments: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False
    if name.startswith("vit_"):
        arguments["image_size"] = size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
        module.eval().requires_grad_(False)
        for layer in module.modules():
            if isinstance(layer, nn.Linear) and not layer.weight.any():
                layer.weight.normal_(std=0.02)
        contrasts = torch.linspace(0, 2, 8)[:, None, None, None]
        _calibrate(module, contrasts * torch.randn(8, 3, size, size))
    return module, size


def deep_lift_exactness(module: nn.Module, size: int, dtype: torch.dtype) -> Exactness:
    """Runs DeepLIFT on noise against zeros, for the class of the highest score."""
    module.to(dtype)
    inputs = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        output = module(inputs)
        target = output.argmax(1)
        baseline_output = float(module(torch.zeros_like(inputs))[0, target])
    start = time.perf_counter()
    found = propagate(module, inputs, torch.zeros_like(inputs), target)
    seconds = time.perf_counter() - start
    difference = float(output[0, target]) - baseline_output
    error = abs(float(found.attributions.double().sum()) - difference) / abs(difference)
    return Exactness(error, float(output[0, target]), baseline_output, seconds)


def _calibrate(module: nn.Module, noise: Tensor) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not layers:
        return
    for layer in layers:
        layer.train().reset_running_stats()
        layer.momentum = None
    with torch.inference_mode():
        module(noise)
    module.eval()


def _parameter_count(name: str) -> int:
    count: int = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    return count


def main(names: list[str]) -> None:
    """Prints name, float64 error, float32 error and seconds of each."""
    for name in names or classifiers():
        module, size = build(name)
        double, single = (
            deep_lift_exactness(module, size, dtype) for dtype in (torch.float64, torch.float32)
        )
        print(
            f"{name:20} {double.completeness_error:8.1e} {single.completeness_error:8.1e} "
            f"{single.seconds:6.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
