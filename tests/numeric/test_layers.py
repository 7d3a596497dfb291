"""Layers are found with their layouts, and the default is the last one that explains the score."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import MaxVit

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS
from expound_worker.methods.method import MethodError
from expound_worker.models.cards import model_card
from expound_worker.models.layout import CHANNELS_LAST, Layout, possible_layouts
from expound_worker.models.model import Layer, Model
from expound_worker.models.preprocessing import Preprocessing
from tests.models.networks import perceptron
from tests.numeric.classifiers import build
from tests.numeric.cuts import Classifier
from tests.numeric.gradients import batch_of
from tests.numeric.models import make_model, resolved
from tests.numeric.transformers import Transformer

LAYER_METHODS = (
    "grad_cam",
    "guided_grad_cam",
    "layer_activation",
    "layer_conductance",
    "grad_cam_plus_plus",
    "layer_cam",
    "score_cam",
    "eigen_cam",
)


def model_of(module: nn.Module, height: int, width: int, channels: int = 3) -> Model:
    ones = (0.5,) * channels
    return make_model(module, Preprocessing((channels, height, width), None, ones, ones), 8)


def default(model: Model) -> Layer:
    (layer,) = [layer for layer in model.layers if layer.default_reason]
    return layer


def layer(model: Model, name: str) -> Layer:
    return next(layer for layer in model.layers if layer.name == name)


def small_maxvit() -> nn.Module:
    module: nn.Module = MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 4, 0.0, num_classes=5)
    return module


@pytest.mark.parametrize(
    ("name", "expected", "shape"),
    [
        ("googlenet", "inception5b", (1024, 3, 3)),
        ("squeezenet1_1", "features.12", (512, 5, 5)),
        ("mnasnet0_5", "layers.16", (1280, 2, 2)),
        ("regnet_y_400mf", "trunk_output.block4", (440, 2, 2)),
    ],
)
def test_other_families_of_torchvision_have_their_last_maps(
    name: str, expected: str, shape: tuple[int, int, int]
) -> None:
    module, size = build(name)
    found = default(model_of(module, size, size))
    assert (found.name, found.output_shape) == (expected, shape)


def test_maxvit_has_its_last_block_and_no_windows_for_maps() -> None:
    model = model_of(small_maxvit(), 64, 64)
    assert default(model).name == "blocks.1"
    assert default(model).output_shape == (16, 8, 8)
    windows = ("window_attention.partition_op", "grid_attention.attn_layer")
    assert not any(window in layer.name for layer in model.layers for window in windows)


def test_maps_of_the_classes_are_passed_over_and_the_reason_says_so() -> None:
    head = nn.Sequential(nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), head), 16, 16)
    assert default(model).name == "1"
    assert default(model).default_reason == (
        "the last layer with a map (14x14, channels first) through which the score depends on the "
        "image; later ones have the scores of the classes for channels: 2.0"
    )


def test_each_run_of_a_module_is_a_layer_and_pooled_maps_are_passed_over(cifar: Model) -> None:
    names = [layer.name for layer in cifar.layers]
    assert names == ["0.conv1", "0.pool#1", "0.conv2", "0.pool#2"]
    assert layer(cifar, "0.pool#2").output_shape == (16, 5, 5)
    assert default(cifar).name == "0.conv2"
    assert default(cifar).default_reason.endswith("later ones are only pooled: 0.pool#2")


def test_class_token_is_left_out_and_what_it_reads_last_is_the_default() -> None:
    model = model_of(Transformer(class_token=True), 16, 24)
    tokens = Layout(channels_last=True, grid=(4, 6), leading_tokens=1)
    assert layer(model, "embed").layout == tokens
    assert layer(model, "embed").output_shape == (8, 4, 6)
    assert default(model).name == "blocks.1.norm"
    assert "through their leading tokens alone: blocks.1.linear" in default(model).default_reason


def test_tokens_that_all_count_have_their_last_block_for_default() -> None:
    model = model_of(Transformer(class_token=False, registers=4), 24, 16)
    assert default(model).name == "blocks.1"
    assert default(model).layout == Layout(channels_last=True, grid=(6, 4), leading_tokens=4)


@pytest.mark.parametrize("classifier", ["swin_t"], indirect=True)
def test_swins_layers_have_their_channels_last(classifier: Classifier) -> None:
    layouts = {layer.layout for layer in classifier.model.layers if "features.7" in layer.name}
    assert layouts == {CHANNELS_LAST}


def assert_seen_where_it_is(
    model: Model, name: str, image: Tensor, place: tuple[slice, slice]
) -> None:
    """Checks that brighter pixels at a place change the activation of a layer there alone."""
    brighter = image.clone()
    brighter[:, *place] += 3
    asked = resolved(m.LayerActivation(layer=name, interpolation=m.INTERPOLATION_NEAREST))
    batch = batch_of(model, image, brighter, targets=[0, 0])
    before, after = GRADIENT_METHODS["layer_activation"].attribute(model, batch, asked, 0)
    expected = np.zeros(image.shape[1:], bool)
    expected[place] = True
    assert np.array_equal(np.abs(after.values - before.values) > 1e-5, expected)


@pytest.mark.parametrize("classifier", ["vit_b_32", "swin_t"], indirect=True)
def test_a_bright_patch_is_seen_where_it_is_by_classifiers_of_torchvision(
    classifier: Classifier,
) -> None:
    name, cell = {"vit_b_32": ("encoder.dropout", 32), "swin_t": ("features.0.1", 4)}[
        classifier.name
    ]
    image = classifier.batch.inputs[0]
    assert_seen_where_it_is(
        classifier.model, name, image, (slice(0, cell), slice(2 * cell, 3 * cell))
    )


@pytest.mark.parametrize(("height", "width"), [(16, 24), (24, 16), (16, 16)])
@pytest.mark.parametrize("registers", [0, 4])
def test_a_bright_patch_is_seen_where_it_is_in_grids_of_any_form(
    height: int, width: int, registers: int
) -> None:
    model = model_of(Transformer(class_token=True, registers=registers), height, width)
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    assert_seen_where_it_is(model, "embed", image, (slice(4, 8), slice(12, 16)))


class Patches(nn.Module):
    """Maps (N, h, w, channels) of patches of 4 x 4 pixels; as many channels as rows."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.convolution(images).permute(0, 2, 3, 1)
        return maps


