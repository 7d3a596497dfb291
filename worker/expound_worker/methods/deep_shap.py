"""DeepShap: the algorithm of shap's DeepExplainer."""

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Batch, GradientMethod, MethodError
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baselines
from expound_worker.propagation.deep_lift.averages import average

TOLERANCE = 0.01
"""Error of additivity that shap allows, in units of the score."""


class DeepShap(GradientMethod):
    """Lundberg and Lee, 2017, as shap's DeepExplainer: ``mean over b of m_b * (x - b)``.

    The values (C, H, W), in units of the score, are those of `DeepLiftShap`. A map is refused where
    they miss ``f(x) - mean f(b)`` by more than 0.01, which is shap's check of additivity.

    Needs gradients and baselines. Cost: two forward and one backward pass a baseline.
    """

    name = "deep_shap"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.DeepShap, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        baselines = [
            make_baselines(parameters.baselines, model.preprocessing, image, seed)
            for image in batch.inputs
        ]
        answers = average(model, batch, baselines)
        for answer in answers:
            _check_additivity(answer.convergence_delta or 0)
        return answers


def _check_additivity(delta: float) -> None:
    if abs(delta) > TOLERANCE:
        raise MethodError(
            Reason.NOT_COMPLETE,
            f"the values miss the difference of the scores by {abs(delta):.3g}; additivity allows "
            f"{TOLERANCE}: use deep_lift_shap, which checks relative to the difference, or "
            "kernel_shap instead",
            convergence_delta=f"{delta:.3g}",
        )
