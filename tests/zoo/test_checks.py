"""The checks of the zoo see what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import Message

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.method import Answer, MethodError
from tests.numeric.models import resolved
from tests.zoo import rewritten
from tests.zoo.beside import run_beside
from tests.zoo.cells import run_method
from tests.zoo.checks import Check, Verdict, difference, judge
from tests.zoo.subject import Subject, load
from tests.zoo.trials import TRIALS

# What torch says of itself in forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def resnet() -> Subject:
    return load("resnet18")


def answered(subject: Subject, method: str, parameters: Message) -> Answer:
    (answer,) = GRADIENT_METHODS[method].attribute(
        subject.model, subject.batch, resolved(parameters), seed=0
    )
    return answer


def verdict(subject: Subject, method: str, answer: Answer) -> Verdict:
    return judge(answer, TRIALS[method].check(subject, answer))[0]


def test_a_map_that_is_off_in_one_pixel_is_wrong(resnet: Subject) -> None:
    answer = answered(resnet, "saliency", m.Saliency())
    assert verdict(resnet, "saliency", answer) is Verdict.EXACT
    answer.values[1, 20, 30] += 0.01 * answer.values.max()
    assert verdict(resnet, "saliency", answer) is Verdict.WRONG


def test_values_that_do_not_add_up_are_wrong_unless_the_answer_says_by_how_much(
    resnet: Subject,
) -> None:
    answer = answered(resnet, "deep_lift", m.DeepLift())
    assert verdict(resnet, "deep_lift", answer) is Verdict.EXACT
    off = replace(answer, values=answer.values * np.float32(1.02))
    assert verdict(resnet, "deep_lift", off) is Verdict.WRONG
    named = replace(off, completeness_error=0.02)
    assert verdict(resnet, "deep_lift", named) is Verdict.WRONG
    warned = replace(named, warnings=["the values miss the difference by 2%"])
    assert verdict(resnet, "deep_lift", warned) is Verdict.APPROXIMATE
    worse = replace(warned, values=answer.values * np.float32(1.2))
    assert verdict(resnet, "deep_lift", worse) is Verdict.WRONG


def test_values_that_are_not_finite_are_wrong(resnet: Subject) -> None:
    answer = answered(resnet, "saliency", m.Saliency())
    answer.values[0, 0, 0] = np.nan
    assert judge(answer, Check(0.0))[0] is Verdict.WRONG
    assert judge(replace(answer, values=np.zeros(1, np.float32)), Check(np.nan))[0] is Verdict.WRONG


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ZeroDivisionError("a defect"), Verdict.WRONG),
        (MethodError(Reason.INVALID_FIELD, "n_steps"), Verdict.WRONG),
        (MethodError(Reason.NOT_COMPLETE, "off by 10%: use another"), Verdict.REFUSED),
    ],
)
def test_what_a_method_raises_is_wrong_unless_it_is_a_refusal(
    error: Exception, expected: Verdict, resnet: Subject
) -> None:
    def fail(_: Subject) -> Message:
        raise error

    cell = run_method(resnet, "saliency", replace(TRIALS["saliency"], parameters=fail))
    assert cell.verdict is expected
    assert str(error) in cell.reason


def test_a_method_that_takes_too_long_is_given_up(resnet: Subject) -> None:
    many = replace(TRIALS["rise"], parameters=lambda _: m.Rise(n_samples=20_000))
    cell = run_method(resnet, "rise", many, limit_s=0.5)
    assert cell.verdict is Verdict.SLOW
    assert cell.reason == "more than 0.5 s"


def test_rules_of_rectifiers_are_not_the_plain_gradient(resnet: Subject) -> None:
    guided, deconvolved = rewritten.guided(resnet), rewritten.deconvolved(resnet)
    assert difference(guided, resnet.gradient) > 0.1
    assert difference(deconvolved, guided) > 0.1


def test_captum_is_held_to_the_same_checks(resnet: Subject) -> None:
    deep_lift = run_beside(resnet, "captum/deep_lift")
    assert deep_lift.verdict is Verdict.WRONG and deep_lift.reason.startswith("raises RuntimeError")
    relevance = run_beside(resnet, "captum/lrp")
    assert relevance.verdict is Verdict.WRONG and (relevance.error or 0) > 1
    assert run_beside(resnet, "captum/guided_backprop").verdict is Verdict.EXACT
