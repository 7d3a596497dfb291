"""Score-CAM equals the paper's sum, computed with one masked image after the other."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer, MethodError
from expound_worker.methods.score_cam import ScoreCam
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.layout import CHANNELS_FIRST
from expound_worker.models.model import Layer, Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.cuts import Classifier, close, enlarged
from tests.numeric.models import Reports, ignore, make_model, resolved, upsampling, with_module
from tests.numeric.transformers import Transformer

NARROW = {"mobilenet_v3_small": "features.0", "shufflenet_v2_x1_0": "conv1"}
"""Classifiers whose first layer has few channels, and so few masks, and that layer."""
BLACK = m.Baseline(color=m.ColorBaseline())


def explained(
    model: Model,
    image: Tensor,
    targets: list[int],
    parameters: m.ScoreCam,
    report: Reports | None = None,
) -> list[Answer]:
    asked = resolved(parameters)
    with torch.inference_mode():
        return ScoreCam().attribute(model, image, targets, asked, 0, report or ignore)


def literal(
    model: Model, image: Tensor, baseline: Tensor, maps: Tensor, target: int
) -> NDArray[np.float64]:
    """(h, w) in the words of the paper, from maps (channels, h, w)."""
    scores = []
    for channel in maps:
        mask = enlarged(channel[None], model.input_shape[1:])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        with torch.no_grad():
            logits = model.module((image * mask + baseline * (1 - mask))[None])
        scores.append(float(logits[0, target]))
    powers = np.exp(np.array(scores) - max(scores))
    weights = powers / powers.sum()
    total = np.zeros(maps.shape[1:])
    for weight, channel in zip(weights, maps.double().numpy(), strict=True):
        total += weight * channel
    return np.maximum(total, 0)


class Masked(nn.Module):
    """A classifier beside a layer of few channels, and so few masks, that it does not hear."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.masks = nn.Conv2d(3, 4, 9, 8).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.masks(inputs)
        logits: Tensor = self.network(inputs)
        return logits


def test_values_are_the_papers_on_every_classifier(classifier: Classifier) -> None:
    image, targets = classifier.batch.inputs[0], classifier.batch.targets.tolist()
    module = Masked(classifier.model.module)
    maps = module.masks(image[None])[0]
    layer = Layer("masks", 1, 1, "Conv2d", tuple(maps.shape), CHANNELS_FIRST)
    model = with_module(classifier.model, module, layers=(layer,))
    answers = explained(model, image, targets, m.ScoreCam(layer="masks"))
    for answer, target in zip(answers, targets, strict=True):
        coarse = literal(model, image, torch.zeros_like(image), maps, target)
        assert close(answer.values, classifier.enlarged(torch.from_numpy(coarse)))
        assert answer.evaluations == 4 + 2
    assert answers[0].output == pytest.approx(classifier.batch.logits[0], rel=1e-4)


@pytest.mark.parametrize("classifier", NARROW, indirect=True)
def test_values_are_the_papers_at_a_layer_of_the_classifier_itself(classifier: Classifier) -> None:
    model, image = classifier.model, classifier.batch.inputs[0]
    first = NARROW[classifier.name]
    with torch.no_grad():
        maps = model.module.get_submodule(first)(image[None])[0]
    target = int(classifier.batch.targets[0])
    coarse = literal(model, image, torch.zeros_like(image), maps, target)
    (answer,) = explained(model, image, [target], m.ScoreCam(layer=first))
    assert close(answer.values, classifier.enlarged(torch.from_numpy(coarse)))
    assert answer.evaluations == len(maps) + 2


def test_values_are_the_papers_on_tokens_with_a_baseline_and_several_targets() -> None:
    model = transformer()
    image = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    tokens = model.module.get_submodule("embed")(image[None])[0, 1:]
    maps = tokens.T.reshape(-1, 4, 6)
    reports = Reports()
    asked = m.ScoreCam(layer="embed", baseline=BLACK)
    answers = explained(model, image, [4, 1], asked, reports)
    baseline = model.preprocessing.normalize_color((0, 0, 0)).expand_as(image)
    for answer, target in zip(answers, [4, 1], strict=True):
        coarse = literal(model, image, baseline, maps, target)
        assert close(answer.values, enlarged(torch.from_numpy(coarse)[None], (16, 24))[0])
    assert reports.done[-1] == len(maps) + 2
    assert reports.totals == {len(maps) + 2}


