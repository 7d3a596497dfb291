"""What ends LIME and the Shapley estimators early, that they say so, and that nothing else does."""

import time

import numpy as np
import pytest
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.lime import Lime
from expound_worker.methods.method import Answer
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.models.model import Model
from tests.numeric.models import Reports, resolved

GRID = m.Segmentation(grid=m.GridSegmentation(rows=3, columns=4))
FINE_GRID = m.Segmentation(grid=m.GridSegmentation(rows=8, columns=8))
Parameters = m.KernelShap | m.Lime | m.PermutationShap | m.PartitionShap

METHODS: dict[str, Parameters] = {
    "kernel_shap": m.KernelShap(segmentation=GRID),
    "kernel_shap as shap": m.KernelShap(segmentation=GRID, sampling=m.KernelShap.SAMPLING_SHAP),
    "lime": m.Lime(segmentation=GRID),
    "lime as lime": m.Lime(segmentation=GRID, sampling=m.Lime.SAMPLING_LIME),
    "permutation_shap": m.PermutationShap(segmentation=GRID),
    "partition_shap": m.PartitionShap(segmentation=FINE_GRID),
}


def explained(
    model: Model,
    image: Tensor,
    name: str,
    reports: "Reports | Clock",
    n_samples: int,
    max_standard_error: float | None = None,
    max_seconds: float | None = None,
) -> Answer:
    parameters = type(METHODS[name])()
    parameters.CopyFrom(METHODS[name])  # type: ignore[arg-type]  # of its own type
    parameters.n_samples = n_samples
    if max_seconds is not None:
        parameters.max_seconds = max_seconds
    if max_standard_error is not None:
        parameters.max_standard_error = max_standard_error
    match resolved(parameters):
        case m.KernelShap() as asked:
            return KernelShap().attribute(model, image, [6], asked, 0, reports)[0]
        case m.Lime() as asked:
            return Lime().attribute(model, image, [6], asked, 0, reports)[0]
        case m.PermutationShap() as asked:
            return PermutationShap().attribute(model, image, [6], asked, 0, reports)[0]
        case m.PartitionShap() as asked:
            return PartitionShap().attribute(model, image, [6], asked, 0, reports)[0]


@pytest.mark.parametrize("name", METHODS)
def test_run_ends_with_the_first_estimate_that_is_sure_enough_and_says_so(
    name: str, cifar: Model, thumbnail: Tensor
) -> None:
    first = Reports()
    explained(cifar, thumbnail, name, first, 1000)
    limit = float(np.median([error for error in first.standard_errors if error is not None]))
    reports = Reports()
    answer = explained(cifar, thumbnail, name, reports, 1000, max_standard_error=limit)
    (total,) = reports.totals
    assert answer.evaluations == reports.done[-1] < total
    assert answer.standard_errors is not None and answer.standard_errors.max() <= limit
    assert all(error is None or error > limit for error in reports.standard_errors[:-1])
    assert answer.warnings == [
        f"stopped after {answer.evaluations} of {total} evaluations: no standard error is above "
        f"max_standard_error={limit:g}"
    ]


class Clock:
    """A report that takes a second."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.reports = Reports()

    def __call__(self, *told: object, **named: object) -> None:
        self.now_s += 1
        self.reports(*told, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_run_ends_with_a_map_when_its_time_is_up_and_says_so(
    name: str, cifar: Model, thumbnail: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    answer = explained(cifar, thumbnail, name, clock, 1000, max_seconds=4.5)
    (total,) = clock.reports.totals
    assert clock.now_s == 5
    assert answer.weights is not None and np.any(answer.weights != 0)
    assert answer.evaluations == clock.reports.done[-1] < total
    assert answer.warnings == [
        f"stopped after {answer.evaluations} of {total} evaluations: max_seconds=4.5 have passed"
    ]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_samples", [130, 260])
def test_run_without_limits_takes_its_samples_and_warns_of_nothing(
    name: str, n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    answer = explained(cifar, thumbnail, name, reports, n_samples)
    assert {answer.evaluations} == {reports.done[-1]} == reports.totals
    # Image and baseline come on top of some, and are counted by shap with each permutation.
    assert 0.8 * n_samples < answer.evaluations <= n_samples + 2
    assert answer.warnings == []


@pytest.mark.parametrize("name", METHODS)
def test_a_limit_that_is_reached_with_the_last_evaluation_ends_nothing_early(
    name: str, cifar: Model, thumbnail: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Reports()
    explained(cifar, thumbnail, name, whole, 130)
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    answer = explained(cifar, thumbnail, name, clock, 130, max_seconds=len(whole.done) - 0.5)
    assert clock.reports.done == whole.done
    assert answer.warnings == []
