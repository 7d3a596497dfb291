"""Errors of KernelSHAP and LIME beside the libraries' own with more evaluations.

EfficientNet-Lite0, probability of the top class, about 26 SLIC segments, grey baseline. An error is
the distance to a long run's weights, relative to their length; the long run's own is that of its
standard errors. Evaluations are kept by coalition, so that none is made twice.

``python -m tests.bench estimators`` takes two seeds, about 20 minutes on 2 cores; for ten there is
``python -m tests.bench.estimators --seeds 10``, which writes the table in its place.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shap
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from expound import parameters
from expound.v1 import method_pb2 as m
from expound_worker.perturbation.covariance import Parity
from expound_worker.perturbation.engine import Scorer, prepare
from expound_worker.perturbation.functionals import Functional, lime_slopes, shapley_values
from expound_worker.perturbation.lime_fit import LimeFit
from expound_worker.perturbation.paired_designs import leverage_pairs, orthogonal_pairs
from expound_worker.perturbation.paired_weights import PairedWeights
from expound_worker.process.memory import keep_freed_memory
from tests import photos
from tests.bench import record
from tests.bench.table import Row, Table
from tests.service import Service

MODEL = "efficientnet_lite0"
PHOTOS = ("chelsea", "coffee", "astronaut", "rocket", "motorcycle_left")
SEEDS = 2
SEGMENTS = m.Segmentation(slic=m.SlicSegmentation(n_segments=35))
LONG_PAIRS = 1500
LONG_SEED = 10_000

Weights = NDArray[np.float64]


class Game:
    """Scores of coalitions of one photo's segments, each evaluated once."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.segment_count = scorer.segment_count
        self._known: dict[bytes, float] = {}

    def __call__(self, masks: NDArray[np.bool_]) -> Weights:
        """(n, 1) scores of (n, M) masks."""
        keys = [mask.tobytes() for mask in masks]
        new = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in self._known}
        if new:
            scores = np.concatenate(list(self.scorer.batches(np.array(list(new.values())))))
            self._known.update(zip(new, scores[:, 0].tolist(), strict=True))
        return np.array([[self._known[key]] for key in keys])


@dataclass(frozen=True)
class Method:
    """An estimator of ours, and the library's."""

    functional: Callable[[int], Functional]
    parities: Sequence[Parity]
    design: Callable[[int, int, int], NDArray[np.bool_]]
    planned_pairs: int
    libraries: dict[str, Callable[[Game, int, int], Weights]]
    evaluations: dict[int, int]  # the library's by ours

    def weights(self, game: Game, pairs: NDArray[np.bool_]) -> tuple[Weights, Weights]:
        """(M,) weights and standard errors from (n, M) pairs."""
        functional = self.functional(game.segment_count)
        estimator = PairedWeights(functional, self.parities, pairs, 1)
        estimator.add(game(estimator.plan))
        weights, errors = estimator.estimate()
        return weights[:, 0], errors[:, 0]


def run(service: Service) -> list[Table]:
    """One row a method, a number of evaluations and a photo, and one for their mean."""
    return [measure({photo: _game(photo) for photo in PHOTOS}, SEEDS)]


def measure(games: dict[str, Game], seeds: int) -> Table:
    """Compares the estimators on each game, with as many seeds."""
    table = Table("estimators", f"Errors of estimators, mean of {seeds} seeds")
    for name, method in METHODS.items():
        rows = [
            row for photo, game in games.items() for row in _rows(name, method, photo, game, seeds)
        ]
        table.rows += rows
        for ours in method.evaluations:
            same = [row for row in rows if row["ours n"] == ours]
            numbers = [key for key, value in same[0].items() if isinstance(value, float)]
            mean: Row = {key: float(np.mean([row[key] for row in same])) for key in numbers}
            table.rows.append({**same[0], "photo": "mean", **mean})
    return table


def _rows(name: str, method: Method, photo: str, game: Game, seeds: int) -> list[Row]:
    count = game.segment_count
    true, uncertain = method.weights(game, method.design(LONG_PAIRS, count, LONG_SEED))
    length = float(np.linalg.norm(true))

    def error(weights: Weights) -> float:
        return float(np.linalg.norm(weights - true)) / length

    rows: list[Row] = []
    for ours, theirs in method.evaluations.items():
        errors, within = [], []
        for seed in range(seeds):
            pairs = method.design(method.planned_pairs, count, seed)[: ours // 2]
            weights, told = method.weights(game, pairs)
            errors.append(error(weights))
            within.append(float(np.mean(np.abs(weights - true) < 1.96 * told)))
        row: Row = {"method": name, "photo": photo, "seeds": seeds}
        row |= {"ours n": ours, "library n": theirs}
        row |= {"ours": float(np.mean(errors)), "within 95 %": float(np.mean(within))}
        for library, fit in method.libraries.items():
            row[library] = float(np.mean([error(fit(game, theirs, s)) for s in range(seeds)]))
        rows.append(row | {"long run": float(np.linalg.norm(uncertain)) / length})
    return rows


def _shap(l1_reg: str | bool) -> Callable[[Game, int, int], Weights]:
    def values(game: Game, n_samples: int, seed: int) -> Weights:
        explainer = shap.KernelExplainer(
            lambda masks: game(masks.astype(bool))[:, 0], np.zeros((1, game.segment_count))
        )
        np.random.seed(seed)  # the library has no other way
        found: Weights = explainer.shap_values(
            np.ones(game.segment_count), nsamples=n_samples, l1_reg=l1_reg, silent=True
        )
        return found

    return values


def _lime(game: Game, n_samples: int, seed: int) -> Weights:
    """The library's masks and regression, as tests/numeric/test_lime.py holds `LimeFit` to them."""
    asked = m.Lime(n_samples=n_samples, sampling=m.Lime.SAMPLING_LIME)
    parameters.resolve(asked)
    fit = LimeFit(game.scorer, asked, seed)
    return np.asarray(fit(game(fit.plan))[0].weights)


METHODS = {
    "kernel_shap": Method(
        shapley_values,
        [Parity.ODD],
        leverage_pairs,
        256,
        {"library": _shap(False), "library's default": _shap("num_features(10)")},
        {128: 256, 300: 512},
    ),
    "lime": Method(
        lambda count: lime_slopes(count, 0.25),
        list(Parity),
        orthogonal_pairs,
        250,
        {"library": _lime, "library's default": _lime},
        {128: 256, 256: 512, 500: 1000},
    ),
}


def _game(photo: str) -> Game:
    model = photos.model(MODEL)
    file = Path(skimage.data.__file__).parent / f"{photo}.png"
    picture = Image.open(file) if file.exists() else Image.fromarray(getattr(skimage.data, photo)())
    image = model.preprocessing(picture.convert("RGB")).to(model.device)
    asked = m.KernelShap(segmentation=SEGMENTS)
    parameters.resolve(asked)
    target = int(model.logits(image[None]).argmax())
    return Game(prepare(model, image, [target], asked.segmentation, asked.baseline, 0))


def main() -> None:
    """Prints and writes the table for the photos and as many seeds as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--photos", nargs="+", choices=PHOTOS, default=PHOTOS)
    asked = parser.parse_args()
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = False
    table = measure({photo: _game(photo) for photo in asked.photos}, asked.seeds)
    table.print()
    record.write([table])


if __name__ == "__main__":
    main()
