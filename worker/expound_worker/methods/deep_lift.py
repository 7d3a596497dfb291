"""DeepLIFT: differences from a baseline, handed down by the rescale rule."""

from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline
from expound_worker.propagation.deep_lift.averages import average


class DeepLift(GradientMethod):
    """Shrikumar, Greenside and Kundaje, 2017, "Learning Important Features Through Propagating...".

    ``m * (x - b)``, where the multiplier ``m`` is the gradient with ``(f(x) - f(b)) / (x - b)`` in
    place of ``f'(x)`` in every non-linear function ``f`` (the rescale rule). Products of two
    activations, and so gates and attention, take the midpoint of the other factor; max pooling
    gives its difference to the place of the larger maximum; softmax and norms are written out in
    such steps.

    Values (C, H, W), in units of the score, sum to ``f(x) - f(b)`` up to rounding. The completeness
    error is measured on every map: above 0.001 it carries a warning, above 0.05 it is refused.

    Needs gradients and a baseline. Cost: two forward passes, of input and baseline, and one
    backward pass.
    """

    name = "deep_lift"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.DeepLift, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        baselines = [
            make_baseline(parameters.baseline, model.preprocessing, image, seed)[None]
            for image in batch.inputs
        ]
        return average(model, batch, baselines)
