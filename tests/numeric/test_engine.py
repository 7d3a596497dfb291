"""The engine scores what it says, whatever the memory and the network."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound.reasons import Reason
from expound_worker.methods.method import MethodError
from expound_worker.models.model import Model
from expound_worker.perturbation.engine import Scorer, check_plan_size, check_segment_count
from tests.numeric.models import with_module


def segments_of(height: int, width: int, count: int) -> NDArray[np.int32]:
    """Scattered segments: the pixels of each are anywhere."""
    return (
        np.random.default_rng(0)
        .permutation(np.arange(height * width) % count)
        .reshape(height, width)
        .astype(np.int32)
    )


def random_masks(count: int, segment_count: int) -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((count, segment_count)) < 0.5


def test_scores_equal_those_of_composites_made_pixel_by_pixel(
    cifar: Model, thumbnail: Tensor
) -> None:
    baseline = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(2))
    segments, masks = segments_of(32, 32, 9), random_masks(20, 9)
    masks[0], masks[1] = True, False
    scorer = Scorer(cifar, thumbnail, baseline, segments, [6, 0, 6])
    scores = np.concatenate(list(scorer.batches(masks)))
    assert scores.shape == (20, 3)
    assert scores.dtype == np.float64
    for mask, given in zip(masks, scores, strict=True):
        composite = torch.empty(3, 32, 32)
        for row in range(32):
            for column in range(32):
                source = thumbnail if mask[segments[row, column]] else baseline
                composite[:, row, column] = source[:, row, column]
        expected = cifar.logits(composite[None]).double().softmax(dim=1)[0, [6, 0, 6]]
        assert np.allclose(given, expected, atol=1e-6, rtol=0)


def test_masks_are_scored_in_batches_of_the_model(cifar: Model, thumbnail: Tensor) -> None:
    scorer = Scorer(cifar, thumbnail, thumbnail * 0, segments_of(32, 32, 4), [1])
    counts = []
    for scores in scorer.batches(random_masks(40, 4)):
        counts.append(len(scores))
        assert scorer.evaluations == sum(counts)
    assert counts == [16, 16, 8]


class Recorder(nn.Module):
    """Keeps the layout of what it is given; fails above a batch size like a full device."""

    def __init__(self, largest_batch: int = 1000) -> None:
        super().__init__()
        self.largest_batch = largest_batch
        self.batches: list[int] = []
        self.contiguous: list[bool] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches.append(len(inputs))
        self.contiguous.append(inputs.is_contiguous())
        if len(inputs) > self.largest_batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inputs.mean(dim=(2, 3))


def test_networks_get_contiguous_inputs_whatever_the_layout_of_the_image(
    cifar: Model, thumbnail: Tensor
) -> None:
    recorder = Recorder()
    permuted = thumbnail.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not permuted.is_contiguous()
    scorer = Scorer(
        with_module(cifar, recorder), permuted, permuted * 0, segments_of(32, 32, 4), [0]
    )
    list(scorer.batches(random_masks(9, 4)))
    assert recorder.contiguous == [True]


def test_composites_have_the_very_values_of_image_and_baseline(
    cifar: Model, thumbnail: Tensor
) -> None:
    given: list[Tensor] = []
    recorder = Recorder()
    recorder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    baseline = 100 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(2))
    segments, masks = segments_of(32, 32, 9), random_masks(12, 9)
    scorer = Scorer(with_module(cifar, recorder), thumbnail, baseline, segments, [0])
    list(scorer.batches(masks))
    kept = torch.from_numpy(masks[:, segments])[:, None]
    assert torch.equal(torch.cat(given), torch.where(kept, thumbnail, baseline))


def test_batch_that_does_not_fit_into_memory_is_halved_and_nothing_is_lost(
    cifar: Model, thumbnail: Tensor
) -> None:
    recorder, masks = Recorder(largest_batch=5), random_masks(21, 4)
    arguments = (thumbnail, thumbnail * 0, segments_of(32, 32, 4), [0, 2])
    scores = list(Scorer(with_module(cifar, recorder), *arguments).batches(masks))
    assert recorder.batches == [16, 8, 4, 4, 4, 4, 4, 1]
    expected = list(Scorer(with_module(cifar, Recorder()), *arguments).batches(masks))
    assert np.allclose(np.concatenate(scores), np.concatenate(expected), atol=1e-7, rtol=0)


def test_device_without_memory_for_one_image_is_an_error_that_says_so(
    cifar: Model, thumbnail: Tensor
) -> None:
    model = with_module(cifar, Recorder(largest_batch=0))
    scorer = Scorer(model, thumbnail, thumbnail * 0, segments_of(32, 32, 4), [0])
    with pytest.raises(torch.OutOfMemoryError):
        list(scorer.batches(random_masks(5, 4)))
    assert scorer.evaluations == 0


class Broken(nn.Module):
    """Gives one number that is not finite where the upper left pixel is zero."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, inputs: Tensor) -> Tensor:
        logits = inputs.mean(dim=(2, 3))
        logits[inputs[:, 0, 0, 0] == 0, 1] = self.number
        return logits


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_model_output_that_is_not_finite_is_an_error_though_it_is_of_another_class(
    cifar: Model, thumbnail: Tensor, number: float
) -> None:
    model = with_module(cifar, Broken(number))
    scorer = Scorer(model, thumbnail, thumbnail * 0, segments_of(32, 32, 4), [0])
    assert np.isfinite(np.concatenate(list(scorer.batches(np.ones((3, 4), dtype=bool))))).all()
    with pytest.raises(MethodError) as caught:
        list(scorer.batches(np.zeros((3, 4), dtype=bool)))
    assert caught.value.reason is Reason.NOT_FINITE


def test_scoring_leaves_the_consumer_outside_of_inference_mode(
    cifar: Model, thumbnail: Tensor
) -> None:
    scorer = Scorer(cifar, thumbnail, thumbnail * 0, segments_of(32, 32, 4), [0])
    for _ in scorer.batches(random_masks(3, 4)):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()


def test_plan_that_memory_could_not_hold_is_refused() -> None:
    check_plan_size(100_000, 300)
    with pytest.raises(MethodError) as caught:
        check_plan_size(100_000, 2000)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "n_samples"


def test_segments_whose_pairs_memory_could_not_hold_are_refused() -> None:
    check_segment_count(5792)
    with pytest.raises(MethodError) as caught:
        check_segment_count(5793)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "segmentation"
    assert "at most 5792" in caught.value.message
