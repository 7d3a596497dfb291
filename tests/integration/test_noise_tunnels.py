"""Noise tunnels around every gradient method: several images and several targets in one request."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from expound.parameters import method_names
from expound_client import Client, ExplanationResult
from expound_client import methods as m
from tests import photos

N_SAMPLES, STDEV, SEED = 3, 0.05, 9
TYPES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "smoothgrad": lambda maps: np.mean(maps, axis=0),
    "smoothgrad_sq": lambda maps: np.mean(np.square(maps), axis=0),
    "vargrad": lambda maps: np.var(maps, axis=0),
}
FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"n_samples": 4},
    "layer_conductance": {"n_steps": 4},
}
