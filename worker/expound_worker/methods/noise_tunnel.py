"""Noise tunnels: a gradient method run on several noisy copies of the input."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Batch, GradientMethod, MethodError
from expound_worker.models.model import Model

_FIGURE = re.compile(r"\d[\d.,e+-]*")
"""Warnings of several copies that differ in their figures alone are one warning."""


class NoiseTunnel(GradientMethod):
    """A gradient method that runs through a noise tunnel where its parameters ask for one.

    Smilkov et al., 2017, "SmoothGrad"; Adebayo et al., 2018, "Local Explanation Methods for Deep
    Neural Networks Lack Sensitivity to Parameter Values" (VarGrad). Of the maps ``M`` of n copies
    ``x + e`` of the input, ``e`` normal with the tunnel's standard deviation:

    - smoothgrad ``mean(M)``;
    - smoothgrad_sq ``mean(M^2)``;
    - vargrad ``mean(M^2) - mean(M)^2``.

    The method knows nothing of it: a copy is an input like any other. Every input gets the same
    noise, drawn on the CPU one copy after the other by ``torch.randn`` from a generator of the
    seed, so that it depends neither on the device nor on what else is in the batch. (Captum's
    NoiseTunnel draws the same after ``torch.manual_seed(seed)``, one copy at a time.) What the
    method itself draws from the seed is the same for every copy.

    The combined maps add up to nothing: an answer has no convergence delta, completeness error or
    baseline output. Its evaluations are those of all the copies.

    Cost: the method's, times the number of copies, and the logits of each copy.
    """

    def __init__(self, method: GradientMethod) -> None:
        """Makes a method of the same name out of `method`."""
        self.name = method.name
        self._method = method

    def refusal(self, model: Model) -> str | None:
        """As the method itself."""
        return self._method.refusal(model)

    def attribute(self, model: Model, batch: Batch, parameters: Any, seed: int) -> list[Answer]:
        """Explains a batch, under noise if `parameters` say so. See `GradientMethod`."""
        if not _given(parameters, "noise_tunnel"):
            return self._method.attribute(model, batch, parameters, seed)
        if _given(parameters, "max_delta"):
            raise MethodError(
                Reason.INVALID_FIELD,
                "maps under noise do not add up to a difference of scores, so that no precision "
                "can be asked of them: leave out max_delta or noise_tunnel",
                field="max_delta",
            )
        tunnel = parameters.noise_tunnel
        samples = [_Samples() for _ in batch.logits]
        for copies in _noisy_batches(model, batch, tunnel, seed):
            answers = self._method.attribute(model, copies, parameters, seed)
            for index, answer in enumerate(answers):
                samples[index % len(samples)].add(answer)
        return [
            one.combined(tunnel.type, logit)
            for one, logit in zip(samples, batch.logits, strict=True)
        ]


def _given(parameters: Any, field: str) -> bool:
    return field in parameters.DESCRIPTOR.fields_by_name and parameters.HasField(field)


def _noisy_batches(
    model: Model, batch: Batch, tunnel: method_pb2.NoiseTunnel, seed: int
) -> Iterator[Batch]:
    """Batches of copies of all inputs: those of one draw of the noise stand side by side."""
    generator = torch.Generator().manual_seed(seed)
    count = len(batch.logits)
    draws_per_batch = max(1, model.batch_size // count)
    for start in range(0, tunnel.n_samples, draws_per_batch):
        draws = min(draws_per_batch, tunnel.n_samples - start)
        noise = [torch.randn(model.input_shape, generator=generator) for _ in range(draws)]
        noisy = batch.inputs.detach() + tunnel.stdev * torch.stack(noise)[:, None].to(batch.inputs)
        inputs, targets = noisy.flatten(0, 1), batch.targets.repeat(draws)
        batch.pause()
        yield Batch(inputs, targets, _scores(model, inputs, targets), pause=batch.pause)


def _scores(model: Model, inputs: Tensor, targets: Tensor) -> Sequence[float]:
    logits = model.float32_logits(inputs)
    scores: list[float] = logits.gather(1, targets[:, None])[:, 0].tolist()
    return scores


class _Samples:
    """The answers for the copies of one input, as the sums that their statistics need."""

    def __init__(self) -> None:
        self._count = 0
        self._evaluations = 0
        self._sum: NDArray[np.float64] | float = 0.0
        self._sum_of_squares: NDArray[np.float64] | float = 0.0
        self._warnings: list[str] = []
        self._first: Answer | None = None

    def add(self, answer: Answer) -> None:
        """Takes in the answer for one more copy."""
        values = answer.values.astype(np.float64)
        self._count += 1
        self._evaluations += answer.evaluations
        self._sum = self._sum + values
        self._sum_of_squares = self._sum_of_squares + values**2
        self._warnings += answer.warnings
        self._first = self._first or answer

    def combined(self, kind: method_pb2.NoiseTunnel.Type.ValueType, output: float) -> Answer:
        """The one answer of all copies, whose score at the input is `output`."""
        if self._first is None:
            raise ValueError("there is no copy to combine")
        return replace(
            self._first,
            values=self._statistic(kind).astype(np.float32),
            output=output,
            evaluations=self._evaluations,
            baseline_output=None,
            convergence_delta=None,
            completeness_error=None,
            standard_error=None,
            warnings=_merged(self._warnings),
        )

    def _statistic(self, kind: method_pb2.NoiseTunnel.Type.ValueType) -> NDArray[np.float64]:
        mean = np.asarray(self._sum) / self._count
        mean_of_squares = np.asarray(self._sum_of_squares) / self._count
        match kind:
            case method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD_SQ:
                return mean_of_squares
            case method_pb2.NoiseTunnel.TYPE_VARGRAD:
                return np.maximum(mean_of_squares - mean**2, 0.0)
            case _:
                return mean


def _merged(warnings: Iterable[str]) -> list[str]:
    """Each kind of warning once, as its first copy has it."""
    first: dict[str, str] = {}
    for warning in warnings:
        first.setdefault(_FIGURE.sub("#", warning), f"a noisy copy: {warning}")
    return list(first.values())
