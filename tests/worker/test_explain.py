"""The unit ``explain`` of a batch, over a real Redis: what is computed, written and handed out."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from expound import parameters, records
from expound.v1 import explanation_pb2
from expound.v1 import method_pb2 as m
from expound_worker import explain
from expound_worker.batch_prediction import Images, PredictedExplanation, predict_all
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.inference import Inference
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.store import Store
from expound_worker.unit import Unit, Work
from tests.numeric.models import cifar_net, with_module
from tests.server.hand_worker import HandWorker

SUCCEEDED, FAILED = explanation_pb2.STATE_SUCCEEDED, explanation_pb2.STATE_FAILED
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
NOISE = m.NoiseTunnel(n_samples=2)
ALL_IN_ONE_PASS = m.Method(saliency=m.Saliency())
STEPS = m.Method(integrated_gradients=m.IntegratedGradients(n_steps=4))
JOB = m.Method(lime=m.Lime(n_samples=8))


@pytest.fixture
def hand(redis_url: str) -> HandWorker:
    return HandWorker(redis_url)


def claimed(hand: HandWorker, *methods: m.Method) -> list[Images]:
    """The unit ``explain`` of explanations "a" and "b", of an image each."""
    request = explanation_pb2.ExplainRequest(model="model", methods=methods)
    for number, method in enumerate(request.methods):
        method.key = str(number)
        parameters.resolve(getattr(method, method.WhichOneof("method") or ""))
    request.target.top_k = 1
    names = tuple(method.WhichOneof("method") or "" for method in methods)
    images = []
    for name, image in zip(("a", "b"), IMAGES, strict=True):
        hand.create(name, methods=names, inputs=(b"",))
        store = Store(hand.redis, hand.worker)
        unit = Unit(store, name, records.EXPLAIN_UNIT, hand.claim(name) or 0)
        asked = explanation_pb2.ExplainRequest()
        asked.CopyFrom(request)
        asked.inputs.add()
        images.append(Images(Work(unit, asked, explanation_pb2.PredictionsReady()), [image]))
    return images


def run(images: Sequence[Images], model: Model) -> list[tuple[str, int]]:
    """Runs them; gives what was handed out."""
    handed_out: list[tuple[str, int]] = []
    explain.run(
        images, Registry([model]), lambda *job: handed_out.append(job), give_way=lambda: None
    )
    return handed_out


def state(hand: HandWorker, name: str, unit: str) -> int:
    return int(hand.record(name)[f"{unit}:state".encode()])


def told(hand: HandWorker, name: str) -> list[str]:
    """The kinds of the events of an explanation."""
    events: list[tuple[bytes, dict[bytes, bytes]]] = hand.redis.xrange(records.events_key(name))  # type: ignore[assignment]  # sync client
    return [fields[b"kind"].decode() for _, fields in events]


def counted(model: Model) -> list[int]:
    """Where the sizes of the batches are noted that the network runs from now on."""
    sizes: list[int] = []
    model.module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


def predicted(images: Sequence[Images], model: Model) -> list[PredictedExplanation]:
    return predict_all(images[0].work.unit.store, images, Registry([model]))


def test_a_batch_is_predicted_and_explained_in_one_pass_and_its_jobs_handed_out(
    hand: HandWorker,
) -> None:
    model = cifar_net()
    sizes = counted(model)
    images = claimed(hand, ALL_IN_ONE_PASS, JOB)
    assert run(images, model) == [("a", 1), ("b", 1)]
    assert sizes == [2]
    for name in ("a", "b"):
        assert told(hand, name).count("predictions") == 1
        assert state(hand, name, "0") == state(hand, name, records.EXPLAIN_UNIT) == SUCCEEDED
        assert hand.claim(name, 1) == 1


@pytest.mark.parametrize("methods", [[JOB, STEPS], [STEPS, JOB], [STEPS, ALL_IN_ONE_PASS]])
def test_what_has_ended_meanwhile_is_left_alone(
    hand: HandWorker, methods: Sequence[m.Method]
) -> None:
    images = claimed(hand, *methods)
    hand.run("end", "a", str(explanation_pb2.STATE_CANCELLED), b"", "", "")
    before, model = hand.record("a"), cifar_net()
    sizes = counted(model)
    handed_out = run(images, model)
    # Both are predicted, and "b" alone is explained.
    assert sizes == [2, 1, 4]
    assert told(hand, "b").count("predictions") == 1
    assert handed_out == [("b", index) for index, method in enumerate(methods) if method == JOB]
    assert hand.record("a") == before
    for index, method in enumerate(methods):
        if method != JOB:
            assert state(hand, "b", str(index)) == SUCCEEDED


def test_a_model_that_fails_fails_the_explanations_whole(hand: HandWorker) -> None:
    def fail(_module: nn.Module, _inputs: object) -> None:
        raise ValueError("no")

    model = cifar_net()
    model.module.register_forward_pre_hook(fail)
    assert run(claimed(hand, ALL_IN_ONE_PASS, JOB), model) == []
    assert {int(hand.record(name)[b"state"]) for name in ("a", "b")} == {FAILED}


@pytest.mark.parametrize(
    ("method", "batch_size", "shares"),
    [
        (ALL_IN_ONE_PASS, 2, True),
        (ALL_IN_ONE_PASS, 1, False),
        (m.Method(saliency=m.Saliency(noise_tunnel=NOISE)), 2, False),
        (STEPS, 2, False),
        (JOB, 2, False),
    ],
)
def test_a_pass_is_kept_where_a_method_goes_on_from_it_and_it_fits(
    hand: HandWorker, method: m.Method, batch_size: int, shares: bool
) -> None:
    model = cifar_net()
    model = with_module(model, model.module, batch=BatchSize(batch_size))
    for explanation in predicted(claimed(hand, JOB, method), model):
        assert (explanation.forward is not None) == shares


def test_a_pass_that_cannot_be_kept_is_run_again_for_the_maps(hand: HandWorker) -> None:
    def fail(_module: nn.Module, _inputs: object) -> None:
        if torch.is_grad_enabled() and torch.is_inference_mode_enabled() is False:
            attempts.append(1)
            if len(attempts) == 1:
                raise torch.OutOfMemoryError("no room")

    attempts: list[int] = []
    model = cifar_net()
    model.module.register_forward_pre_hook(fail)
    run(claimed(hand, ALL_IN_ONE_PASS), model)
    assert attempts == [1, 1]
    assert state(hand, "a", "0") == state(hand, "b", "0") == SUCCEEDED


@pytest.mark.parametrize(("method", "whole"), [(STEPS, True), (JOB, False)])
def test_scores_of_gradients_are_float32_under_autocast(
    hand: HandWorker, method: m.Method, whole: bool
) -> None:
    model = cifar_net()
    inference = Inference(model.module, autocast=torch.bfloat16)
    model = dataclasses.replace(model, inference=inference)
    explanations = predicted(claimed(hand, method), model)
    found = [each.targets[0][0] for each in explanations]
    logits: Tensor = model.module(IMAGES)
    errors = [
        abs(score.logit - float(row[score.index])) for score, row in zip(found, logits, strict=True)
    ]
    assert (max(errors) < 1e-6) == whole
