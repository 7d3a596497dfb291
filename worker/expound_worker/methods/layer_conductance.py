"""Layer conductance: integrated gradients through the units of a layer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.integrated_gradients import TOLERANCE
from expound_worker.methods.layer_maps import (
    activations_and_gradients,
    choose_layer,
    enlarge,
    input_size,
    refusal_without_layers,
    to_array,
)
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod
from expound_worker.models.model import Layer, Model
from expound_worker.perturbation.baselines import make_baseline


class LayerConductance(GradientMethod):
    """Dhamdhere, Sundararajan and Yan, 2018: ``sum over k of integral of df/dA_k dA_k``.

    The integral is along the straight path from a baseline to the input, as the sum that Captum's
    LayerConductance takes: of the gradient times the change to the next of ``n_steps + 1``
    Gauss-Legendre points.

    Values (H, W), in units of the score: each cell of the coarse map is shared out among the
    pixels that it becomes, so that the enlarged map has the same sum. They add up to
    ``f(x) - f(b)``, up to the convergence delta, where all that the score knows of the image goes
    through the positions of the layer; a class token, or a branch beside the layer, takes its part
    away. Where the map is far from it there is a warning.

    Needs gradients, a baseline and a layer whose output is a map. Cost: ``n_steps + 1`` forward
    passes and backward passes down to the layer, and one forward pass of the baseline.
    """

    name = "layer_conductance"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.LayerConductance, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        layer, reason = choose_layer(model, parameters.layer)
        return [
            _attribute_one(model, batch.one(index), parameters, seed, layer, reason)
            for index in range(len(batch.logits))
        ]


def _attribute_one(
    model: Model,
    one: Batch,
    parameters: method_pb2.LayerConductance,
    seed: int,
    layer: Layer,
    reason: str,
) -> Answer:
    image = one.inputs[0]
    baseline = make_baseline(parameters.baseline, model.preprocessing, image, seed)
    output = one.logits[0]
    baseline_output = float(model.float32_logits(baseline[None])[0, one.targets[0]])
    coarse = _conductance(model, layer, one, baseline, parameters.n_steps)
    values = _share_out(coarse[None], input_size(model), parameters.interpolation)
    delta = float(values.double().sum()) - (output - baseline_output)
    error = completeness_error(delta, output, baseline_output)
    return Answer(
        to_array(values)[0],
        LOGIT,
        output=output,
        baseline_output=baseline_output,
        convergence_delta=delta,
        completeness_error=error,
        n_steps=parameters.n_steps,
        evaluations=parameters.n_steps + 2,
        layer=layer.name,
        layer_reason=reason,
        warnings=_warnings(error, output - baseline_output),
    )


def _conductance(model: Model, layer: Layer, one: Batch, baseline: Tensor, n_steps: int) -> Tensor:
    """(h, w) conductance, summed over channels; points of the path run in the model's batches."""
    points = (1 + np.polynomial.legendre.leggauss(n_steps + 1)[0]) / 2
    total = torch.zeros(layer.output_shape[1:], device=baseline.device)
    previous: Sequence[Tensor] = ()
    for start in range(0, len(points), model.batch_size):
        one.pause()
        shares = torch.from_numpy(points[start : start + model.batch_size]).to(baseline)
        inputs = torch.lerp(baseline, one.inputs, shares[:, None, None, None])
        maps, gradients = activations_and_gradients(
            model, layer, inputs, one.targets.expand(len(inputs))
        )
        if previous:
            maps, gradients = torch.cat([previous[0], maps]), torch.cat([previous[1], gradients])
        total = total + (maps.diff(dim=0) * gradients[:-1]).sum(dim=(0, 1))
        previous = maps[-1:], gradients[-1:]
    return total


def _share_out(
    maps: Tensor, size: tuple[int, int], interpolation: method_pb2.Interpolation.ValueType
) -> Tensor:
    """Maps (N, h, w) enlarged to (N, H, W) with the same sums."""
    with torch.inference_mode(False), torch.enable_grad():
        ones = torch.ones_like(maps).requires_grad_()
        (pixels,) = torch.autograd.grad(enlarge(ones, size, interpolation).sum(), ones)
    return enlarge(maps / pixels, size, interpolation)


def _warnings(error: float, difference: float) -> list[str]:
    if error <= TOLERANCE:
        return []
    return [
        f"the values miss the difference of the scores, {difference:.3g}, by {error:.1%} "
        "(completeness error): n_steps are too few, or the score does not depend on the image "
        "through the positions of this layer alone"
    ]
