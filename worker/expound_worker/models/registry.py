"""The models that a worker has loaded."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from expound.reasons import Reason
from expound_worker.methods.method import MethodError
from expound_worker.models.batch_size import BatchSizes
from expound_worker.models.entry import read_entries
from expound_worker.models.loading import load, measured_sizes
from expound_worker.models.model import Model
from expound_worker.process.threads import compute_on


class Registry:
    """The loaded models by name."""

    def __init__(self, models: list[Model]) -> None:
        self._models = {model.name: model for model in models}

    @classmethod
    def load(
        cls,
        path: str | Path,
        pool: str,
        sizes_of: Callable[[Model], BatchSizes] = measured_sizes,
    ) -> "Registry":
        """Loads the models of a pool from ``models.toml``.

        Python builders are found on the usual path and in the folder of the file.

        Args:
            path: the file.
            pool: the pool.
            sizes_of: tells the batch sizes of a model.

        Raises:
            EntryError: an entry is wrong, or its model cannot be loaded.
        """
        folder = str(Path(path).resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)
        cores = torch.get_num_threads()
        models = []
        for entry in read_entries(path):
            if entry.pool == pool:
                compute_on(entry.threads or cores)
                models.append(load(entry, sizes_of))
        compute_on(cores)
        return cls(models)

    def forwarding(self, forward: Callable[[Model, Tensor], Tensor]) -> "Registry":
        """The same models, whose forward passes are run by `forward`, a chunk at a time."""
        return Registry(
            [replace(model, forward=partial(forward, model), batch=model.chunk) for model in self]
        )

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, name: str) -> Model:
        """The model of a name or resource name. Raises MethodError when it is not loaded."""
        model = self._models.get(name.removeprefix("models/"))
        if model is None:
            known = ", ".join(self._models)
            raise MethodError(
                Reason.MODEL_NOT_FOUND, f"this worker does not serve {name}, but {known}"
            )
        return model
