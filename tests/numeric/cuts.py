"""The dozen classifiers cut in two by hand, at the layer that explains them: without any hook."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.classifiers import build
from tests.numeric.models import make_model


@dataclass(frozen=True)
class Cut:
    """One forward pass in two parts.

    Attributes:
        layer: name of the layer behind which the network is cut.
        maps: (N, channels, h, w) its output.
        tail: the rest of the network: maps to logits (N, classes).
    """

    layer: str
    maps: Tensor
    tail: Callable[[Tensor], Tensor]

    def gradients(self, targets: Tensor) -> Tensor:
        """(N, channels, h, w) gradient of each target's logit by the maps."""
        maps = self.maps.clone().requires_grad_()
        scores = self.tail(maps.clone()).gather(1, targets[:, None])
        (gradients,) = torch.autograd.grad(scores.sum(), maps)
        return gradients


@dataclass(frozen=True)
class Classifier:
    """One of the dozen, two inputs of noise with the best class of each, and its two parts."""

    name: str
    model: Model
    batch: Batch
    cut: Cut

    def answers_beside(
        self,
        explain: Callable[[Model, Batch], Sequence[Answer]],
        literal: Callable[[Tensor, Tensor], NDArray[np.float64]],
    ) -> Iterator[tuple[Answer, Tensor]]:
        """The answer for each input, and the (h, w) that `literal` makes of maps and gradients."""
        gradients = self.cut.gradients(self.batch.targets)
        answers = explain(self.model, self.batch)
        for answer, maps, gradient in zip(answers, self.cut.maps, gradients, strict=True):
            yield answer, torch.from_numpy(literal(maps, gradient))

    def enlarged(self, coarse: Tensor) -> Tensor:
        """A coarse map (h, w) in the size of the inputs."""
        return enlarged(coarse[None], self.model.input_shape[1:])[0]


def load(name: str) -> Classifier:
    """Builds one of the dozen with random weights."""
    module, size = build(name)
    model = make_model(module, Preprocessing((3, size, size), None, (0.5,) * 3, (0.5,) * 3), 16)
    inputs = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    logits, targets = model.logits(inputs).max(dim=1)
    batch = Batch(inputs, targets.clone(), logits.tolist())
    parts = cut(name, module, inputs)
    assert torch.allclose(parts.tail(parts.maps).amax(dim=1), logits, rtol=1e-4)
    return Classifier(name, model, batch, parts)


def cut(name: str, module: nn.Module, inputs: Tensor) -> Cut:
    """Runs one of the dozen on inputs (N, 3, H, W), cut at its default layer."""
    family = name.split("_")[0].rstrip("0123456789")
    with torch.no_grad():
        return _CUTS[family](module, inputs)


def _resnet(net: Any, inputs: Tensor) -> Cut:
    maps = inputs
    for part in takewhile(lambda child: child is not net.avgpool, net.children()):
        maps = part(maps)
    return Cut("layer4", maps, lambda maps: net.fc(maps.mean(dim=(2, 3))))


def _vgg(net: Any, inputs: Tensor) -> Cut:
    def tail(maps: Tensor) -> Tensor:
        logits: Tensor = net.classifier(net.avgpool(net.features[28](maps)).flatten(1))
        return logits

    return Cut("features.27", net.features[:28](inputs), tail)


def _densenet(net: Any, inputs: Tensor) -> Cut:
    maps = net.features(inputs)
    return Cut("features.norm5", maps, lambda maps: net.classifier(maps.relu().mean(dim=(2, 3))))


def _inception(net: Any, inputs: Tensor) -> Cut:
    """The last maps of inputs of 96 x 96 that have more than one cell."""

    def tail(maps: Tensor) -> Tensor:
        maps = net.Mixed_7c(net.Mixed_7b(net.Mixed_7a(maps)))
        logits: Tensor = net.fc(maps.mean(dim=(2, 3)))
        return logits

    maps = inputs
    for part in takewhile(lambda child: child is not net.Mixed_7a, net.children()):
        maps = maps if part is net.AuxLogits else part(maps)
    return Cut("Mixed_6e", maps, tail)


def _features(net: Any, inputs: Tensor) -> Cut:
    def tail(maps: Tensor) -> Tensor:
        logits: Tensor = net.classifier(maps.mean(dim=(2, 3)))
        return logits

    return Cut(f"features.{len(net.features) - 1}", net.features(inputs), tail)


def _convnext(net: Any, inputs: Tensor) -> Cut:
    def tail(maps: Tensor) -> Tensor:
        logits: Tensor = net.classifier(maps.mean(dim=(2, 3), keepdim=True))
        return logits

    return Cut("features.7", net.features(inputs), tail)


def _shufflenet(net: Any, inputs: Tensor) -> Cut:
    maps = net.maxpool(net.conv1(inputs))
    maps = net.conv5(net.stage4(net.stage3(net.stage2(maps))))
    return Cut("conv5", maps, lambda maps: net.fc(maps.mean(dim=(2, 3))))


def _swin(net: Any, inputs: Tensor) -> Cut:
    maps = net.norm(net.features(inputs)).permute(0, 3, 1, 2)
    return Cut("norm", maps, lambda maps: net.head(maps.mean(dim=(2, 3))))


def _vit(net: Any, inputs: Tensor) -> Cut:
    """What the attention of the last block reads: behind it, the class token alone counts."""
    patches = net.conv_proj(inputs)
    tokens = torch.cat(
        [net.class_token.expand(len(inputs), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
    )
    tokens = tokens + net.encoder.pos_embedding
    *blocks, last = net.encoder.layers
    for block in blocks:
        tokens = block(tokens)
    read = last.ln_1(tokens)

    def tail(maps: Tensor) -> Tensor:
        here = torch.cat([read[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
        mixed = tokens + last.self_attention(here, here, here, need_weights=False)[0]
        logits: Tensor = net.heads(net.encoder.ln(mixed + last.mlp(last.ln_2(mixed)))[:, 0])
        return logits

    rows, columns = patches.shape[2:]
    maps = torch.stack(
        [
            torch.stack([read[:, 1 + row * columns + column] for column in range(columns)], dim=2)
            for row in range(rows)
        ],
        dim=2,
    )
    return Cut("encoder.layers.encoder_layer_11.ln_1", maps, tail)


_CUTS: dict[str, Callable[[Any, Tensor], Cut]] = {
    "resnet": _resnet,
    "vgg": _vgg,
    "densenet": _densenet,
    "inception": _inception,
    "mobilenet": _features,
    "efficientnet": _features,
    "convnext": _convnext,
    "shufflenet": _shufflenet,
    "vit": _vit,
    "swin": _swin,
}


def enlarged(coarse: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Coarse maps (N, h, w) as (N, H, W)."""
    return functional.interpolate(coarse[:, None], size, mode=mode)[:, 0]


def close(ours: NDArray[np.float32], expected: Tensor) -> bool:
    """Whether a map is the expected one, to rounding in float32; neither may be empty of values."""
    reference = expected.detach().double().numpy()
    largest = np.abs(reference).max()
    assert largest > 0
    assert ours.dtype == np.float32
    assert ours.shape == reference.shape
    return bool(np.abs(ours - reference).max() <= 1e-4 * largest)
