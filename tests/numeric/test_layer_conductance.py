"""Layer conductance equals Captum's, cell by cell, and adds up to the difference of the scores."""

import dataclasses

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.layer_conductance import LayerConductance
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import resolved, upsampling

CHANNELS_FIRST = ("resnet18", "densenet121", "mobilenet_v2", "shufflenet_v2_x1_0")
NEAREST = m.INTERPOLATION_NEAREST
BLACK = m.Baseline(color=m.ColorBaseline())


def explained(
    model: Model, batch: Batch, parameters: m.LayerConductance | None = None
) -> list[Answer]:
    asked = resolved(parameters or m.LayerConductance())
    return LayerConductance().attribute(model, batch, asked, seed=0)


def captums(model: Model, batch: Batch, layer: str, baseline: Tensor, n_steps: int) -> Tensor:
    """(N, h, w) what Captum gives, summed over channels."""
    method = captum.attr.LayerConductance(model.module, model.module.get_submodule(layer))
    theirs = method.attribute(
        batch.inputs, baselines=baseline, target=batch.targets, n_steps=n_steps
    )
    assert isinstance(theirs, Tensor)
    return theirs.sum(dim=1).detach()


def cells(answer: Answer, size: torch.Size) -> NDArray[np.float64]:
    """(h, w) sums of the pixels that are nearest to each cell."""
    (height, width), total = answer.values.shape, np.zeros(size)
    for row, column in np.ndindex(height, width):
        place = (row * size[0] // height, column * size[1] // width)
        total[place] += answer.values[row, column]
    return total


@pytest.mark.parametrize("classifier", CHANNELS_FIRST, indirect=True)
def test_values_equal_captums_on_classifiers(classifier: Classifier) -> None:
    model, batch = classifier.model, classifier.batch
    asked = m.LayerConductance(n_steps=5, interpolation=NEAREST)
    baseline = torch.zeros_like(batch.inputs)
    theirs = captums(model, batch, classifier.cut.layer, baseline, n_steps=5)
    for answer, values in zip(explained(model, batch, asked), theirs, strict=True):
        assert answer.layer == classifier.cut.layer
        tolerance = 1e-4 * float(values.abs().max())
        assert np.allclose(cells(answer, values.shape), values, atol=tolerance)
        assert answer.evaluations == 7


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("layer", ["0.conv1", "0.conv2"])
def test_values_equal_captums_whatever_the_baseline_and_the_batches(
    layer: str, batch_size: int, cifar: Model, thumbnail: Tensor
) -> None:
    model = dataclasses.replace(cifar, batch=BatchSize(batch_size))
    batch = pair(cifar, thumbnail)
    asked = m.LayerConductance(layer=layer, n_steps=9, baseline=BLACK, interpolation=NEAREST)
    theirs = captums(cifar, batch, layer, torch.full_like(batch.inputs, -1), n_steps=9)
    for answer, values in zip(explained(model, batch, asked), theirs, strict=True):
        assert np.allclose(cells(answer, values.shape), values, atol=1e-5)
        assert answer.n_steps == 9
        assert answer.evaluations == 9 + 2


@pytest.mark.parametrize("layer", ["0.conv1", "0.pool#1", "0.pool#2"])
def test_values_add_up_where_the_score_sees_the_image_through_the_layer_alone(
    layer: str, cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    for answer in explained(cifar, batch, m.LayerConductance(layer=layer, n_steps=300)):
        assert answer.baseline_output is not None and answer.convergence_delta is not None
        difference = answer.output - answer.baseline_output
        total = float(answer.values.astype(float).sum())
        assert answer.convergence_delta == pytest.approx(total - difference, abs=1e-5)
        assert total == pytest.approx(difference, rel=0.02)
        assert answer.completeness_error == pytest.approx(abs(total / difference - 1), abs=1e-5)
        assert answer.warnings == []


def test_the_sum_is_the_same_however_the_map_is_enlarged(cifar: Model, thumbnail: Tensor) -> None:
    batch = batch_of(cifar, thumbnail)
    (smooth,) = explained(cifar, batch)
    (hard,) = explained(cifar, batch, m.LayerConductance(interpolation=NEAREST))
    assert smooth.values.sum() == pytest.approx(hard.values.sum(), rel=1e-4)


@pytest.mark.parametrize("classifier", ["vit_b_32"], indirect=True)
def test_a_layer_that_others_bypass_is_warned_of_with_the_figure(classifier: Classifier) -> None:
    asked = m.LayerConductance(n_steps=10)
    (answer,) = explained(classifier.model, classifier.batch.one(0), asked)
    assert answer.completeness_error is not None and answer.completeness_error > 0.05
    (warning,) = answer.warnings
    assert f"{answer.completeness_error:.1%}" in warning


@pytest.mark.parametrize("interpolation", [m.INTERPOLATION_BILINEAR, NEAREST])
@pytest.mark.parametrize("scale", [(2, 2), (3, 3), (7, 7), (17 / 16, 1)])
def test_values_add_up_at_layers_larger_than_the_input(
    scale: tuple[float, float], interpolation: m.Interpolation.ValueType
) -> None:
    model = upsampling(16, scale)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = Batch(image, torch.tensor([2]), [float(model.logits(image)[0, 2])])
    (answer,) = explained(model, batch, m.LayerConductance(layer="0", interpolation=interpolation))
    assert answer.completeness_error is not None and answer.completeness_error < 2e-3
    assert answer.values.std() > 0