def test_channels_are_told_from_rows_of_the_same_number() -> None:
    model = model_of(nn.Sequential(Patches(), nn.Flatten(), nn.Linear(8 * 8 * 8, 5)), 32, 32)
    assert default(model).name == "0"
    assert default(model).layout == CHANNELS_LAST
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert_seen_where_it_is(model, "0", image, (slice(4, 8), slice(20, 24)))


def test_patches_that_leave_a_rest_are_a_grid_too() -> None:
    model = model_of(Transformer(class_token=True), 18, 27)
    assert layer(model, "embed").layout == Layout(channels_last=True, grid=(4, 6), leading_tokens=1)


@pytest.mark.parametrize(
    ("token_count", "height", "width", "found"),
    [
        (4 * 6 + 5, 16, 24, [(4, 6, 5)]),
        (4 * 6 + 6, 16, 24, []),
        (4 * 6 + 1, 16, 24, [(4, 6, 1)]),  # not 4 x 5 patches of 5 x 5, and a padded rest
        (5 * 7, 18, 27, [(5, 7, 0)]),  # of 4 x 4, padded
        (1, 16, 16, []),
        (4, 4, 16, []),  # a row of patches
    ],
)
def test_tokens_are_a_grid_of_patches_and_five_more_at_most(
    token_count: int, height: int, width: int, found: list[tuple[int, int, int]]
) -> None:
    layouts = possible_layouts((2, token_count, 8), (3, height, width))
    assert list(layouts) == [
        Layout(channels_last=True, grid=(rows, columns), leading_tokens=leading)
        for rows, columns, leading in found
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 4)])
def test_one_row_of_cells_is_no_map(size: tuple[int, int]) -> None:
    assert not list(possible_layouts((2, 8, *size), (3, 4, 16)))


class WithoutGradient(nn.Module):
    """A network that nothing can be differentiated through."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.maps(images).amax(dim=(2, 3)))
        return logits


def test_network_without_gradients_has_its_last_map_and_the_reason_says_so() -> None:
    found = default(model_of(WithoutGradient(), 8, 8))
    assert found.name == "maps"
    assert found.default_reason.endswith("none carries the score's gradient")


class TooLargeForGradients(nn.Module):
    """A network for whose gradients memory does not suffice."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            raise torch.OutOfMemoryError("no room")
        logits: Tensor = self.head(self.maps(images).mean(dim=(2, 3)))
        return logits


def test_a_probe_that_does_not_fit_into_memory_is_no_network_without_gradients() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        model_of(TooLargeForGradients(), 8, 8)


@pytest.mark.parametrize("name", LAYER_METHODS)
def test_network_without_maps_is_refused_with_what_to_use_instead(name: str) -> None:
    refusal = METHODS[name].refusal(model_of(perceptron(), 8, 8, channels=1))
    assert refusal is not None
    assert "no layer of the model has a spatial output" in refusal
    assert "use integrated_gradients" in refusal


def refusal_of(model: Model, name: str) -> MethodError:
    batch = batch_of(model, torch.zeros(model.input_shape), targets=[0])
    with pytest.raises(MethodError) as caught:
        GRADIENT_METHODS["grad_cam"].attribute(model, batch, resolved(m.GradCam(layer=name)), 0)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata == {"field": "layer", "layer": name}
    return caught.value


@pytest.mark.parametrize("classifier", ["resnet18"], indirect=True)
def test_unknown_layer_of_many_is_refused_with_the_nearest(classifier: Classifier) -> None:
    message = refusal_of(classifier.model, "layer4.1.conv3").message
    assert message.startswith("there is no layer 'layer4.1.conv3'; GetModel lists the 73 ")
    assert "layer4.1.conv2" in message and "layer4.1.conv1" in message


@pytest.mark.parametrize("classifier", ["resnet18"], indirect=True)
def test_layer_without_a_map_is_refused(classifier: Classifier) -> None:
    message = refusal_of(classifier.model, "fc").message
    assert message.startswith("the output of layer 'fc' is no map of the image")


def test_unknown_layer_of_few_is_refused_with_all_of_them(cifar: Model) -> None:
    assert refusal_of(cifar, "conv1").message == (
        "there is no layer 'conv1'; those with a map are 0.conv1, 0.pool#1, 0.conv2, 0.pool#2"
    )


def test_module_that_runs_twice_must_be_named_with_its_run(cifar: Model) -> None:
    assert refusal_of(cifar, "0.pool").message == (
        "layer '0.pool' runs 2 times; name one of its runs: 0.pool#1, 0.pool#2"
    )


def test_card_lists_the_layers_in_their_order_and_marks_the_default(cifar: Model) -> None:
    card = model_card(cifar, [])
    assert [
        (layer.name, layer.kind, list(layer.output_shape), layer.default) for layer in card.layers
    ] == [
        ("0.conv1", "Conv2d", [6, 28, 28], False),
        ("0.pool#1", "MaxPool2d", [6, 14, 14], False),
        ("0.conv2", "Conv2d", [16, 10, 10], True),
        ("0.pool#2", "MaxPool2d", [16, 5, 5], False),
    ]
