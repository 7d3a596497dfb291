"""DeepLiftShap: DeepLIFT averaged over baselines."""

from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baselines
from expound_worker.propagation.deep_lift.averages import average


class DeepLiftShap(GradientMethod):
    """Lundberg and Lee, 2017, "A Unified Approach to Interpreting Model Predictions".

    ``mean over b of m_b * (x - b)``: `DeepLift` averaged over baselines, an approximation of the
    Shapley values of the elements. Values (C, H, W), in units of the score, sum to ``f(x)`` minus
    the mean of ``f(b)``, and are checked as those of DeepLIFT are.

    Needs gradients and baselines; noise baselines are different ones. Cost: two forward and one
    backward pass a baseline.
    """

    name = "deep_lift_shap"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.DeepLiftShap, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        baselines = [
            make_baselines(parameters.baselines, model.preprocessing, image, seed)
            for image in batch.inputs
        ]
        return average(model, batch, baselines)
