"""Inputs of networks that write into what they are given."""

from typing import Any

import torch
from torch import Tensor, nn


def spare_inputs(module: nn.Module, inputs: Tensor) -> None:
    """Gives a network that writes into its inputs a copy of them, at every forward pass from now.

    ``x -= mean`` would otherwise change the caller's image for whatever is computed next, and
    cannot be differentiated.

    Args:
        module: the network, in eval mode.
        inputs: (N, C, H, W) to find that out with; it may write into them.
    """
    version = inputs._version
    with torch.no_grad():
        module(inputs)
    if inputs._version != version:
        module.register_forward_pre_hook(_copied)


def _copied(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
    return (inputs[0].clone(),)
