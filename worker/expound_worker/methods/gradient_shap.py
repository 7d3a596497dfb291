"""GradientSHAP: expected gradients between random baselines and noisy inputs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baselines

_FALSE_ALARM = 1e-4
"""Probability with which a map that is right has the warning that chance does not explain it."""
_ROUNDING = 1e-3
"""Completeness error that rounding may make where the chance is nil, as of linear models."""


class GradientShap(GradientMethod):
    """Expected gradients: Erion et al., 2019; Lundberg's GradientSHAP.

    "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients": ``E[(x' - b) * df(b + a(x' - b))/dx]`` over noisy inputs ``x' = x + e`` with ``e``
    normal, baselines ``b`` drawn from the list and ``a`` uniform in [0, 1). It is the Monte-Carlo
    integral of integrated gradients, averaged over baselines.

    Draws, of ``numpy.random.default_rng(seed)``: all ``a``, then the index of each baseline, then
    the noise sample by sample (float32). They are the same for every input.

    Values (C, H, W), in units of the score, sum to ``output - baseline_output`` up to chance:
    here those are the means of the score over the noisy inputs and over the baselines drawn, so
    that the expected `convergence_delta` is 0. `standard_error` is its standard deviation, from
    the spread of the samples: how far the sum is off by chance. A delta beyond chance is warned
    of.

    Needs gradients and baselines. Cost: `n_samples` forward and backward passes, and for the
    proof one forward pass a noisy input (none without noise) and a baseline.
    """

    name = "gradient_shap"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.GradientShap, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        return [
            self._attribute_one(model, batch.one(index), parameters, seed)
            for index in range(len(batch.logits))
        ]

    def _attribute_one(
        self, model: Model, one: Batch, parameters: method_pb2.GradientShap, seed: int
    ) -> Answer:
        image, target = one.inputs[0].detach(), int(one.targets[0])
        baselines = make_baselines(parameters.baselines, model.preprocessing, image, seed)
        baseline_scores = _scores(model, baselines, target)
        evaluations = parameters.n_samples + len(baselines)
        total = torch.zeros_like(image, dtype=torch.float64)
        sums, outputs, baseline_outputs = [], [], []
        for some in _draw(image, baselines, parameters, seed, model.batch_size):
            one.pause()
            spans = some.inputs - some.baselines
            values = spans * _gradients(model, some.baselines + some.places * spans, target)
            total += values.sum(dim=0, dtype=torch.float64)
            sums.append(values.sum(dim=(1, 2, 3), dtype=torch.float64).cpu().numpy())
            baseline_outputs.append(baseline_scores[some.choices])
            if parameters.stdev:
                outputs.append(_scores(model, some.inputs, target))
                evaluations += len(some.inputs)
            else:
                outputs.append(np.full(len(some.inputs), one.logits[0]))
        return _answer(
            total / parameters.n_samples,
            np.concatenate(sums),
            np.concatenate(outputs),
            np.concatenate(baseline_outputs),
            evaluations,
        )


@dataclass(frozen=True)
class _Samples:
    """Some samples: inputs and baselines (n, C, H, W), places (n, 1, 1, 1) and choices (n,)."""

    inputs: Tensor
    baselines: Tensor
    places: Tensor
    choices: NDArray[np.int64]


def _draw(
    image: Tensor,
    baselines: Tensor,
    parameters: method_pb2.GradientShap,
    seed: int,
    batch_size: int,
) -> Iterator[_Samples]:
    """Draws all samples, in batches; the batch size does not change what is drawn."""
    random = np.random.default_rng(seed)
    places = random.random(parameters.n_samples)
    choices = random.integers(len(baselines), size=parameters.n_samples)
    for start in range(0, parameters.n_samples, batch_size):
        here = slice(start, min(start + batch_size, parameters.n_samples))
        noise = random.standard_normal((here.stop - start, *image.shape), dtype=np.float32)
        yield _Samples(
            inputs=image + parameters.stdev * torch.from_numpy(noise).to(image),
            baselines=baselines[torch.from_numpy(choices[here]).to(image.device)],
            places=torch.from_numpy(places[here]).to(image).view(-1, 1, 1, 1),
            choices=choices[here],
        )


def _gradients(model: Model, points: Tensor, target: int) -> Tensor:
    points.requires_grad_()
    (gradients,) = torch.autograd.grad(model.module(points)[:, target].sum(), points)
    return gradients


def _scores(model: Model, inputs: Tensor, target: int) -> NDArray[np.float64]:
    logits = model.float32_logits(inputs)[:, target]
    scores: NDArray[np.float64] = logits.double().cpu().numpy()
    return scores


def _answer(
    values: Tensor,
    sums: NDArray[np.float64],
    outputs: NDArray[np.float64],
    baseline_outputs: NDArray[np.float64],
    evaluations: int,
) -> Answer:
    """The answer of all samples: (n,) sum of the values and scores at both ends, of each."""
    deltas = sums - (outputs - baseline_outputs)
    delta, standard_error = float(deltas.mean()), float(stats.sem(deltas))
    output, baseline_output = float(outputs.mean()), float(baseline_outputs.mean())
    error = completeness_error(delta, output, baseline_output)
    chance = standard_error * float(stats.t.isf(_FALSE_ALARM / 2, len(deltas) - 1))
    warnings = []
    if abs(delta) > chance and error > _ROUNDING:
        warnings.append(
            f"the values miss the difference of the scores, {output - baseline_output:.3g}, by "
            f"{delta:.2g}, and chance explains no more than {chance:.2g}: the gradient of this "
            "model does not describe it; use kernel_shap instead"
        )
    return Answer(
        values.float().cpu().numpy(),
        LOGIT,
        output=output,
        baseline_output=baseline_output,
        convergence_delta=delta,
        completeness_error=error,
        standard_error=standard_error,
        evaluations=evaluations,
        warnings=warnings,
    )
