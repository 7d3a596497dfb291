"""Integrated gradients equal Captum's, and reach the precision that is asked of them."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.integrated_gradients import IntegratedGradients
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import resolved, with_module

METHOD = IntegratedGradients()
LEFT = m.IntegratedGradients.QUADRATURE_RIEMANN_LEFT
TRAPEZOID = m.IntegratedGradients.QUADRATURE_RIEMANN_TRAPEZOID
BLACK = m.Baseline(color=m.ColorBaseline())


def explained(model: Model, batch: Batch, parameters: m.IntegratedGradients) -> list[Answer]:
    return METHOD.attribute(model, batch, resolved(parameters), seed=0)


CAPTUMS = {
    m.IntegratedGradients.QUADRATURE_GAUSS_LEGENDRE: "gausslegendre",
    m.IntegratedGradients.QUADRATURE_RIEMANN_RIGHT: "riemann_right",
    LEFT: "riemann_left",
    m.IntegratedGradients.QUADRATURE_RIEMANN_MIDDLE: "riemann_middle",
    TRAPEZOID: "riemann_trapezoid",
}


@pytest.mark.parametrize(("quadrature", "captums"), CAPTUMS.items())
def test_values_and_delta_equal_captums_at_fixed_steps(
    quadrature: m.IntegratedGradients.Quadrature.ValueType,
    captums: str,
    cifar: Model,
    thumbnail: Tensor,
) -> None:
    batch = pair(cifar, thumbnail)
    answers = explained(cifar, batch, m.IntegratedGradients(n_steps=20, quadrature=quadrature))
    expected, deltas = captum.attr.IntegratedGradients(cifar.module).attribute(
        batch.inputs,
        target=batch.targets,
        n_steps=20,
        method=captums,
        return_convergence_delta=True,
    )
    # Captum's trapezoidal weights sum to (n - 1) / n, so that its values are too small by it.
    factor = 20 / 19 if quadrature == TRAPEZOID else 1
    for answer, values, delta in zip(answers, factor * expected, deltas, strict=True):
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-6)
        lacking = float((1 - 1 / factor) * values.sum())
        assert answer.convergence_delta == pytest.approx(float(delta) + lacking, abs=1e-4)
        assert answer.n_steps == 20
        assert answer.evaluations == 21


@pytest.mark.parametrize("quadrature", CAPTUMS)
@pytest.mark.parametrize("n_steps", [2, 10])
def test_every_rule_is_exact_on_a_linear_network(
    quadrature: m.IntegratedGradients.Quadrature.ValueType,
    n_steps: int,
    cifar: Model,
    thumbnail: Tensor,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Linear(3 * 32 * 32, 10).requires_grad_(False)
    model = with_module(cifar, nn.Sequential(nn.Flatten(), linear))
    asked = m.IntegratedGradients(n_steps=n_steps, quadrature=quadrature)
    (answer,) = explained(model, batch_of(model, thumbnail), asked)
    target = int(batch_of(model, thumbnail).targets[0])
    expected = linear.weight[target].view(3, 32, 32) * thumbnail
    assert np.allclose(answer.values, expected, rtol=1e-4, atol=1e-6)
    assert answer.completeness_error is not None and answer.completeness_error < 1e-4
    assert answer.warnings == []


def test_completeness_error_is_that_of_the_values(cifar: Model, thumbnail: Tensor) -> None:
    for answer in explained(cifar, pair(cifar, thumbnail), m.IntegratedGradients(n_steps=7)):
        assert answer.baseline_output is not None and answer.convergence_delta is not None
        difference = answer.output - answer.baseline_output
        total = answer.values.astype(float).sum()
        assert answer.convergence_delta == pytest.approx(total - difference, abs=1e-5)
        assert answer.completeness_error == pytest.approx(
            abs(answer.convergence_delta / difference)
        )


@pytest.mark.parametrize("max_delta", [0.1, 0.01])
def test_points_double_until_the_precision_is_reached(
    max_delta: float, cifar: Model, thumbnail: Tensor
) -> None:
    batch = batch_of(cifar, thumbnail)
    asked = m.IntegratedGradients(
        n_steps=3, quadrature=LEFT, baseline=BLACK, max_delta=max_delta, max_steps=2000
    )
    (answer,) = explained(cifar, batch, asked)
    assert answer.completeness_error is not None and answer.n_steps is not None
    assert answer.completeness_error <= max_delta
    assert answer.warnings == []
    rounds = [3 * 2**number for number in range(20) if 3 * 2**number <= answer.n_steps]
    assert rounds[-1] == answer.n_steps >= 24
    assert answer.evaluations == sum(rounds) + 1
    fixed = m.IntegratedGradients(n_steps=answer.n_steps // 2, quadrature=LEFT, baseline=BLACK)
    (before,) = explained(cifar, batch, fixed)
    assert before.completeness_error is not None and before.completeness_error > max_delta
    fixed.n_steps = answer.n_steps
    assert np.array_equal(explained(cifar, batch, fixed)[0].values, answer.values)


def test_inputs_of_a_batch_search_each_for_themselves(cifar: Model, thumbnail: Tensor) -> None:
    images = (thumbnail, thumbnail.flip(2), thumbnail / 10)
    batch = batch_of(cifar, *images, targets=[6, 3, 6])
    asked = m.IntegratedGradients(n_steps=3, quadrature=LEFT, baseline=BLACK, max_delta=0.02)
    together = explained(cifar, batch, asked)
    assert len({answer.n_steps for answer in together}) > 1
    for index, answer in enumerate(together):
        [alone] = explained(cifar, batch.one(index), asked)
        assert (answer.n_steps, answer.evaluations) == (alone.n_steps, alone.evaluations)
        assert np.allclose(answer.values, alone.values, rtol=1e-4, atol=1e-6)


def test_precision_that_is_not_reached_is_warned_of_with_the_figure(
    cifar: Model, thumbnail: Tensor
) -> None:
    asked = m.IntegratedGradients(
        n_steps=4, quadrature=LEFT, baseline=BLACK, max_delta=1e-7, max_steps=11
    )
    (answer,) = explained(cifar, batch_of(cifar, thumbnail), asked)
    assert answer.n_steps == 11  # the limit itself, though it is no double
    assert answer.evaluations == 4 + 8 + 11 + 1
    (warning,) = answer.warnings
    assert f"{answer.completeness_error:.1%}" in warning
    assert "max_delta=1e-07 is not reached" in warning


def test_map_far_from_complete_is_warned_of_though_no_precision_was_asked(
    cifar: Model, thumbnail: Tensor
) -> None:
    (answer,) = explained(
        cifar,
        batch_of(cifar, thumbnail),
        m.IntegratedGradients(n_steps=2, quadrature=LEFT, baseline=BLACK),
    )
    assert answer.completeness_error is not None and answer.completeness_error > 0.05
    (warning,) = answer.warnings
    assert "raise n_steps" in warning and f"{answer.completeness_error:.1%}" in warning


def test_limit_below_the_first_number_of_points_is_refused(cifar: Model, thumbnail: Tensor) -> None:
    with pytest.raises(MethodError) as caught:
        explained(
            cifar,
            batch_of(cifar, thumbnail),
            m.IntegratedGradients(n_steps=50, max_delta=0.1, max_steps=20),
        )
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "max_steps"


def test_input_that_equals_its_baseline_is_complete(cifar: Model) -> None:
    asked = m.IntegratedGradients(n_steps=2, max_delta=0.001)
    (answer,) = explained(cifar, batch_of(cifar, torch.zeros(3, 32, 32)), asked)
    assert answer.n_steps == 2
    assert answer.completeness_error == pytest.approx(0, abs=1e-3)
    assert not answer.values.any()


def test_values_equal_captums_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    batch = batch_of(efficientnet, photo, targets=[281])
    (answer,) = explained(efficientnet, batch, m.IntegratedGradients(n_steps=3))
    expected = captum.attr.IntegratedGradients(efficientnet.module).attribute(
        batch.inputs, target=281, n_steps=3
    )
    assert np.allclose(answer.values, expected[0], rtol=1e-3, atol=1e-6)
