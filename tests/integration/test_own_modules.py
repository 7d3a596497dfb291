"""A user's own `nn.Module` works without an edit: every method answers, with its proof."""

import shutil
from pathlib import Path

import numpy as np

from expound.parameters import method_names
from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.integration.references import image_of, same
from tests.service import MODELS, Worker

FEW = {
    method.name: method
    for method in (
        m.Lime(n_samples=200),
        m.KernelShap(n_samples=200),
        m.PartitionShap(n_samples=100),
        m.PermutationShap(n_samples=200),
        m.Rise(n_samples=200),
    )
}
LARGEST_ERRORS = {
    "integrated_gradients": 0.05,
    "layer_conductance": 0.05,
    "deep_lift": 1e-4,
    "deep_lift_shap": 1e-4,
    "deep_shap": 1e-4,
    "kernel_shap": 1e-6,
    "partition_shap": 1e-6,
    "permutation_shap": 1e-6,
}
"""Completeness errors allowed to the methods whose values must add up."""


def test_every_method_explains_views_functions_reused_blocks_and_sums_in_place(
    client: Client,
) -> None:
    """The image comes as the camera gives it, and as a view with the channels last in memory."""
    methods = [FEW.get(name, name) for name in method_names()]
    channels_last = np.moveaxis(np.moveaxis(image_of("handwritten")[0].numpy(), 0, 2).copy(), 2, 0)
    assert not channels_last.flags.c_contiguous
    images = [photos.chelsea(), channels_last]
    result = client.explain(images, model="handwritten", methods=methods).result(120)
    assert len(result) == 25
    for name in method_names():
        of_photo, of_view = result.attributions(name)
        same(of_view.values, of_photo.values.astype(np.float64))
        if name in LARGEST_ERRORS:
            assert of_photo.completeness_error is not None
            assert of_photo.completeness_error <= LARGEST_ERRORS[name], name
        warned = [warning for warning in of_photo.warnings if name != "lrp"]
        assert warned == [], name  # the network's biases keep relevance: LRP says how much


def test_a_network_with_two_heads_is_refused_when_the_worker_starts(
    redis_url: str, tmp_path: Path
) -> None:
    shutil.copy(MODELS.parent / "networks.py", tmp_path)
    path = tmp_path / "models.toml"
    path.write_text(
        '[models.detector]\nbuilder = "networks:two_heads"\ninput = { shape = [3, 8, 8] }\n'
    )
    with Worker(redis_url, path) as worker:
        assert worker.process is not None
        assert worker.process.wait(240) == 1
        assert (
            "[models.detector]: the model must give logits (N, classes), not tuple: let its "
            "builder return a module that gives them alone"
        ) in worker.output()
