"""Real photos, and the tests' models in this process, to compare the service with."""

import io
import sys
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from expound_worker.models.entry import read_entries
from expound_worker.models.loading import load
from expound_worker.models.model import Model
from tests.service import MODELS


def chelsea() -> NDArray[np.uint8]:
    """A cat, (300, 451, 3)."""
    photo: NDArray[np.uint8] = skimage.data.chelsea()
    return photo


@cache
def model(name: str) -> Model:
    """The model of that name, as the service's worker loads it."""
    sys.path.append(str(Path(MODELS).parent))
    files = MODELS.parent.glob("*.toml")
    entries = {entry.name: entry for file in files for entry in read_entries(file)}
    return load(entries[name])


def model_input(name: str, photo: NDArray[np.uint8]) -> torch.Tensor:
    """What the photo is to the model: (1, C, H, W)."""
    return model(name).preprocessing(Image.fromarray(photo))[None]


def resized(name: str) -> NDArray[np.uint8]:
    """The photo at about the size that the model looks at, as callers of such a model have it."""
    _, height, width = model(name).input_shape
    size = (width, height) if height < 200 else (451, 300)
    return np.asarray(Image.fromarray(chelsea()).resize(size), dtype=np.uint8)


def encoded(name: str) -> bytes:
    """`resized` as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(resized(name)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
