"""The memory format of inputs: the faster one, unless the network minds."""

import torch
from torch import Tensor, nn

from expound_worker.models.memory_format import fastest

SHAPE = (3, 8, 8)


class Mean(nn.Module):
    """Scores that know nothing of the layout, after work that does."""

    def __init__(self, slow: torch.memory_format) -> None:
        super().__init__()
        self._slow = slow

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous(memory_format=self._slow):
            for _ in range(20):
                torch.ones(200, 200) @ torch.ones(200, 200)
        return inputs.mean(dim=(2, 3))


class Viewing(nn.Module):
    """Fails at inputs that are not contiguous."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous():
            torch.ones(500, 500) @ torch.ones(500, 500)
        return inputs.view(len(inputs), -1)[:, :4]


class Strided(nn.Module):
    """Reads its inputs in the order of memory."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous():
            torch.ones(500, 500) @ torch.ones(500, 500)
        return inputs.as_strided((len(inputs), 4), (inputs[0].numel(), 1))


def _fastest(module: nn.Module) -> torch.memory_format:
    return fastest(module, SHAPE, torch.device("cpu"), batch_size=4)


def test_the_faster_one_is_taken() -> None:
    assert _fastest(Mean(slow=torch.contiguous_format)) is torch.channels_last
    assert _fastest(Mean(slow=torch.channels_last)) is torch.contiguous_format


def test_a_network_that_it_breaks_keeps_its_own() -> None:
    assert _fastest(Viewing()) is torch.contiguous_format


def test_a_network_that_gives_other_scores_in_it_keeps_its_own() -> None:
    assert _fastest(Strided()) is torch.contiguous_format
