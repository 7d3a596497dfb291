"""What an attempt at a job keeps for the next one."""

import threading

import numpy as np
import pytest
import redis
import torch

from expound.v1 import method_pb2 as m
from expound_worker import checkpoints
from expound_worker.checkpoints import Scores, checkpointed
from expound_worker.methods.catalogue import PERTURBATION_METHODS
from expound_worker.methods.method import Answer, Estimate, Report
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.store import Store
from expound_worker.unit import Released, Unit
from tests.numeric.models import cifar_net, ignore, resolved, with_module
from tests.server.hand_worker import HandWorker

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
BREAKS_OFF_IN = 1


@pytest.fixture
def store(redis_url: str) -> Store:
    """A worker's view of a Redis in which the job "a 0" waits."""
    hand = HandWorker(redis_url)
    hand.create("a", methods=("lime",))
    attempt = hand.claim("a")
    assert attempt
    hand.run("offer", "a", attempt, "0")
    return Store(redis.Redis.from_url(redis_url), "worker")


def _stop_early(stopping: threading.Event, after: int) -> Report:
    def report(done: int, total: int, estimate: Estimate | None = None) -> None:
        if done >= after:
            stopping.set()

    return report


def _attempt(
    store: Store, model: Model, parameters: m.Lime | m.KernelShap, breaks_off_after: int = 0
) -> list[Answer]:
    """Takes the job and explains all images; gives it back in the second where it is to."""
    [attempt] = store.run("claim", "a", "0", "worker", "")
    unit, stopping = Unit(store, "a", "0", attempt), threading.Event()
    scores = Scores(unit, stopping)
    method = PERTURBATION_METHODS["lime" if isinstance(parameters, m.Lime) else "kernel_shap"]
    answers = []
    for number, image in enumerate(IMAGES):
        breaks_off = breaks_off_after and number == BREAKS_OFF_IN
        report = _stop_early(stopping, breaks_off_after) if breaks_off else ignore
        scores.next_input()
        try:
            own = checkpointed(model, scores)
            answers += method.attribute(own, image, [0], parameters, 0, report)
        except Released:
            unit.release()
            return answers
    assert not scores.repeating
    unit.release()
    return answers


@pytest.mark.parametrize("batch_sizes", [(8, 24), (24, 8)])
@pytest.mark.parametrize("method", [m.Lime, m.KernelShap])
def test_an_input_that_ends_elsewhere_takes_no_scores_of_the_next(
    store: Store, method: type[m.Lime] | type[m.KernelShap], batch_sizes: tuple[int, int]
) -> None:
    parameters = resolved(
        method(
            n_samples=400,
            segmentation=m.Segmentation(grid=m.GridSegmentation(rows=4, columns=4)),
            max_standard_error=1e-3,
        )
    )
    model = cifar_net()
    before, after = (with_module(model, model.module, batch=BatchSize(s)) for s in batch_sizes)
    expected = _attempt(store, after, parameters)
    store.client.delete("expound:explanation:a:checkpoint:0")
    assert len(_attempt(store, before, parameters, 40)) == BREAKS_OFF_IN
    resumed = _attempt(store, after, parameters)
    assert [answer.evaluations for answer in resumed] == [answer.evaluations for answer in expected]
    assert expected[0].evaluations < 400
    for answer, wanted in zip(resumed, expected, strict=True):
        assert answer.weights is not None and wanted.weights is not None
        np.testing.assert_allclose(answer.weights, wanted.weights, atol=1e-5)
        assert answer.output == pytest.approx(wanted.output, abs=1e-6)


def test_what_several_attempts_have_evaluated_is_one_to_the_last(store: Store) -> None:
    model = cifar_net()
    scored: list[int] = []
    model.module.register_forward_pre_hook(lambda _, inputs: scored.append(len(inputs[0])))
    parameters = resolved(m.Lime(sampling=m.Lime.SAMPLING_LIME, n_samples=200))
    expected = _attempt(store, model, parameters)
    store.client.delete("expound:explanation:a:checkpoint:0")
    whole, scored[:] = sum(scored), []
    for broken_off_after in (40, 120):
        assert len(_attempt(store, model, parameters, broken_off_after)) == BREAKS_OFF_IN
    resumed = _attempt(store, model, parameters)
    assert sum(scored) == whole
    for answer, wanted in zip(resumed, expected, strict=True):
        assert answer.weights is not None and wanted.weights is not None
        np.testing.assert_array_equal(answer.weights, wanted.weights)


def _scores(store: Store) -> tuple[Unit, threading.Event, Scores]:
    """Takes the job, and finds what the attempt before has kept."""
    [attempt] = store.run("claim", "a", "0", "worker", "")
    unit, stopping = Unit(store, "a", "0", attempt), threading.Event()
    return unit, stopping, Scores(unit, stopping)


def _give_back(unit: Unit, stopping: threading.Event, scores: Scores, last: list[float]) -> None:
    """Stops the worker: the last scores are kept too."""
    stopping.set()
    with pytest.raises(Released):
        scores.add(np.array(last))
    unit.release()


def _found(scores: Scores, shape: tuple[int, int]) -> list[list[float]] | None:
    found = scores.next_found(shape)
    return None if found is None else found.tolist()


def test_scores_of_all_inputs_are_kept_and_repeated_to_the_last_of_them(store: Store) -> None:
    unit, stopping, first = _scores(store)
    assert not first.repeating
    first.next_input()
    first.add(np.arange(4.0))
    first.next_input()
    _give_back(unit, stopping, first, [4.0, 5.0])
    unit, stopping, second = _scores(store)
    assert second.repeating
    second.next_input()
    assert _found(second, (2, 2)) == [[0, 1], [2, 3]]
    assert second.repeating  # the next input has some
    assert second.next_found((1, 2)) is None
    # Stopped at the first input again: what was kept of the next one is still kept.
    _give_back(unit, stopping, second, [6.0, 7.0])
    _, _, third = _scores(store)
    third.next_input()
    assert _found(third, (3, 2)) == [[0, 1], [2, 3], [6, 7]]
    third.next_input()
    assert _found(third, (1, 2)) == [[4, 5]]
    assert not third.repeating


def test_scores_are_kept_now_and_then_though_nobody_stops(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, _, scores = _scores(store)
    scores.next_input()
    scores.add(np.arange(2.0))
    assert not unit.checkpoint()
    monkeypatch.setattr(checkpoints, "PERIOD_S", 0.0)
    scores.add(np.arange(2.0, 4.0))
    unit.release()
    _, _, again = _scores(store)
    again.next_input()
    assert _found(again, (2, 2)) == [[0, 1], [2, 3]]
