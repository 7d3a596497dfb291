"""The photos: torchvision's CIFAR-10, or a folder of class folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from torchvision.datasets import CIFAR10, ImageFolder

from expound_worker.models.preprocessing import Preprocessing

Photos: TypeAlias = CIFAR10 | ImageFolder
"""Pairs of an RGB image and the index of its class, with `classes` and `targets`."""

PREPROCESSING = Preprocessing(
    input_shape=(3, 32, 32), resize=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


class PhotosError(Exception):
    """A folder does not hold what it should; says what that is."""


def download(folder: Path) -> tuple[Photos, Photos]:
    """Gives CIFAR-10's training and test photos, downloaded into a folder unless they are there."""
    return (
        CIFAR10(folder, train=True, download=True),
        CIFAR10(folder, train=False, download=True),
    )


def read(folder: Path) -> tuple[Photos, Photos]:
    """Gives the training and test photos of a folder: ``train/CLASS/*`` and ``test/CLASS/*``.

    Raises:
        PhotosError: it does not hold these, or not the same classes in both.
    """
    try:
        train, test = ImageFolder(folder / "train"), ImageFolder(folder / "test")
    except OSError as error:
        raise PhotosError(
            f"{folder}: must hold train/CLASS and test/CLASS with images in them: {error}"
        ) from error
    if train.classes != test.classes:
        raise PhotosError(f"{folder}: train and test must hold the same classes")
    return train, test


def save_samples(photos: Photos, count: int, folder: Path) -> None:
    """Saves some photos as ``folder/CLASS/NUMBER.png``, of as many classes as there can be."""
    for index, _ in zip(_one_of_each_class(photos), range(count), strict=False):
        image, target = photos[index]
        path = folder / photos.classes[target] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def _one_of_each_class(photos: Photos) -> Iterator[int]:
    """Indices of the photos: the first of every class, the second of every class, and so on."""
    seen = [0] * len(photos.classes)
    ranks = []
    for index, target in enumerate(photos.targets):
        ranks.append((seen[target], target, index))
        seen[target] += 1
    return (index for _, _, index in sorted(ranks))
