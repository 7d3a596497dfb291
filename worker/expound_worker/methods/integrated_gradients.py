"""Integrated gradients: the gradient along the straight path from a baseline."""

import captum.attr

from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch
from expound_worker.methods.noise_tunnel import through_noise
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
"""Completeness error, relative to the difference of the scores, above which a map has a warning."""


class IntegratedGradients:
    """Sundararajan, Taly and Yan, 2017: ``(x - b) * integral of df(b + a(x - b))/dx da``.

    By Captum. Needs gradients and a baseline. Completeness: the values sum to ``f(x) - f(b)`` up
    to the convergence delta. Cost: `n_steps` forward and backward passes, times the samples of a
    noise tunnel, and one forward pass of two images for the delta.
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
        arguments = {
            "baselines": baselines,
            "n_steps": parameters.n_steps,
            "method": _QUADRATURES[parameters.quadrature],
            "internal_batch_size": model.batch_size,
        }
        baseline_output = float(model.logits(baselines)[0, one.targets[0]])
        evaluations = parameters.n_steps + 1
        delta = None
        warnings: list[str] = []
        if parameters.HasField("noise_tunnel"):
            tunnel = parameters.noise_tunnel
            values = through_noise(method, tunnel, model, one, seed, **arguments)
            evaluations = tunnel.n_samples * parameters.n_steps + 1
        else:
            values = method.attribute(one.inputs, target=one.targets, **arguments)
            difference = one.logits[0] - baseline_output
            delta = float(values.double().sum()) - difference
            warnings = _completeness_warnings(delta, difference, parameters.n_steps)
        return Answer(
            values[0].detach().float().cpu().numpy(),
            LOGIT,
            output=one.logits[0],
            baseline_output=baseline_output,
            convergence_delta=delta,
            evaluations=evaluations,
            warnings=warnings,
        )


def _completeness_warnings(delta: float, difference: float, n_steps: int) -> list[str]:
    if abs(delta) <= TOLERANCE * abs(difference):
        return []
    share = abs(delta / difference) if difference else float("inf")
    return [
        f"the values miss the difference of the scores, {difference:.3g}, by {share:.1%}: "
        f"{n_steps} steps are too few here; raise n_steps"
    ]
