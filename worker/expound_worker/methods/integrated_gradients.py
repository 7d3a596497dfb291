"""Integrated gradients: the gradient along the straight path from a baseline."""

import math

import captum.attr

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline

_QUADRATURES = {
    method_pb2.IntegratedGradients.QUADRATURE_GAUSS_LEGENDRE: "gausslegendre",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_RIGHT: "riemann_right",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_LEFT: "riemann_left",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_MIDDLE: "riemann_middle",
    method_pb2.IntegratedGradients.QUADRATURE_RIEMANN_TRAPEZOID: "riemann_trapezoid",
}


TOLERANCE = 0.05
"""Completeness error above which a map has a warning, where the caller has set no other."""


class IntegratedGradients:
    """Sundararajan, Taly and Yan, 2017: ``(x - b) * integral of df(b + a(x - b))/dx da``.

    By Captum. Needs gradients and a baseline. Completeness: the values (C, H, W), in units of the
    score, sum to ``f(x) - f(b)`` up to the convergence delta. With `max_delta` the number of points
    doubles until the completeness error is at most that, or `max_steps` are reached.

    Cost: `n_steps` forward and backward passes and one forward pass of the baseline; with
    `max_delta`, less than twice the points of the last round, which `Answer.n_steps` names.
    """

    name = "integrated_gradients"

    def refusal(self, model: Model) -> str | None:
        """None: every model that can be differentiated has it."""
        return None

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
        return [
            self._attribute_one(model, batch.one(index), parameters, seed)
            for index in range(len(batch.logits))
        ]

    def _attribute_one(
        self, model: Model, one: Batch, parameters: method_pb2.IntegratedGradients, seed: int
    ) -> Answer:
        baseline = make_baseline(parameters.baseline, model.preprocessing, one.inputs[0], seed)
        baselines = baseline[None]
        method = captum.attr.IntegratedGradients(model.module)
        output = one.logits[0]
        baseline_output = float(model.logits(baselines)[0, one.targets[0]])
        searching = parameters.HasField("max_delta")
        max_error = parameters.max_delta if searching else math.inf
        n_steps, evaluations = parameters.n_steps, 1
        while True:
            values = method.attribute(
                one.inputs,
                baselines=baselines,
                target=one.targets,
                n_steps=n_steps,
                method=_QUADRATURES[parameters.quadrature],
                internal_batch_size=model.batch_size,
            )
            evaluations += n_steps
            delta = float(values.double().sum()) - (output - baseline_output)
            error = completeness_error(delta, output, baseline_output)
            if not error > max_error or n_steps >= parameters.max_steps:  # NaN ends it too
                break
            n_steps = min(2 * n_steps, parameters.max_steps)
        return Answer(
            values[0].detach().float().cpu().numpy(),
            LOGIT,
            output=output,
            baseline_output=baseline_output,
            convergence_delta=delta,
            completeness_error=error,
            n_steps=n_steps,
            evaluations=evaluations,
            warnings=_warnings(error, output - baseline_output, n_steps, parameters),
        )


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
