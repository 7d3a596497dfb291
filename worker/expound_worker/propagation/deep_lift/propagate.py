"""DeepLIFT: the differences of a score to that of a baseline, handed down to the input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from expound_worker.propagation.deep_lift.mode import PairMode
from expound_worker.propagation.deep_lift.rules import RULES


@dataclass(frozen=True)
class Differences:
    """What DeepLIFT found for N inputs.

    Attributes:
        attributions: (N, C, H, W), multiplier times difference of each element.
        outputs: (N,) score at each input.
        baseline_outputs: (N,) score at each baseline.
    """

    attributions: Tensor
    outputs: Tensor
    baseline_outputs: Tensor


def propagate(module: nn.Module, inputs: Tensor, baselines: Tensor, targets: Tensor) -> Differences:
    """Runs DeepLIFT with the rescale rule.

    Args:
        module: the network, in eval mode, its parameters frozen: (N, C, H, W) to (N, classes).
        inputs: (N, C, H, W).
        baselines: (N, C, H, W), one of each input.
        targets: (N,) int64, class of each input.

    Raises:
        MethodError: the network does something that cannot be followed.
    """
    pairs = PairMode(RULES)
    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        pairs.pair(leaf, torch.empty_like(inputs).copy_(baselines))
        with pairs:
            logits = module(leaf)
        columns = targets[:, None]
        outputs = logits.gather(1, columns)[:, 0]
        baseline_outputs = pairs.baseline(logits).gather(1, columns)[:, 0]
        (multipliers,) = torch.autograd.grad(outputs.sum(), leaf)
    return Differences(multipliers * (inputs - baselines), outputs.detach(), baseline_outputs)
