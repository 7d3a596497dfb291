"""LIME, KernelSHAP and Partition beside the libraries' own and beside bare forward passes."""

from collections.abc import Callable
from functools import partial

import numpy as np
import shap
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray

from expound_client import Attribution, Client
from expound_client import methods as m
from tests import photos
from tests.bench.table import Row, Table, in_turns, median
from tests.service import Service

SAMPLES = {"lime": 1000, "kernel_shap": 500, "partition_shap": 500}
ROUNDS = {"cifar": 5, "efficientnet_lite0": 2}
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

Pixels = NDArray[np.float32]


def run(service: Service) -> list[Table]:
    """One row a model and method; times in seconds, shares of what is outside forward passes."""
    table = Table("perturbation", "Perturbation methods, seconds")
    with Client(service.address) as client:
        for model in ("cifar", "efficientnet_lite0"):
            forward, batch_size = _best_forward(model)
            for method in (
                m.Lime(n_samples=SAMPLES["lime"]),
                m.KernelShap(n_samples=SAMPLES["kernel_shap"]),
                m.PartitionShap(n_samples=SAMPLES["partition_shap"]),
            ):
                table.rows.append(_row(client, model, method, forward, batch_size))
    return [table]


def _row(
    client: Client,
    model: str,
    method: m.Lime | m.KernelShap | m.PartitionShap,
    forward: Callable[[int], object],
    batch_size: int,
) -> Row:
    image = photos.encoded(model)
    key = method.name
    worker_s: list[float] = []

    def ours() -> Attribution:
        result = client.explain(image, model=model, methods=[method], wait_s=300).result(300)
        worker_s.append(result.methods[key].duration_s or 0.0)
        return result[key]

    attribution = ours()
    evaluations = attribution.evaluations
    peer = _PEERS[key](model, attribution)
    warm_up = model == "cifar"  # on the larger model a first round is lost in the others
    actions: dict[str, Callable[[], object]] = {
        "bare": partial(forward, SAMPLES[key]),
        "ours": ours,
        "peer": peer,
    }
    measured = in_turns(actions, ROUNDS[model], warm_up=warm_up)
    floor = median(measured["bare"]) * evaluations / SAMPLES[key]
    worker = median(worker_s[-ROUNDS[model] :])
    return {
        "model": model,
        "method": key,
        "evaluations": evaluations,
        "best batch": batch_size,
        "bare forward s": floor,
        "worker s": worker,
        "through service s": median(measured["ours"]),
        "library s": median(measured["peer"]),
        "worker / bare": worker / floor,
        "outside forward": 1 - floor / worker,
        "library / service": median(measured["peer"]) / median(measured["ours"]),
    }


def _best_forward(model: str) -> tuple[Callable[[int], object], int]:
    """Forward passes of so many images at the batch size that is fastest here."""
    module = photos.model(model).module
    image = photos.model_input(model, photos.chelsea())

    def forward(batch_size: int, images: int) -> None:
        batch = image.repeat(batch_size, 1, 1, 1)
        with torch.inference_mode():
            for _ in range(0, images, batch_size):
                module(batch)

    timed = in_turns({str(size): partial(forward, size, 64) for size in BATCH_SIZES}, 2)
    best = min(BATCH_SIZES, key=lambda size: median(timed[str(size)]))
    return partial(forward, best), best


def _probabilities(model: str) -> Callable[[Pixels], Pixels]:
    """Images (N, H, W, C) in model input units to probabilities (N, classes), as users write it."""

    def predict(images: Pixels) -> Pixels:
        batch = torch.from_numpy(np.asarray(images, dtype=np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = photos.model(model).module(batch)
        probabilities: Pixels = logits.softmax(1).numpy()
        return probabilities

    return predict


def _image(model: str) -> Pixels:
    image: Pixels = photos.model_input(model, photos.chelsea())[0].permute(1, 2, 0).numpy()
    return image


def _lime(model: str, attribution: Attribution) -> Callable[[], object]:
    image, predict = _image(model).astype(np.float64), _probabilities(model)
    explainer = LimeImageExplainer(random_state=0)
    return lambda: explainer.explain_instance(
        image,
        predict,
        top_labels=1,
        hide_color=0,
        num_samples=SAMPLES["lime"],
        batch_size=16,
        segmentation_fn=lambda _: attribution.segments,
    )


def _kernel_shap(model: str, attribution: Attribution) -> Callable[[], object]:
    image, predict, segments = _image(model), _probabilities(model), attribution.segments

    def score(masks: NDArray[np.float64]) -> Pixels:
        scores = []
        for start in range(0, len(masks), 16):
            kept = masks[start : start + 16][:, segments][..., None]
            scores.append(predict((kept * image).astype(np.float32))[:, attribution.target.index])
        return np.concatenate(scores)

    count = 0 if attribution.weights is None else len(attribution.weights)
    explainer = shap.KernelExplainer(score, np.zeros((1, count)))
    return lambda: explainer.shap_values(
        np.ones(count), nsamples=SAMPLES["kernel_shap"], l1_reg=False, silent=True
    )


def _partition_shap(model: str, attribution: Attribution) -> Callable[[], object]:
    image, predict = _image(model), _probabilities(model)
    masker = shap.maskers.Image(np.zeros_like(image), image.shape)
    explainer = shap.PartitionExplainer(predict, masker)
    target = [attribution.target.index]
    return lambda: explainer(
        image[None], max_evals=SAMPLES["partition_shap"], batch_size=16, outputs=target, silent=True
    )


_PEERS = {"lime": _lime, "kernel_shap": _kernel_shap, "partition_shap": _partition_shap}
