"""LIME, KernelSHAP and Partition beside the libraries' own and beside bare forward passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import shap
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torch import Tensor

from expound_client import Attribution, Client
from expound_client import methods as m
from tests import photos
from tests.bench.table import Row, Table, columns, in_turns, median
from tests.service import Service

ROUNDS = {"cifar": 5, "efficientnet_lite0": 2}
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

Pixels = NDArray[np.float32]
Perturbation = m.Lime | m.KernelShap | m.PartitionShap


def run(service: Service) -> list[Table]:
    """One row a model and method; times in seconds, shares of what is outside forward passes."""
    table = Table("perturbation", "Perturbation methods, seconds")
    with Client(service.address) as client:
        for model, rounds in ROUNDS.items():
            floor = best_forward(model, photos.model(model).module, BATCH_SIZES)
            for method in (
                m.Lime(n_samples=1000),
                m.KernelShap(n_samples=500),
                m.PartitionShap(n_samples=500),
            ):
                table.rows.append(compare(client, model, method, floor, rounds))
    return [table]


@dataclass(frozen=True)
class Floor:
    """Forward passes alone, at the batch size that is fastest here.

    Attributes:
        batch_size: images in one pass.
        run: runs so many images.
    """

    batch_size: int
    run: Callable[[int], object]


def best_forward(model: str, forward: Callable[[Tensor], Tensor], sizes: Sequence[int]) -> Floor:
    """Finds it for what runs a batch of the model's inputs."""
    image = photos.model_input(model, photos.chelsea()).to(photos.model(model).device)

    @torch.inference_mode()
    def run(batch_size: int, images: int) -> None:
        batch = image.repeat(batch_size, 1, 1, 1)
        for _ in range(0, images, batch_size):
            logits = forward(batch)
        logits.cpu()  # which waits for a GPU

    timed = in_turns({str(size): partial(run, size, max(sizes)) for size in sizes}, 2)
    best = min(sizes, key=lambda size: median(timed[str(size)]))
    return Floor(best, partial(run, best))


def compare(client: Client, model: str, method: Perturbation, floor: Floor, rounds: int) -> Row:
    """A method through the service beside its floor, and the library's own with such batches."""
    image = photos.encoded(model)
    samples = method.n_samples
    key = method.name
    worker_s: list[float] = []

    def ours() -> Attribution:
        result = client.explain(image, model=model, methods=[method], wait_s=300).result(300)
        worker_s.append(result.methods[key].duration_s or 0.0)
        return result[key]

    attribution = ours()
    evaluations = attribution.evaluations
    peer = _PEERS[key](model, attribution, samples, floor.batch_size)
    # On two cores a first round of this one is lost in the others.
    warm_up = model != "efficientnet_lite0"
    actions: dict[str, Callable[[], object]] = {
        "bare": partial(floor.run, samples),
        "ours": ours,
        "peer": peer,
    }
    measured = in_turns(actions, rounds, warm_up=warm_up)
    bare_s = [each * evaluations / samples for each in measured["bare"]]
    worker_s = worker_s[-rounds:]
    return {
        "model": model,
        "method": key,
        "evaluations": evaluations,
        "best batch": floor.batch_size,
        **columns("bare forward", "s", bare_s),
        **columns("worker", "s", worker_s),
        **columns("service", "s", measured["ours"]),
        **columns("library", "s", measured["peer"]),
        "worker / bare": median(worker_s) / median(bare_s),
        "outside forward": 1 - median(bare_s) / median(worker_s),
        "library / service": median(measured["peer"]) / median(measured["ours"]),
    }


def _probabilities(model: str) -> Callable[[Pixels], Pixels]:
    """Images (N, H, W, C) in model input units to probabilities (N, classes), as users write it."""

    def predict(images: Pixels) -> Pixels:
        batch = torch.from_numpy(np.asarray(images, dtype=np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = photos.model(model).module(batch.to(photos.model(model).device))
        probabilities: Pixels = logits.softmax(1).cpu().numpy()
        return probabilities

    return predict


def _image(model: str) -> Pixels:
    image: Pixels = photos.model_input(model, photos.chelsea())[0].permute(1, 2, 0).numpy()
    return image


def _lime(
    model: str, attribution: Attribution, samples: int, batch_size: int
) -> Callable[[], object]:
    image, predict = _image(model).astype(np.float64), _probabilities(model)
    explainer = LimeImageExplainer(random_state=0)
    return lambda: explainer.explain_instance(
        image,
        predict,
        top_labels=1,
        hide_color=0,
        num_samples=samples,
        batch_size=batch_size,
        segmentation_fn=lambda _: attribution.segments,
    )


def _kernel_shap(
    model: str, attribution: Attribution, samples: int, batch_size: int
) -> Callable[[], object]:
    image, predict, segments = _image(model), _probabilities(model), attribution.segments

    def score(masks: NDArray[np.float64]) -> Pixels:
        scores = []
        for start in range(0, len(masks), batch_size):
            kept = masks[start : start + batch_size][:, segments][..., None]
            scores.append(predict((kept * image).astype(np.float32))[:, attribution.target.index])
        return np.concatenate(scores)

    count = 0 if attribution.weights is None else len(attribution.weights)
    explainer = shap.KernelExplainer(score, np.zeros((1, count)))
    return lambda: explainer.shap_values(
        np.ones(count), nsamples=samples, l1_reg=False, silent=True
    )


def _partition_shap(
    model: str, attribution: Attribution, samples: int, batch_size: int
) -> Callable[[], object]:
    image, predict = _image(model), _probabilities(model)
    masker = shap.maskers.Image(np.zeros_like(image), image.shape)
    explainer = shap.PartitionExplainer(predict, masker)
    target = [attribution.target.index]
    return lambda: explainer(
        image[None], max_evals=samples, batch_size=batch_size, outputs=target, silent=True
    )


_PEERS = {"lime": _lime, "kernel_shap": _kernel_shap, "partition_shap": _partition_shap}
