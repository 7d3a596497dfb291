"""How forward passes without gradients are run: as fast as the network allows, and as right."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from expound_worker.models.folding import folded, sharing_copy
from expound_worker.models.pooling import slice_pools

logger = logging.getLogger(__name__)

_PIXELS = 2 * 224 * 224
"""Of a batch that is measured: what is right for two small images may not be so for a hundred."""
_ROUNDS = 10
_LONGEST_S = 0.5
"""After which no further round begins."""
_CLEARLY_FASTER = 0.95
_TOLERANCE = 1e-4
"""By how much the logits may differ, of the largest: another order of the same sums."""


class InferenceError(Exception):
    """A network cannot be run as its entry asks."""


@dataclass(frozen=True)
class Inference:
    """Runs a network without gradients.

    Attributes:
        network: the network, or a copy that gives the same sooner.
        memory_format: in which inputs are given to it.
        autocast: element type of what it computes at less precision; None: float32 throughout.
        compiled: whether `torch.compile` has made it.
        error: largest difference of its logits from the network's own at load, of the largest.
    """

    network: Callable[[Tensor], Tensor] = field(repr=False)
    memory_format: torch.memory_format = torch.contiguous_format
    autocast: torch.dtype | None = None
    compiled: bool = False
    error: float = 0.0

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes), float32, of inputs (N, C, H, W)."""
        inputs = inputs.contiguous(memory_format=self.memory_format)
        enabled = self.autocast is not None
        with torch.autocast(inputs.device.type, self.autocast, enabled=enabled):
            logits = self.network(inputs)
        return logits.float()


def choose(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    device: torch.device,
    *,
    autocast: torch.dtype | None = None,
    compiled: bool = False,
) -> Inference:
    """Measures how a network is run the fastest, at load.

    Batch normalisations are folded into convolutions, max pools sliced on a CPU, and inputs and
    their weights laid out as `channels_last`, where that is clearly faster and gives the same
    logits. A network that one of these breaks (a ``.view`` of its inputs) goes without it.

    Args:
        module: the network, in eval mode.
        input_shape: (C, H, W).
        device: where it runs.
        autocast: element type to compute at; None: float32.
        compiled: whether to compile it.

    Raises:
        InferenceError: with autocast it gives no numbers, or it cannot be compiled.
    """
    generator = torch.Generator().manual_seed(0)
    batch_size = max(2, _PIXELS // (input_shape[1] * input_shape[2]))
    inputs = torch.rand((batch_size, *input_shape), generator=generator).to(device)
    plain = Inference(module)
    logits = plain(inputs)
    chosen = _fastest([plain, *_right(module, inputs, logits)], inputs)
    if autocast is not None:
        chosen = replace(chosen, autocast=autocast)
    if compiled:
        chosen = _compiled(chosen, inputs)
    error = _error(chosen, inputs, logits)
    if autocast is not None and error == float("inf"):
        raise InferenceError(f"with autocast to {autocast} it gives NaN or infinity")
    return replace(chosen, error=error)


def _right(module: nn.Module, inputs: Tensor, logits: Tensor) -> list[Inference]:
    """Folded in either memory format, or else unfolded, as far as the logits are the same."""
    for make in (partial(folded, module, inputs), partial(sharing_copy, module)):
        copies = [
            inference
            for memory_format in (torch.contiguous_format, torch.channels_last)
            if (inference := _copy(make, memory_format, inputs.device)) is not None
            and _error(inference, inputs, logits) < _TOLERANCE
        ]
        if copies:
            return copies
    return []


def _copy(
    make: Callable[[], nn.Module], memory_format: torch.memory_format, device: torch.device
) -> Inference | None:
    try:
        network = _laid_out(make(), memory_format)
    except Exception as error:
        # What a network minds is its own; it can always be run as it is.
        logger.debug("a network cannot be copied: %s", error)
        return None
    if device.type == "cpu":
        slice_pools(network)
    return Inference(network, memory_format)


def _laid_out(network: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.contiguous(memory_format=memory_format)
            if weight is not module.weight:
                module.weight = nn.Parameter(weight, requires_grad=False)
    return network


def _error(inference: Inference, inputs: Tensor, logits: Tensor) -> float:
    """Infinite where it fails or gives no numbers."""
    try:
        difference = float((inference(inputs) - logits).abs().max())
    except RuntimeError:
        return float("inf")
    error = difference / max(float(logits.abs().max()), torch.finfo(torch.float32).tiny)
    return error if error == error else float("inf")


def _fastest(inferences: list[Inference], inputs: Tensor) -> Inference:
    """The fastest; the first, where none is clearly faster than it."""
    seconds = [float("inf")] * len(inferences)
    deadline_s = time.monotonic() + _LONGEST_S
    for rounds in range(_ROUNDS):
        if rounds > 0 and time.monotonic() > deadline_s:
            break
        for number, inference in enumerate(inferences):
            start = time.perf_counter()
            inference(inputs).sum().item()  # reading a value waits for the device
            seconds[number] = min(seconds[number], time.perf_counter() - start)
    least = min(range(len(inferences)), key=seconds.__getitem__)
    return inferences[least if seconds[least] < _CLEARLY_FASTER * seconds[0] else 0]


def _compiled(inference: Inference, inputs: Tensor) -> Inference:
    """Compiled for batches of any size, which takes its time now and not at the first request."""
    compiled = replace(inference, network=torch.compile(inference.network), compiled=True)
    try:
        # The second size makes the first dimension a variable; one image is a case of its own.
        for size in (2, 3, 1):
            compiled(inputs[:1].repeat(size, 1, 1, 1))
    except Exception as error:
        raise InferenceError(f"cannot be compiled: {type(error).__name__}: {error}") from error
    return compiled
