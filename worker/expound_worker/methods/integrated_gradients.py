"""Integrated gradients: the gradient along the straight path from a baseline."""

from collections.abc import Sequence

import captum.attr
import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod, MethodError
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline

_TRAPEZOID = method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_TRAPEZOID
_QUADRATURES = {
    method_pb2.IntegratedGradients.QUADRATURE_GAUSS_LEGENDRE: "gausslegendre",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_RIGHT: "riemann_right",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_LEFT: "riemann_left",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_MIDDLE: "riemann_middle",
    _TRAPEZOID: "riemann_trapezoid",
}
TOLERANCE = 0.05
"""Completeness error above which a map has a warning, where the caller has set no other."""


class IntegratedGradients(GradientMethod):
    """Sundararajan, Taly and Yan, 2017: ``(x - b) * integral of df(b + a(x - b))/dx da``.

    By Captum, the inputs of a batch side by side. Captum's weights of the trapezoidal rule sum to
    ``(n_steps - 1) / n_steps``, and its values are divided by that here: every rule is exact where
    the gradient is the same along the path. Needs gradients and a baseline. Completeness: the
    values (C, H, W), in units of the score, sum to ``f(x) - f(b)`` up to the convergence delta.
    With `max_delta` the number of points doubles until the completeness error is at most that, or
    `max_steps` are reached.

    Cost: `n_steps` forward and backward passes and one forward pass of the baseline; with
    `max_delta`, less than twice the points of the last round, which `Answer.n_steps` names.
    """

    name = "integrated_gradients"

    def attribute(
        self,
        model: Model,
        batch: Batch,
        parameters: method_pb2.IntegratedGradients,
        seed: int,
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        if parameters.HasField("max_delta") and parameters.max_steps < parameters.n_steps:
            raise MethodError(
                Reason.INVALID_FIELD,
                f"max_steps must be at least n_steps, {parameters.n_steps}, with which the search "
                f"for max_delta begins, not {parameters.max_steps}",
                field="max_steps",
            )
        baselines = torch.stack(
            [
                make_baseline(parameters.baseline, model.preprocessing, image, seed)
                for image in batch.inputs
            ]
        )
        logits = model.float32_logits(baselines)
        baseline_outputs = logits.gather(1, batch.targets[:, None])[:, 0].tolist()
        answers: dict[int, Answer] = {}
        n_steps, evaluations = parameters.n_steps, 1
        while len(answers) < len(baselines):
            left = [index for index in range(len(baselines)) if index not in answers]
            values = self._values(model, batch, baselines, left, parameters, n_steps)
            evaluations += n_steps
            for index, own in zip(left, values, strict=True):
                scores = batch.logits[index], baseline_outputs[index]
                answer = _answer(own, *scores, n_steps, evaluations, parameters)
                if _is_enough(answer, n_steps, parameters):
                    answers[index] = answer
            n_steps = min(2 * n_steps, parameters.max_steps)
        return [answers[index] for index in range(len(baselines))]

    def _values(
        self,
        model: Model,
        batch: Batch,
        baselines: Tensor,
        indices: Sequence[int],
        parameters: method_pb2.IntegratedGradients,
        n_steps: int,
    ) -> Tensor:
        """(n, C, H, W) values of some inputs of the batch."""
        values: Tensor = captum.attr.IntegratedGradients(batch.pausing(model)).attribute(
            batch.inputs[indices],
            baselines=baselines[indices],
            target=batch.targets[indices],
            n_steps=n_steps,
            method=_QUADRATURES[parameters.quadrature],
            # Captum runs all inputs at one point of their paths at least.
            internal_batch_size=max(model.batch_size, len(indices)),
        )
        if parameters.quadrature == _TRAPEZOID:
            values = values * (n_steps / (n_steps - 1))
        return values.detach()


def _answer(
    values: Tensor,
    output: float,
    baseline_output: float,
    n_steps: int,
    evaluations: int,
    parameters: method_pb2.IntegratedGradients,
) -> Answer:
    delta = float(values.double().sum()) - (output - baseline_output)
    error = completeness_error(delta, output, baseline_output)
    return Answer(
        values.float().cpu().numpy(),
        LOGIT,
        output=output,
        baseline_output=baseline_output,
        convergence_delta=delta,
        completeness_error=error,
        n_steps=n_steps,
        evaluations=evaluations,
        warnings=_warnings(error, output - baseline_output, n_steps, parameters),
    )


def _is_enough(answer: Answer, n_steps: int, parameters: method_pb2.IntegratedGradients) -> bool:
    """Whether the search for `max_delta`, if there is one, is over; NaN ends it too."""
    searching = parameters.HasField("max_delta") and n_steps < parameters.max_steps
    return not (searching and (answer.completeness_error or 0.0) > parameters.max_delta)


def _warnings(
    error: float,
    difference: float,
    n_steps: int,
    parameters: method_pb2.IntegratedGradients,
) -> list[str]:
    searching = parameters.HasField("max_delta")
    if error <= (parameters.max_delta if searching else TOLERANCE):
        return []
    missed = (
        f"the values miss the difference of the scores, {difference:.3g}, by {error:.1%} "
        f"(completeness error) with {n_steps} steps"
    )
    if searching:
        return [
            f"{missed}, the most that max_steps allows: max_delta={parameters.max_delta:g} is not "
            "reached"
        ]
    return [f"{missed}, too few here: raise n_steps, or set max_delta"]
