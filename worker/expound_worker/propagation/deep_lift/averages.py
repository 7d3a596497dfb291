"""DeepLIFT averaged over baselines, and checked: what the methods of its family share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from expound.reasons import Reason
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.propagation.deep_lift.propagate import propagate

WARNED = 1e-3
"""Completeness error above which a map has a warning: rounding in float32 stays below."""
REFUSED = 0.05
"""Completeness error above which a map is refused."""


def average(model: Model, batch: Batch, baselines: Sequence[Tensor]) -> list[Answer]:
    """Explains each input of a batch against its baselines.

    Args:
        model: the model.
        batch: N inputs and their targets.
        baselines: (B, C, H, W) of each input.

    Returns:
        The mean over the baselines, one answer an input; `evaluations` counts input and baseline.

    Raises:
        MethodError: METHOD_UNSUPPORTED if the network cannot be followed; NOT_COMPLETE if the
            values do not add up.
    """
    counts = [len(given) for given in baselines]
    sources = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(model.device)
    values = torch.zeros_like(batch.inputs, dtype=torch.float64)
    baseline_outputs = torch.zeros(len(counts), dtype=torch.float64, device=model.device)
    # A batch of pairs takes the memory of twice as many inputs.
    pair_count = max(1, model.batch_size // 2)
    for some, references in zip(
        sources.split(pair_count), torch.cat(list(baselines)).split(pair_count), strict=True
    ):
        batch.pause()
        found = propagate(model.module, batch.inputs[some], references, batch.targets[some])
        values.index_add_(0, some, found.attributions.double())
        baseline_outputs.index_add_(0, some, found.baseline_outputs.double())
    return [
        _answer(values[index] / count, batch.logits[index], baseline_outputs[index] / count, count)
        for index, count in enumerate(counts)
    ]


def _answer(values: Tensor, output: float, baseline_output: Tensor, count: int) -> Answer:
    rounded = values.float()
    reference = float(baseline_output)
    delta = float(rounded.double().sum()) - (output - reference)
    error = completeness_error(delta, output, reference)
    missed = (
        f"the values miss the difference of the scores, {output - reference:.3g}, by {error:.2%} "
        "(completeness error)"
    )
    if not error <= REFUSED:  # nor where it is no number
        raise MethodError(
            Reason.NOT_COMPLETE,
            f"{missed}: use integrated_gradients with max_delta, or kernel_shap, instead",
            completeness_error=f"{error:.3g}",
        )
    return Answer(
        rounded.cpu().numpy(),
        LOGIT,
        output=output,
        evaluations=2 * count,
        baseline_output=reference,
        convergence_delta=delta,
        completeness_error=error,
        warnings=[missed] if error > WARNED else [],
    )
