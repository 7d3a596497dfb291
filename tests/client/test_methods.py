"""Method classes: made from the contract, checked against its ranges."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expound import parameters
from expound.tensors import from_tensor
from expound.v1 import method_pb2
from expound_client import methods as m
from expound_client.errors import InvalidArgumentError

CLIENT = Path(__file__).parents[2] / "client"


def test_the_classes_are_those_that_the_contract_gives() -> None:
    spec = importlib.util.spec_from_file_location("generator", CLIENT / "generate_methods.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.generate() == generator.TARGET.read_text(), "run `make proto`"


@pytest.mark.parametrize("name", m.METHODS)
def test_the_defaults_are_those_of_the_contract(name: str) -> None:
    ours = m.METHODS[name]().to_proto()
    theirs = method_pb2.Method()
    getattr(theirs, name).SetInParent()
    assert ours.WhichOneof("method") == name
    parameters.resolve(theirs)
    parameters.resolve(ours)
    assert ours == theirs


def test_parameters_and_parts_reach_the_message() -> None:
    method = m.Lime(
        key="mine",
        n_samples=200,
        segmentation=m.SlicSegmentation(n_segments=40),
        baseline=m.BlurBaseline(sigma=3),
    ).to_proto()
    assert method.key == "mine"
    assert method.lime.n_samples == 200
    assert method.lime.segmentation.slic.n_segments == 40
    assert method.lime.baseline.blur.sigma == 3
    assert not method.lime.HasField("max_standard_error")


def test_enums_are_named_by_lower_case_strings() -> None:
    tunnel = m.NoiseTunnel(type="vargrad", n_samples=4)
    method = m.IntegratedGradients(quadrature="riemann_left", noise_tunnel=tunnel).to_proto()
    sent = method.integrated_gradients
    assert sent.quadrature == method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_LEFT
    assert sent.noise_tunnel.type == method_pb2.NoiseTunnel.TYPE_VARGRAD


def test_arrays_are_label_maps_and_baselines() -> None:
    labels = np.arange(64).reshape(8, 8) // 16
    baseline = np.ones((3, 8, 8))
    sent = m.KernelShap(segmentation=labels, baseline=baseline).to_proto().kernel_shap
    assert list(sent.segmentation.labels.shape) == [8, 8]
    assert np.array_equal(np.frombuffer(sent.segmentation.labels.data, "<i4"), labels.ravel())
    assert list(sent.baseline.tensor.shape) == [3, 8, 8]


def test_a_mask_is_a_label_map_of_two() -> None:
    mask = np.eye(8, dtype=bool)
    sent = m.KernelShap(segmentation=mask).to_proto().kernel_shap.segmentation.labels
    assert np.array_equal(from_tensor(sent), mask)


def test_several_baselines_are_sent_in_order() -> None:
    method = m.GradientShap(baselines=(m.ZeroBaseline(), m.ColorBaseline(red=1))).to_proto()
    chosen = [baseline.WhichOneof("baseline") for baseline in method.gradient_shap.baselines]
    assert chosen == ["zero", "color"]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: m.Lime(n_samples=9), "lime.n_samples"),
        (lambda: m.Lime(kernel_width=0), "lime.kernel_width"),
        (lambda: m.Lime(max_standard_error=float("nan")), "lime.max_standard_error"),
        (lambda: m.Rise(keep_probability=1.0), "rise.keep_probability"),
        (lambda: m.SlicSegmentation(n_segments=3), "n_segments"),
        (lambda: m.Saliency(key="k" * 65), "key"),
        (lambda: m.DeepLiftShap(baselines=(m.ZeroBaseline(),) * 65), "deep_lift_shap.baselines"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_field(make: Any, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n_samples": "many"}, "n_samples"),
        ({"n_samples": 10.5}, "n_samples"),
        ({"n_samples": 10**12}, "n_samples"),
        ({"segmentation": m.ZeroBaseline()}, "segmentation"),
        ({"segmentation": "slic"}, "segmentation"),
        ({"baseline": np.array(["a"])}, "baseline"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_field(
    arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        m.Lime(**arguments)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_an_unknown_choice_names_those_allowed() -> None:
    unknown: Any = "smooth"
    with pytest.raises(InvalidArgumentError, match="smoothgrad, smoothgrad_sq, vargrad"):
        m.NoiseTunnel(type=unknown)


def test_methods_are_equal_and_hash_alike_when_their_parameters_are() -> None:
    labels = np.arange(64).reshape(8, 8)
    assert m.Lime(segmentation=labels) == m.Lime(segmentation=labels.copy())
    assert m.Lime(n_samples=20) != m.Lime(n_samples=30)
    assert m.Saliency() != m.InputXGradient()
    assert m.Saliency() != "saliency"
    assert len({m.Lime(), m.Lime(), m.Lime(n_samples=20)}) == 2
