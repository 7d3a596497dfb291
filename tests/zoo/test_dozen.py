"""On the dozen, every method is right, or says how far it is not, or is refused with the reason."""

from dataclasses import replace

import pytest
from google.protobuf.message import Message

from expound.v1 import method_pb2 as m
from tests.numeric.classifiers import DOZEN
from tests.zoo import results
from tests.zoo.cells import Cell, run_method
from tests.zoo.checks import EXACT, Verdict
from tests.zoo.subject import Subject, load
from tests.zoo.trials import TRIALS

# What torch says of itself in forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

OF_NUMERIC = {
    *("deep_lift", "lrp", "grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "score_cam"),
    "layer_activation",
}
"""Methods that `tests/numeric` holds to their formulas on the dozen."""
WITHOUT_MODELS = {"lime", "rise"}
"""Methods of which a network sees no more than of the others that perturb: `make zoo` has them."""
METHODS = [method for method in TRIALS if method not in OF_NUMERIC | WITHOUT_MODELS]
FEW: dict[str, Message] = {
    "integrated_gradients": m.IntegratedGradients(n_steps=8, max_delta=0.01, max_steps=8),
    "gradient_shap": m.GradientShap(n_samples=6, stdev=0),
    "layer_conductance": m.LayerConductance(n_steps=8),
}
"""Parameters that cost less than those of the zoo."""
MUST_BE_EXACT = {
    *("saliency", "input_x_gradient", "deep_lift_shap", "occlusion", "feature_ablation"),
    *("kernel_shap", "permutation_shap", "partition_shap"),
}


@pytest.fixture(scope="module", params=DOZEN)
def subject(request: pytest.FixtureRequest) -> Subject:
    return load(request.param)


def run(subject: Subject, method: str) -> Cell:
    trial = TRIALS[method]
    if method in FEW:
        trial = replace(trial, parameters=lambda _: FEW[method])
    return run_method(subject, method, trial)


def test_every_method_meets_its_check_or_is_refused(subject: Subject) -> None:
    cells = {method: run(subject, method) for method in METHODS}
    answered = {name: cell for name, cell in cells.items() if cell.verdict is not Verdict.REFUSED}
    for cell in answered.values():
        assert cell.verdict in (Verdict.EXACT, Verdict.APPROXIMATE), cell
    for method in MUST_BE_EXACT:
        assert cells[method].verdict is Verdict.EXACT, cells[method]
        assert (cells[method].error or 0) <= EXACT
    committed = {cell.method for cell in results.read() if _refused(cell, subject)}
    assert set(cells) - set(answered) == committed & set(cells)
    assert all("use " in cell.reason for cell in cells.values() if _refused(cell, subject))


def _refused(cell: Cell, subject: Subject) -> bool:
    return cell.model == subject.name and cell.verdict is Verdict.REFUSED
