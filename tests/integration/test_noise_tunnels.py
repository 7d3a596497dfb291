"""Noise tunnels through every gradient method: several images and targets in one request."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from expound_client import Client
from expound_client import methods as m
from expound_client.method import Method
from expound_worker.methods.catalogue import GRADIENT_METHODS
from tests.integration.references import image_of, same

N_SAMPLES, STDEV, SEED = 3, 0.3, 9
STATISTICS: dict[
    Literal["smoothgrad", "smoothgrad_sq", "vargrad"],
    Callable[[NDArray[np.float64]], NDArray[np.float64]],
] = {
    "smoothgrad": lambda maps: maps.mean(axis=0),
    "smoothgrad_sq": lambda maps: (maps**2).mean(axis=0),
    "vargrad": lambda maps: maps.var(axis=0),
}
FEW = {"integrated_gradients": "n_steps", "gradient_shap": "n_samples"}
METHODS: list[type[Any]] = [
    kind
    for kind in vars(m).values()
    if isinstance(kind, type)
    and issubclass(kind, Method)
    and "noise_tunnel" in {field.name for field in dataclasses.fields(kind)}
]


def asked(kind: type[Any], tunnel: m.NoiseTunnel | None = None) -> Method:
    """A method with few steps or samples, in a tunnel or without."""
    few = {FEW[kind.name]: 4} if kind.name in FEW else {}
    method: Method = kind(noise_tunnel=tunnel, **few)
    return method


def test_each_is_the_statistic_of_the_maps_of_noisy_images_explained_by_themselves(
    client: Client,
) -> None:
    assert {kind.name for kind in METHODS} == set(GRADIENT_METHODS)
    image = image_of("handwritten")[0]
    images = [image, 0.5 * image.flip(2)]
    tunnels = dict(zip(METHODS, itertools.cycle(STATISTICS), strict=False))
    generator = torch.Generator().manual_seed(SEED)
    noise = [torch.randn(image.shape, generator=generator) for _ in range(N_SAMPLES)]
    together = client.explain(
        [one.numpy() for one in images],
        model="handwritten",
        target="top2",
        seed=SEED,
        methods=[
            asked(kind, m.NoiseTunnel(type=tunnel, n_samples=N_SAMPLES, stdev=STDEV))
            for kind, tunnel in tunnels.items()
        ],
    ).result(120)
    for index, one in enumerate(images):
        for rank, score in enumerate(together.predictions[index].classes[:2]):
            alone = client.explain(
                [(one + STDEV * copy).numpy() for copy in noise],
                model="handwritten",
                target=score.index,
                seed=SEED,
                methods=[asked(kind) for kind in METHODS],
            ).result(120)
            for kind, tunnel in tunnels.items():
                maps = [each.values for each in alone.attributions(kind.name)]
                assert len(maps) == N_SAMPLES
                ours = together.attributions(f"{kind.name}_{tunnel}", index)[rank]
                assert (ours.target.index, ours.input_index) == (score.index, index)
                expected = STATISTICS[tunnel](np.array(maps, dtype=np.float64))
                same(ours.values, expected, tolerance=1e-3)
                assert ours.convergence_delta is None and ours.completeness_error is None
