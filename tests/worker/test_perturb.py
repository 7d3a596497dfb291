"""A perturbation method of a request: what its job tells of all inputs, and who can stop it."""

import threading
from typing import cast

import pytest
import torch
from torch import Tensor

from expound import records
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound.v1 import method_pb2 as m
from expound_worker import perturb, progress
from expound_worker.decoding import pixels
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.predictions import predict
from expound_worker.store import Store
from expound_worker.unit import Unit, Work
from tests.numeric.models import cifar_net, resolved
from tests.server.hand_worker import HandWorker

N_SAMPLES = 200
IMAGE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def hand(redis_url: str) -> HandWorker:
    """A worker of a Redis in which the job "a 0" waits."""
    hand = HandWorker(redis_url)
    hand.create("a", methods=("lime",))
    hand.run("offer", "a", hand.claim("a") or 0, "0")
    return hand


def _run(hand: HandWorker, model: Model, *images: Tensor) -> None:
    """Takes the job, which explains two classes of some images, and runs it."""
    request = explanation_pb2.ExplainRequest(model=model.name)
    request.target.top_k = 2
    grid = m.Segmentation(grid=m.GridSegmentation(rows=2, columns=3))
    lime = m.Lime(sampling=m.Lime.SAMPLING_LIME, n_samples=N_SAMPLES, segmentation=grid)
    request.methods.add(key="lime", lime=resolved(lime))
    for image in images:
        request.inputs.add(tensor=to_tensor(image.numpy()))
    predictions = predict(model, model.logits(torch.stack(images)), request.target)
    unit = Unit(Store(hand.redis, hand.worker), "a", "0", hand.claim("a", 0) or 0)
    work = Work(unit, request, explanation_pb2.PredictionsReady(predictions=predictions))
    perturb.run(work, 0, Registry([model]), pixels.decode, threading.Event())


def test_progress_is_that_of_all_inputs(hand: HandWorker) -> None:
    _run(hand, cifar_net(), IMAGE, IMAGE / 100)
    written = cast(bytes, hand.redis.get(records.result_key("a", 0)))
    result = explanation_pb2.MethodResult.FromString(written)
    first, _, second, _ = result.attributions
    assert first.standard_error > 2 * second.standard_error > 0
    largest = max(each.standard_error for each in result.attributions)
    assert result.progress.standard_error == pytest.approx(largest)
    assert result.progress.evaluations_total == result.progress.evaluations_done
    assert result.progress.evaluations_done == first.evaluations + second.evaluations


def test_a_cancel_between_two_reports_ends_it(
    hand: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_CHECK_PERIOD_S", 0.0)
    monkeypatch.setattr(progress, "_PERIOD_S", 3600.0)
    model = cifar_net()
    passes: list[int] = []

    def cancel(*_: object) -> None:
        passes.append(len(passes))
        if len(passes) == 4:
            hand.run("end", "a", str(explanation_pb2.STATE_CANCELLED), b"", "", "")

    model.module.register_forward_pre_hook(cancel)
    _run(hand, model, IMAGE)
    assert len(passes) == 4
    assert not hand.redis.exists(records.result_key("a", 0))
