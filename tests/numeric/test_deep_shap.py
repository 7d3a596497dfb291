"""DeepShap equals shap's DeepExplainer, and is refused where its check of additivity fails."""

import numpy as np
import pytest
import shap
import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.deep_lift_shap import DeepLiftShap
from expound_worker.methods.deep_shap import DeepShap
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import ScaledGradient, Sharpen, cifar_of_modules, resolved, with_module

METHOD = DeepShap()


def explained(model: Model, batch: Batch, *baselines: m.Baseline) -> list[Answer]:
    return METHOD.attribute(model, batch, resolved(m.DeepShap(baselines=baselines)), seed=0)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # shap's
def test_values_equal_deep_explainers_and_are_additive(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    background = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    given = [m.Baseline(tensor=to_tensor(tensor.numpy())) for tensor in background]
    answers = explained(cifar, batch, *given)
    explainer = shap.DeepExplainer(cifar_of_modules(cifar), background)
    expected = explainer.shap_values(batch.inputs, check_additivity=True)
    for index, (answer, target) in enumerate(zip(answers, batch.targets, strict=True)):
        values = expected[index, ..., target]
        assert np.allclose(answer.values, values, rtol=1e-3, atol=1e-5 * np.abs(values).max())
        assert answer.baseline_output == pytest.approx(explainer.expected_value[target], abs=1e-5)
        assert abs(answer.convergence_delta or 0) < 0.01


def test_values_that_are_not_additive_are_refused(cifar: Model, thumbnail: Tensor) -> None:
    """An error that is small beside the difference of the scores is one all the same."""
    inexact = with_module(cifar, nn.Sequential(cifar.module, Sharpen(), ScaledGradient(1.02)))
    batch = batch_of(inexact, thumbnail)
    (relative,) = DeepLiftShap().attribute(inexact, batch, resolved(m.DeepLiftShap()), seed=0)
    assert relative.completeness_error == pytest.approx(0.02, rel=1e-2)
    with pytest.raises(MethodError, match="additivity") as caught:
        explained(inexact, batch)
    assert caught.value.reason is Reason.NOT_COMPLETE
    delta = float(caught.value.metadata["convergence_delta"])
    assert delta == pytest.approx(relative.convergence_delta, rel=1e-2)
