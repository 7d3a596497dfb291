"""Layer-wise relevance propagation: the score, handed down from layer to layer."""

import math

from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod, MethodError
from expound_worker.models.model import Model
from expound_worker.propagation.lrp.composites import (
    Composite,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus_flat,
)
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance

WARNED = 0.1
"""Completeness error above which a map has a warning."""
REFUSED = 1.0
"""Completeness error from which a map is refused: what was lost or gained is as much as the score
itself, so that the map shows no more of it than of the network's constants."""
_SCORE_TOLERANCE = 0.01
"""By how much the score with rules may differ from that without, of the largest score."""


class Lrp(GradientMethod):
    """Bach et al., 2015: ``R_i = x_i * sum over j of w_ij * R_j / z_j``, from the logit down.

    ``z_j = sum over i of x_i * w_ij + b_j`` is the output of a layer; the rules of the composite
    (Montavon et al., 2019) count only some contributions to it. Batch norms are folded into the
    layers before them; activations, and products with gates and with norms' statistics, pass
    relevance on; sums and means share it in proportion; max pooling gives it to the winner;
    attention has the rules of AttnLRP (Achtibat et al., 2024). Where zennit works, the values are
    zennit's.

    The values (C, H, W), in units of the logit, would sum to it if no layer had a bias. A bias is
    a contribution like any other, here as in the papers, and keeps its share; so do other
    constants, softmax in attention, and outputs without a positive contribution under z-plus. The
    completeness error ``|sum(values) - f(x)| / |f(x)|`` is all that they have kept or added
    together. It is measured on every map: above 0.1 the map has a warning, from 1 on, or where it
    is not finite, it is refused. A network with many biases, batch norms above all, keeps little:
    its map shows where the relevance went, and not how much there was.

    Needs gradients, and a rule for every function between input and score. Cost: one forward and
    one backward pass, on the way of which each layer is run again: as long as 1 to 3 gradients
    (epsilon), 2 to 5 (z-plus) or 2 to 8 (gamma).
    """

    name = "lrp"

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
        _check_same(scores, batch)
        return [
            _answer(value, logit) for value, logit in zip(values.cpu(), batch.logits, strict=True)
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


def _check_same(scores: Tensor, batch: Batch) -> None:
    """Raises MethodError where the model gave other scores with rules than without."""
    found = scores.gather(1, batch.targets[:, None])[:, 0]
    difference = (found - found.new_tensor(batch.logits)).abs()
    if bool((difference > _SCORE_TOLERANCE * scores.abs().amax(1)).any()):
        raise MethodError(
            Reason.METHOD_UNSUPPORTED,
            "the model's scores change when LRP looks on: it changes a view of a tensor in place, "
            "or is random; use integrated_gradients or kernel_shap instead",
        )


def _answer(value: Tensor, output: float) -> Answer:
    rounded = value.float()
    total = float(rounded.double().sum())
    delta = total - output
    error = abs(delta / output) if output else math.inf if delta else 0.0
    if not error < REFUSED:  # nor where it is NaN
        raise MethodError(
            Reason.NOT_COMPLETE,
            f"the relevance of the input sums to {total:.3g}, that of the score is {output:.3g}: "
            "the network's constants outweigh what LRP would show; use integrated_gradients or "
            "kernel_shap instead",
            completeness_error=f"{error:.3g}",
        )
    warnings = []
    if error > WARNED:
        warnings.append(
            f"the values sum to {total:.3g}, {total / output:.2%} of the score: the difference is "
            "with biases and other constants of the network, which have no pixel"
        )
    return Answer(
        rounded.numpy(),
        LOGIT,
        output=output,
        evaluations=1,
        convergence_delta=delta,
        completeness_error=error,
        warnings=warnings,
    )
