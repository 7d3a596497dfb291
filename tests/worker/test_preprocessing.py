"""Preprocessing equals torchvision's transforms to the last bit."""

import pytest
import skimage.data
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from expound_worker.models.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (100, 100), (224, 1000), (33, 640)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_and_crop_equal_torchvisions(size: tuple[int, int], interpolation: str) -> None:
    photo = Image.fromarray(skimage.data.chelsea()).resize(size)
    ours = Preprocessing((3, 224, 224), 256, MEAN, STD, interpolation)(photo)
    theirs = transforms.Compose(
        [
            transforms.Resize(256, InterpolationMode(interpolation)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )(photo)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("resize", [200, 223, 222, 221, 220])
@pytest.mark.parametrize("size", [(224, 224), (223, 301), (300, 224), (301, 226)])
def test_a_crop_larger_than_the_image_is_padded_with_black(
    resize: int, size: tuple[int, int]
) -> None:
    photo = Image.fromarray(skimage.data.chelsea())
    ours = Preprocessing((3, *size), resize, (0.0,) * 3, (1.0,) * 3)(photo)
    theirs = transforms.Compose(
        [transforms.Resize(resize), transforms.CenterCrop(size), transforms.ToTensor()]
    )(photo)
    assert torch.equal(ours, theirs)


def test_without_resize_the_image_is_stretched_to_the_input() -> None:
    photo = Image.fromarray(skimage.data.chelsea())
    ours = Preprocessing((3, 32, 48), None, MEAN, STD)(photo)
    theirs = transforms.Compose(
        [
            transforms.Resize((32, 48)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )(photo)
    assert torch.equal(ours, theirs)


def test_one_channel_is_grey() -> None:
    photo = Image.fromarray(skimage.data.chelsea())
    ours = Preprocessing((1, 32, 32), None, (0.5,), (0.5,))(photo)
    theirs = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize((32, 32)),
            transforms.ToTensor(),
            transforms.Normalize((0.5,), (0.5,)),
        ]
    )(photo)
    assert torch.equal(ours, theirs)
