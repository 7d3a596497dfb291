"""DeepLIFT beside Captum's, and beside a forward and a backward pass of a batch of two."""

import warnings

import captum.attr
import torch
from torch import Tensor, nn

from expound_worker.propagation.deep_lift.propagate import propagate
from tests.bench.table import Row, Table, columns, in_turns, median, milliseconds
from tests.numeric.classifiers import build
from tests.numeric.models import cifar_net, cifar_of_modules
from tests.service import Service


def run(service: Service) -> list[Table]:
    """One row a network that Captum can follow; in this process, without the service."""
    table = Table("deep_lift", "DeepLIFT of one input, milliseconds")
    cifar = cifar_of_modules(cifar_net()).eval().requires_grad_(False)
    table.rows.append(_row("cifar", cifar, 32, rounds=100))
    table.rows.append(_row("vgg11_bn", build("vgg11_bn")[0], 224, rounds=10))
    return [table]


def _row(name: str, module: nn.Module, size: int, rounds: int) -> Row:
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    target, baseline = torch.tensor([1]), torch.zeros_like(image)
    captums = captum.attr.DeepLift(module)

    def theirs() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Tensor = captums.attribute(image.clone().requires_grad_(), target=target)
        return found

    def plain() -> None:
        both = torch.cat([image, baseline]).requires_grad_()
        torch.autograd.grad(module(both)[:, 1].sum(), both)

    measured = in_turns(
        {
            "ours": lambda: propagate(module, image, baseline, target),
            "captum": theirs,
            "plain": plain,
        },
        rounds,
    )
    captums_ms, ours_ms, plain_ms = (
        milliseconds(measured[key]) for key in ("captum", "ours", "plain")
    )
    return {
        "model": name,
        **columns("plain", "ms", plain_ms),
        **columns("ours", "ms", ours_ms),
        **columns("Captum", "ms", captums_ms),
        "ours / plain": median(ours_ms) / median(plain_ms),
        "ours / Captum": median(ours_ms) / median(captums_ms),
    }
