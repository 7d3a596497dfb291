"""Layer-wise relevance propagation: the score, handed down from layer to layer."""

import math

import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.propagation.lrp.composites import (
    Composite,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus_flat,
)
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance

TOLERANCE = 0.1
"""Completeness error, relative to the score, above which a map has a warning."""
MAX_ERROR = 10.0
"""Completeness error above which a map is refused: biases then outweigh what it shows."""
_SCORE_TOLERANCE = 0.01
"""By how much the score with rules may differ from that without, of the largest score."""


class Lrp:
    """Bach et al., 2015: ``R_i = x_i * sum over j of w_ij * R_j / z_j``, from the logit down.

    ``z_j = sum over i of x_i * w_ij + b_j`` is the output of a layer; the rules of the composite
    (Montavon et al., 2019) count only some contributions to it. Batch norms are folded into the
    layers before them; activations, and products with gates and with norms' statistics, pass
    relevance on; sums and means share it in proportion; max pooling gives it to the winner;
    attention has the rules of AttnLRP (Achtibat et al., 2024). Where zennit works, the values are
    zennit's. Needs gradients, and a rule for every function between input and score.

    The values, in units of the logit, would sum to it if no layer had a bias. Biases keep a share
    by design, and so do softmax in attention and outputs without a positive contribution under
    z-plus: the completeness error ``|sum(values) - f(x)| / |f(x)|`` measures all of that. Above
    `TOLERANCE` a map has a warning, above `MAX_ERROR` or not finite it is refused.

    Cost: two forward passes and one backward pass, on the way of which each layer is run again:
    about as long as 3 (epsilon) to 7 (gamma) gradients.
    """

    name = "lrp"

    def refusal(self, model: Model) -> str | None:
        """None: whether all functions have rules is known when they are called."""
        return None

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.Lrp, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`.

        Raises:
            MethodError: METHOD_UNSUPPORTED where a function has no rule; NOT_COMPLETE where the
                relevance is not finite, or far from the score.
        """
        values, scores = relevance(
            model.module, batch.inputs, batch.targets, _composite(parameters), _bounds(model, batch)
        )
        _check_same(scores, model.logits(batch.inputs))
        totals = values.double().sum((1, 2, 3)).tolist()
        outputs = scores.gather(1, batch.targets[:, None])[:, 0].tolist()
        return [
            _answer(value, total, output)
            for value, total, output in zip(values.cpu(), totals, outputs, strict=True)
        ]


def _composite(parameters: method_pb2.Lrp) -> Composite:
    if parameters.composite == method_pb2.Lrp.COMPOSITE_EPSILON_GAMMA_BOX:
        return epsilon_gamma_box(parameters.epsilon, parameters.gamma)
    if parameters.composite == method_pb2.Lrp.COMPOSITE_EPSILON:
        return epsilon_everywhere(parameters.epsilon)
    return epsilon_plus_flat(parameters.epsilon)


def _bounds(model: Model, batch: Batch) -> Bounds:
    """What images have in model input units; wider where an input (noise, a tensor) is outside."""
    inputs = batch.inputs
    black, white = (
        model.preprocessing.normalize_color((level,) * inputs.shape[1]).to(inputs)
        for level in (0.0, 1.0)
    )
    return Bounds(inputs.minimum(black), inputs.maximum(white))


def _check_same(scores: Tensor, expected: Tensor) -> None:
    """Raises MethodError where the model gave other scores with rules than without."""
    difference = (scores - expected).abs().amax(1)
    if bool((difference > _SCORE_TOLERANCE * expected.abs().amax(1)).any()):
        raise MethodError(
            Reason.METHOD_UNSUPPORTED,
            "the model's scores change when LRP looks on: it changes a view of a tensor in place, "
            "or is random; use integrated_gradients or kernel_shap instead",
        )


def _answer(value: Tensor, total: float, output: float) -> Answer:
    delta = total - output
    error = abs(delta / output) if output else math.inf if delta else 0.0
    if not error <= MAX_ERROR:  # nor where it is NaN
        raise MethodError(
            Reason.NOT_COMPLETE,
            f"the relevance of the input sums to {total:.3g}, that of the score is {output:.3g}: "
            "biases outweigh what LRP would show; use another composite, or integrated_gradients",
            completeness_error=f"{error:.3g}",
        )
    warnings = []
    if error > TOLERANCE:
        warnings.append(
            f"the values sum to {total:.3g}, {total / output:.0%} of the score: the rest is with "
            "biases and other constants of the network, which LRP gives no pixel"
        )
    return Answer(
        value.float().numpy(),
        LOGIT,
        output=output,
        evaluations=2,
        convergence_delta=delta,
        completeness_error=error,
        warnings=warnings,
    )
