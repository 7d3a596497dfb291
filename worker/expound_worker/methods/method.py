"""What a method is: the two protocols that every method follows, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound_worker.methods.forward import Forward
from expound_worker.models.model import Model

LOGIT = explanation_pb2.SCORE_LOGIT
PROBABILITY = explanation_pb2.SCORE_PROBABILITY


class MethodError(Exception):
    """A method cannot answer; carries the reason that the caller is told."""

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


@dataclass(frozen=True)
class Answer:
    """One map, with its proof; the fields are those of the contract's ``Attribution``.

    Attributes:
        values: (C, H, W) or (H, W) float32 in model input space; positive speaks for the target.
        score: which score of the model was explained; the unit of all that follows.
        output: the score at the input.
        evaluations: forward passes of one image that it took.
        baseline_output: the score at the baseline.
        convergence_delta: ``sum(values) - (output - baseline_output)``.
        completeness_error: how far the values are from adding up, relative to what they must add
            up to.
        n_steps: points on the path of path methods.
        standard_error: the largest one of the map, of methods that have no `standard_errors`: of a
            pixel, or of the sum of the values where that is what chance acts on.
        segments: (H, W) int32, segment of each pixel, from 0.
        weights: (segments,) float64, weight of each segment.
        standard_errors: (segments,) float64, standard error of each weight.
        intercept: weight of the empty image in a fitted surrogate.
        r_squared: quality of a fitted surrogate, at most 1.
        layer: layer of layer methods.
        layer_reason: how that layer was chosen.
        warnings: what a reader of the map should know.
    """

    values: NDArray[np.float32]
    score: explanation_pb2.Score.ValueType
    output: float
    evaluations: int
    baseline_output: float | None = None
    convergence_delta: float | None = None
    completeness_error: float | None = None
    n_steps: int | None = None
    standard_error: float | None = None
    segments: NDArray[np.int32] | None = None
    weights: NDArray[np.float64] | None = None
    standard_errors: NDArray[np.float64] | None = None
    intercept: float | None = None
    r_squared: float | None = None
    layer: str = ""
    layer_reason: str = ""
    warnings: list[str] = field(default_factory=list)


def no_pause() -> None:
    """Does nothing: the pause of work that nobody waits behind."""


@dataclass(frozen=True)
class Batch:
    """What a gradient method explains at once: some inputs, and one target of each.

    Attributes:
        inputs: (N, C, H, W) float32 on the model's device, in model input units.
        targets: (N,) int64 on the same device, class to explain for each of them.
        logits: the score of each target at its input, as of `Model.float32_logits`.
        forward: the forward pass of these very inputs, where it was kept.
        pause: called before each pass of the network, by methods that may take many. May raise what
            the caller wants the method to end with; the method lets it pass.
    """

    inputs: Tensor
    targets: Tensor
    logits: Sequence[float]
    forward: Forward | None = None
    pause: Callable[[], None] = no_pause

    def gradients(self, model: Model) -> Tensor:
        """The gradient (N, C, H, W) of each target's logit by its input."""
        forward = self.forward or Forward.run(model, self.inputs)
        return forward.gradients(self.targets)

    def one(self, index: int) -> "Batch":
        """The batch of one input alone."""
        here = slice(index, index + 1)
        return Batch(self.inputs[here], self.targets[here], self.logits[here], pause=self.pause)

    def pausing(self, model: Model) -> Callable[[Tensor], Tensor]:
        """The network of a model, with a pause before each pass."""

        def run(inputs: Tensor) -> Tensor:
            self.pause()
            logits: Tensor = model.module(inputs)
            return logits

        return run


class Method(Protocol):
    """What every method has, whatever its kind."""

    name: str
    """Its name: its field in the contract's ``Method``."""

    def refusal(self, model: Model) -> str | None:
        """Why the method cannot be right on the model, and what to use instead; None if it can.

        None unless a method has its own: what only a run can tell is refused then.
        """
        return None


class GradientMethod(Method, Protocol):
    """A method that needs a few forward and backward passes, and runs at once."""

    def attribute(self, model: Model, batch: Batch, parameters: Any, seed: int) -> list[Answer]:
        """Explains a batch.

        Args:
            model: the model.
            batch: inputs and their targets.
            parameters: the method's message of the contract, every default filled in.
            seed: seed of everything random.

        Returns:
            One answer an input of the batch.

        Raises:
            MethodError: the parameters do not fit the model or the inputs.
        """
        ...


Estimate = Callable[[], Sequence[Answer]]


def largest_error(answers: Sequence[Answer]) -> float | None:
    """The largest standard error of any answer and part; None where there is none."""
    errors = [
        error
        for answer in answers
        for error in (answer.standard_error, *_largest(answer.standard_errors))
        if error is not None
    ]
    return max(errors, default=None)


def _largest(errors: NDArray[np.float64] | None) -> list[float]:
    return [] if errors is None else [float(errors.max())]


class Report(Protocol):
    """Tells the caller how far a perturbation method is, after each batch.

    Raises whatever the caller wants the method to end with: a cancel, a deadline. The method lets
    it pass.
    """

    def __call__(self, done: int, total: int, estimate: Estimate | None = None) -> None:
        """Reports.

        Args:
            done: evaluations done for this input.
            total: evaluations planned for this input.
            estimate: gives the answers as they stand, one a target, with ``weights`` and
                ``segments``, or none where it is too early; called only when the caller wants them.
        """
        ...


class PerturbationMethod(Method, Protocol):
    """A method that needs hundreds of evaluations, and runs as a job that reports its progress."""

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: Any,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input; all its targets share the same evaluations.

        Args:
            model: the model.
            image: (C, H, W) float32 on the model's device, in model input units.
            targets: classes to explain.
            parameters: the method's message of the contract, every default filled in.
            seed: seed of everything random.
            report: called after each batch of evaluations.

        Returns:
            One answer a target, in their order.

        Raises:
            MethodError: the parameters do not fit the model or the input.
        """
        ...
