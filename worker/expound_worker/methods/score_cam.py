"""Score-CAM: activation maps weighted by the score that each of them keeps as a mask."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.layer_maps import (
    activations,
    choose_layer,
    enlarge,
    input_size,
    refusal_without_layers,
    to_array,
)
from expound_worker.methods.method import LOGIT, Answer, MethodError, PerturbationMethod, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline

_OUTPUT_EVALUATIONS = 2
"""Those of the activations, and of the image's own score."""
_ROUNDING = 1e-6
"""Share of its values by which a map that is the same everywhere may vary when it is enlarged."""


class ScoreCam(PerturbationMethod):
    """Wang et al., 2020: ``ReLU(sum over k of w_k A_k)``, ``w = softmax over k of f(x under k)``.

    The image under channel k is ``h x + (1 - h) b``, where the mask ``h`` is the channel's map
    ``A_k``, enlarged and brought to [0, 1], and ``b`` is the baseline. ``f`` is the target's logit;
    the paper's ``f(x under k) - f(b)`` has the same softmax. A channel that is the same everywhere
    is no mask: it has no weight, and costs nothing. Where all are, the values are zero.

    Values (H, W): the coarse map, enlarged. They do not add up to anything, and chance has no part
    in them. Needs a layer whose output is a map, and no gradients. Cost: one evaluation a channel,
    and two for the image.
    """

    name = "score_cam"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.ScoreCam,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        layer, reason = choose_layer(model, parameters.layer)
        baseline = make_baseline(parameters.baseline, model.preprocessing, image, seed)
        outputs = model.logits(image[None])[0, list(targets)].tolist()
        maps = activations(model, layer, image[None])[0]
        maps = maps[_vary(maps, model, parameters.interpolation)]
        total = len(maps) + _OUTPUT_EVALUATIONS
        scores: list[Tensor] = [image.new_empty(0, len(targets))]
        done = _OUTPUT_EVALUATIONS
        for logits in _logits(model, image, baseline, maps, parameters.interpolation):
            scores.append(logits[:, list(targets)])
            done += len(logits)
            report(done, total)
        weights = torch.cat(scores).softmax(dim=0)
        coarse = torch.einsum("kt,khw->thw", weights, maps).relu()
        return [
            Answer(
                values,
                LOGIT,
                output=output,
                evaluations=total,
                layer=layer.name,
                layer_reason=reason,
            )
            for values, output in zip(
                to_array(enlarge(coarse, input_size(model), parameters.interpolation)),
                outputs,
                strict=True,
            )
        ]


def _vary(maps: Tensor, model: Model, interpolation: method_pb2.Interpolation.ValueType) -> Tensor:
    """(channels,) whether each map (h, w) is a mask: not the same everywhere when enlarged."""
    size = input_size(model)
    ranges = [
        torch.stack(enlarge(some, size, interpolation).flatten(1).aminmax(dim=1))
        for some in maps.split(model.batch_size)
    ]
    low, high = torch.cat(ranges, dim=1)
    vary: Tensor = high - low > _ROUNDING * torch.maximum(high.abs(), low.abs())
    return vary


def _logits(
    model: Model,
    image: Tensor,
    baseline: Tensor,
    maps: Tensor,
    interpolation: method_pb2.Interpolation.ValueType,
) -> Iterator[Tensor]:
    """Yields logits (n, classes) of the image under the next n maps, (channels, h, w) in all."""
    for start in range(0, len(maps), model.batch_size):
        masks = _to_masks(maps[start : start + model.batch_size], image, interpolation)
        logits = model.logits(torch.lerp(baseline, image, masks[:, None]))
        if not logits.isfinite().all():
            raise MethodError(
                Reason.NOT_FINITE,
                "the model gives NaN or infinity for the image under an activation map: choose "
                "another baseline",
            )
        yield logits


def _to_masks(
    maps: Tensor, image: Tensor, interpolation: method_pb2.Interpolation.ValueType
) -> Tensor:
    """(n, H, W) maps of the image's size, each from 0 to 1."""
    large = enlarge(maps, (image.shape[1], image.shape[2]), interpolation)
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    return (large - low) / (high - low)
