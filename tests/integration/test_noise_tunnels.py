"""Noise tunnels through every gradient method: several images and targets in one request."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expound_client import Client
from expound_client import methods as m
from expound_client.method import Method
from tests.integration.references import image_of, same

N_SAMPLES, STDEV, SEED = 3, 0.3, 9
STATISTICS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "smoothgrad": lambda maps: maps.mean(axis=0),
    "smoothgrad_sq": lambda maps: (maps**2).mean(axis=0),
    "vargrad": lambda maps: maps.var(axis=0),
}
FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"n_samples": 4},
    "layer_conductance": {"n_steps": 4},
}
METHODS = [
    kind(**FEW.get(kind.name, {}))
    for kind in vars(m).values()
    if isinstance(kind, type)
    and issubclass(kind, Method)
    and "noise_tunnel" in {field.name for field in dataclasses.fields(kind)}
]


def in_tunnels() -> dict[str, tuple[str, Any]]:
    """By name of the method: the type of its tunnel, which differ, and the method in it."""
    chosen = {}
    for number, method in enumerate(METHODS):
        kind = list(STATISTICS)[number % len(STATISTICS)]
        tunnel = m.NoiseTunnel(type=kind, n_samples=N_SAMPLES, stdev=STDEV)
        chosen[method.name] = kind, dataclasses.replace(method, noise_tunnel=tunnel)
    return chosen


def test_each_is_the_statistic_of_the_maps_of_noisy_images_explained_by_themselves(
    client: Client,
) -> None:
    assert len(METHODS) == 17
    image = image_of("handwritten")[0]
    images, chosen = [image, 0.5 * image.flip(2)], in_tunnels()
    generator = torch.Generator().manual_seed(SEED)
    noise = [torch.randn(image.shape, generator=generator) for _ in range(N_SAMPLES)]
    together = client.explain(
        [one.numpy() for one in images],
        model="handwritten",
        target="top2",
        seed=SEED,
        methods=[method for _, method in chosen.values()],
    ).result(120)
    for index, one in enumerate(images):
        for rank, score in enumerate(together.predictions[index].classes[:2]):
            alone = client.explain(
                [(one + STDEV * copy).numpy() for copy in noise],
                model="handwritten",
                target=score.index,
                seed=SEED,
                methods=METHODS,
            ).result(120)
            for name, (kind, _) in chosen.items():
                maps = [each.values for each in alone.attributions(name)]
                assert len(maps) == N_SAMPLES
                ours = together.attributions(f"{name}_{kind}", index)[rank]
                assert (ours.target.index, ours.input_index) == (score.index, index)
                expected = STATISTICS[kind](np.array(maps, dtype=np.float64))
                same(ours.values, expected, tolerance=1e-3)
                assert ours.convergence_delta is None and ours.completeness_error is None