def transformer() -> Model:
    return make_model(
        Transformer(class_token=True),
        Preprocessing((3, 16, 24), None, (0.5,) * 3, (0.5,) * 3),
        batch_size=5,
    )


class Constant(nn.Module):
    """Adds channels that are the same everywhere to maps (N, C, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, torch.ones_like(maps)], dim=1)


def test_channels_that_are_the_same_everywhere_have_no_part() -> None:
    torch.manual_seed(0)
    convolution, rest = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(8 * 6 * 6, 5))
    preprocessing = Preprocessing((3, 8, 8), None, (0.5,) * 3, (0.5,) * 3)
    model = make_model(nn.Sequential(convolution, Constant(), rest), preprocessing, batch_size=4)
    image = torch.randn(3, 8, 8)
    (answer,) = explained(model, image, [2], m.ScoreCam(layer="1"))
    coarse = literal(model, image, torch.zeros_like(image), convolution(image[None])[0], 2)
    assert close(answer.values, enlarged(torch.from_numpy(coarse)[None], (8, 8))[0])
    assert answer.evaluations == 4 + 2


@pytest.mark.parametrize("interpolation", [m.INTERPOLATION_BILINEAR, m.INTERPOLATION_NEAREST])
@pytest.mark.parametrize("scale", [2, 7])
def test_maps_larger_than_the_input_are_averaged(
    scale: int, interpolation: m.Interpolation.ValueType
) -> None:
    model = upsampling(16, (scale, scale))
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    maps = functional.avg_pool2d(model.module.get_submodule("0")(image[None]), scale)[0]
    asked = m.ScoreCam(layer="0", interpolation=interpolation)
    (answer,) = explained(model, image, [2], asked)
    coarse = literal(model, image, torch.zeros_like(image), maps, 2)
    assert close(answer.values, torch.from_numpy(coarse))
    assert answer.evaluations == 3 + 2


class Checkered(nn.Module):
    """Enlarges images (N, 3, H, W) and adds a channel whose pixels cancel out at their size."""

    def forward(self, inputs: Tensor) -> Tensor:
        large = functional.interpolate(inputs, scale_factor=2)
        rows, columns = torch.meshgrid(*map(torch.arange, large.shape[2:]), indexing="ij")
        checks = (rows + columns).remainder(2).to(large).expand(len(large), 1, -1, -1)
        return torch.cat([large, checks], dim=1)


def test_channels_that_are_the_same_everywhere_in_the_inputs_size_have_no_part() -> None:
    torch.manual_seed(0)
    rest = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
    preprocessing = Preprocessing((3, 8, 8), None, (0.5,) * 3, (0.5,) * 3)
    model = make_model(nn.Sequential(Checkered(), rest), preprocessing, batch_size=3)
    image = torch.randn(3, 8, 8)
    (answer,) = explained(model, image, [2], m.ScoreCam(layer="0"))
    coarse = literal(model, image, torch.zeros_like(image), image, 2)
    assert close(answer.values, torch.from_numpy(coarse))
    assert answer.evaluations == 3 + 2


def test_where_no_channel_is_a_mask_the_map_is_zero(cifar: Model) -> None:
    asked = m.ScoreCam(layer="0.conv1", baseline=BLACK)
    for answer in explained(cifar, torch.zeros(3, 32, 32), [6, 3], asked):
        assert np.array_equal(answer.values, np.zeros((32, 32)))
        assert answer.evaluations == 2


class Small(nn.Module):
    """A network on a device that has memory for so many images."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network = network
        self.most = most

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits: Tensor = self.network(inputs)
        return logits


def test_batches_that_do_not_fit_are_halved_and_nothing_is_lost(
    cifar: Model, thumbnail: Tensor
) -> None:
    (expected,) = explained(cifar, thumbnail, [6], m.ScoreCam(layer="0.conv2"))
    small = dataclasses.replace(cifar, forward=Small(cifar.module, most=3), batch=BatchSize(16))
    (answer,) = explained(small, thumbnail, [6], m.ScoreCam(layer="0.conv2"))
    assert np.allclose(answer.values, expected.values, atol=1e-6)
    assert answer.evaluations == expected.evaluations == 16 + 2


def test_scores_that_are_not_finite_are_an_error(cifar: Model, thumbnail: Tensor) -> None:
    broken = dataclasses.replace(
        cifar, forward=lambda inputs: torch.full((len(inputs), 10), float("nan"))
    )
    with pytest.raises(MethodError) as caught:
        explained(broken, thumbnail, [6], m.ScoreCam())
    assert caught.value.reason is Reason.NOT_FINITE
