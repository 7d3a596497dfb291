"""What a model gives, checked at every forward pass."""

from functools import partial
from typing import Any

from torch import Tensor, nn


class OutputError(Exception):
    """A model has given something else than its logits."""


def check_output(module: nn.Module, class_count: int) -> None:
    """Makes every forward pass raise OutputError unless it gives logits (N, class_count).

    A model that gives more or fewer for some inputs would otherwise be explained by the wrong ones.
    """
    module.register_forward_hook(partial(_check, class_count))


def _check(class_count: int, _module: nn.Module, inputs: tuple[Any, ...], logits: Any) -> None:
    wanted = (len(inputs[0]), class_count)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise OutputError(
            f"the model gave {given} instead of logits {wanted}; its forward must give one row an "
            "input and one column a class, whatever the inputs"
        )
