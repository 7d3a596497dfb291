"""The training of the tutorials: plain SGD, with a progress bar."""

import torch
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from expound_worker.examples.cifar10.photos import PREPROCESSING, Photos

LEARNING_RATE = 0.001
MOMENTUM = 0.9
BATCH_SIZE = 4
_TEST_BATCH_SIZE = 256
_LOSS_MEMORY = 0.99


def train(
    network: nn.Module, photos: Photos, *, epochs: int, seed: int, max_steps: int | None = None
) -> None:
    """Trains a network in place, by SGD of batches of 4 at a rate of 0.001 and a momentum of 0.9.

    Args:
        network: gives logits of (N, 3, 32, 32).
        photos: the training photos.
        epochs: number of times that each of them is seen.
        seed: seed of their order.
        max_steps: number of batches after which each epoch ends; None: when all are seen.
    """
    order = torch.Generator().manual_seed(seed)
    loader = _loader(photos, BATCH_SIZE, order)
    steps = min(len(loader), max_steps or len(loader))
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    network.train()
    with _progress() as progress:
        for epoch in range(1, epochs + 1):
            bar = progress.add_task(f"epoch {epoch} of {epochs}", total=steps, note="")
            mean_loss = 0.0
            for step, (images, targets) in zip(range(1, steps + 1), loader, strict=False):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images), targets)
                loss.backward()
                optimizer.step()
                mean_loss = _LOSS_MEMORY * mean_loss + (1 - _LOSS_MEMORY) * loss.item()
                # The mean starts at zero, and is made up for that.
                note = f"loss {mean_loss / (1 - _LOSS_MEMORY**step):.3f}"
                progress.update(bar, completed=step, note=note)


@torch.inference_mode()
def accuracy(network: nn.Module, photos: Photos) -> float:
    """Share of photos, 0 to 1, whose most probable class is their own."""
    network.eval()
    loader = _loader(photos, _TEST_BATCH_SIZE)
    right = sum(int((network(images).argmax(1) == targets).sum()) for images, targets in loader)
    return right / len(photos)


def _loader(
    photos: Photos, batch_size: int, order: torch.Generator | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(
        photos,
        batch_size,
        shuffle=order is not None,
        generator=order,
        collate_fn=_batch,
    )


def _batch(examples: list[tuple[Image.Image, int]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets; the inputs are made as a worker makes them of a request's images."""
    images, targets = zip(*examples, strict=True)
    return torch.stack([PREPROCESSING(image) for image in images]), torch.tensor(targets)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
