"""How many evaluations a request takes, by hand and by the server."""

import numpy as np
import pytest

from expound import parameters
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2, method_pb2
from expound_server import validation
from expound_server.evaluations import evaluations
from expound_worker.methods.catalogue import GRADIENT_METHODS, PERTURBATION_METHODS
from tests.server.hand_worker import model

m = method_pb2
TUNNEL = m.NoiseTunnel(n_samples=10)
HALVES = np.repeat(np.array([[0, 1]], np.int32), 8, axis=0).repeat(3, axis=1)


def _evaluations(method: m.Method, *, images: int = 1, top_k: int = 1) -> int:
    request = explanation_pb2.ExplainRequest(model="tiny", methods=[method])
    request.target.top_k = top_k
    request.inputs.extend([explanation_pb2.Input(image=b"an image")] * images)
    validation.resolve(request)
    return evaluations(request, model("tiny")).total


@pytest.mark.parametrize(
    ("method", "one_image", "two_targets"),
    [
        (m.Method(saliency=m.Saliency()), 1, 2),
        (m.Method(saliency=m.Saliency(noise_tunnel=TUNNEL)), 10, 20),
        (m.Method(integrated_gradients=m.IntegratedGradients(n_steps=20)), 21, 42),
        (
            m.Method(integrated_gradients=m.IntegratedGradients(n_steps=20, noise_tunnel=TUNNEL)),
            210,
            420,
        ),
        (
            m.Method(integrated_gradients=m.IntegratedGradients(max_delta=0.1, max_steps=100)),
            200,
            400,
        ),
        (m.Method(gradient_shap=m.GradientShap(n_samples=30)), 61, 122),
        (m.Method(gradient_shap=m.GradientShap(n_samples=30, noise_tunnel=TUNNEL)), 610, 1220),
        (m.Method(gradient_shap=m.GradientShap(n_samples=30, stdev=0)), 31, 62),
        (m.Method(gradient_shap=m.GradientShap(baselines=[m.Baseline()] * 5)), 105, 210),
        (m.Method(layer_conductance=m.LayerConductance(n_steps=20)), 22, 44),
        (m.Method(guided_grad_cam=m.GuidedGradCam()), 2, 4),
        (m.Method(deep_lift_shap=m.DeepLiftShap()), 2, 4),
        (m.Method(deep_lift=m.DeepLift()), 2, 4),
        (m.Method(deep_shap=m.DeepShap(baselines=[m.Baseline()] * 5)), 10, 20),
        (m.Method(lime=m.Lime(n_samples=300)), 300, 300),
        (m.Method(rise=m.Rise()), 4000, 4000),
        # The input is 8 x 6 pixels: 4 x 3 windows.
        (
            m.Method(
                occlusion=m.Occlusion(
                    window_height=2, window_width=2, stride_height=2, stride_width=2
                )
            ),
            13,
            13,
        ),
        (m.Method(occlusion=m.Occlusion()), 49, 49),
        (
            m.Method(
                feature_ablation=m.FeatureAblation(
                    segmentation=m.Segmentation(grid=m.GridSegmentation(rows=3, columns=2))
                )
            ),
            7,
            7,
        ),
        (
            m.Method(
                feature_ablation=m.FeatureAblation(
                    segmentation=m.Segmentation(labels=to_tensor(HALVES))
                )
            ),
            3,
            3,
        ),
        (
            m.Method(
                feature_ablation=m.FeatureAblation(
                    segmentation=m.Segmentation(slic=m.SlicSegmentation(n_segments=9))
                )
            ),
            10,
            10,
        ),
        # Of the others it is known only how small a segment may be.
        (
            m.Method(
                feature_ablation=m.FeatureAblation(
                    segmentation=m.Segmentation(
                        felzenszwalb=m.FelzenszwalbSegmentation(min_size=10)
                    )
                )
            ),
            6,
            6,
        ),
        (
            m.Method(
                feature_ablation=m.FeatureAblation(
                    segmentation=m.Segmentation(quickshift=m.QuickshiftSegmentation(kernel_size=2))
                )
            ),
            13,
            13,
        ),
        (m.Method(score_cam=m.ScoreCam()), 6, 6),
    ],
)
def test_the_evaluations_of_a_method_are_those_of_its_samples(
    method: m.Method, one_image: int, two_targets: int
) -> None:
    # Besides, each image is predicted once.
    assert _evaluations(method) == 1 + one_image
    assert _evaluations(method, images=3) == 3 * (1 + one_image)
    assert _evaluations(method, top_k=2) == 1 + two_targets


def test_those_of_gradient_methods_are_counted_by_themselves() -> None:
    methods = [
        m.Method(lime=m.Lime(n_samples=300)),
        m.Method(integrated_gradients=m.IntegratedGradients(n_steps=20)),
        m.Method(saliency=m.Saliency()),
    ]
    request = explanation_pb2.ExplainRequest(model="tiny", methods=methods)
    request.target.top_k = 2
    request.inputs.extend([explanation_pb2.Input(image=b"an image")] * 3)
    validation.resolve(request)
    assert evaluations(request, model("tiny")) == (3 * (1 + 300 + 2 * 22), 3 * 2 * 22)


@pytest.mark.parametrize("name", parameters.method_names())
def test_every_method_is_counted_as_workers_run_it(name: str) -> None:
    method = m.Method()
    getattr(method, name).SetInParent()
    request = explanation_pb2.ExplainRequest(model="tiny", methods=[method])
    request.inputs.add(image=b"an image")
    validation.resolve(request)
    planned = evaluations(request, model("tiny"))
    assert planned.total >= 2
    assert (planned.gradient == planned.total - 1) == (name in GRADIENT_METHODS)
    assert (planned.gradient == 0) == (name in PERTURBATION_METHODS)
