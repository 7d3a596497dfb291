"""Finds what the methods can do on a worker's models, beside the work that it does already."""

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import cast

import redis
import torch

import expound_worker
from expound import records
from expound.v1 import model_service_pb2
from expound.v1.model_service_pb2 import Capability
from expound_worker.models.capabilities import measure_capabilities, probe_image
from expound_worker.models.model import Model
from expound_worker.process.threads import compute_on

logger = logging.getLogger(__name__)

_KEPT_S = 90 * 24 * 3600

Publish = Callable[[Model, Sequence[Capability]], None]
"""Tells what the methods can do on a model."""


class Prober:
    """A thread that probes models one by one; what it finds is kept in Redis for the next start."""

    def __init__(self, client: redis.Redis, models: Iterable[Model], publish: Publish) -> None:
        self._client = client
        self._models = list(models)
        self._publish = publish
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def start(self) -> None:
        """Begins, and ends by itself when all is known."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it behind the method that it is at."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        compute_on(1)
        for model in self._models:
            try:
                capabilities = self._capabilities(model)
            except Exception:
                logger.exception("the probe of model %s", model.name)
                continue
            if self._stopping.is_set():
                return
            self._publish(model, capabilities)

    def _capabilities(self, model: Model) -> Sequence[Capability]:
        key = records.capabilities_key(fingerprint(model))
        known = self._read(key)
        if known:
            return known
        start_s = time.monotonic()
        measured: list[Capability] = []
        for capability in measure_capabilities(model):
            if self._stopping.is_set():
                return ()
            measured.append(capability)
        self._log(model, measured, time.monotonic() - start_s)
        if all(each.support != Capability.SUPPORT_UNSPECIFIED for each in measured):
            self._write(key, measured)
        return measured

    def _read(self, key: str) -> Sequence[Capability]:
        try:
            found = cast(bytes | None, self._client.get(key))
        except redis.RedisError as error:
            logger.warning("Redis does not give what is known of the models: %s", error)
            return ()
        return model_service_pb2.Model.FromString(found).capabilities if found else ()

    def _write(self, key: str, capabilities: Sequence[Capability]) -> None:
        card = model_service_pb2.Model(capabilities=capabilities)
        try:
            self._client.set(key, card.SerializeToString(), ex=_KEPT_S)
        except redis.RedisError as error:
            logger.warning("Redis does not keep what is known of the models: %s", error)

    def _log(self, model: Model, capabilities: Sequence[Capability], seconds: float) -> None:
        counts = Counter(Capability.Support.Name(each.support) for each in capabilities)
        found = ", ".join(
            f"{count} {name.removeprefix('SUPPORT_').lower()}" for name, count in counts.items()
        )
        logger.info("model %s: %s (probed in %.1f s)", model.name, found, seconds)


def fingerprint(model: Model) -> str:
    """Names all that decides what a probe finds: a hexadecimal SHA-256.

    Weights alone do not tell two networks apart that were built of the same parts in another way;
    their scores for the probe image do.
    """
    image = probe_image(model.input_shape, seed=0)[None].to(model.device)
    scores, targets = model.logits(image).max(dim=1)
    parts = (
        model.digest,
        repr(model.preprocessing),
        model.device.type,
        f"class {int(targets)} at {float(scores):.4g}",
        torch.__version__,
        version("captum"),
        code_digest(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 of the source of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(expound_worker.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
