"""Keeps the batch sizes that were measured in Redis for the next start, for a day."""

import hashlib
import logging
import os
from pathlib import Path
from typing import cast

import redis
import torch

from expound import records
from expound_worker.models.batch_size import SIZES, BatchSizes
from expound_worker.models.loading import measured_sizes
from expound_worker.models.model import Model
from expound_worker.prober import code_digest

logger = logging.getLogger(__name__)

_KEPT_S = 24 * 3600
"""What was measured while the machine was busy must not stay."""
_PROCESSORS = Path("/proc/cpuinfo")


class KeptSizes:
    """The batch sizes of a model: those that Redis knows, else measured."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def __call__(self, model: Model) -> BatchSizes:
        """Reads or measures them; a Redis that is away keeps nothing, and no model from loading."""
        key = records.batch_sizes_key(setting(model))
        sizes = self._read(key)
        if sizes is None:
            sizes = measured_sizes(model)
            self._write(key, sizes)
        return sizes

    def _read(self, key: str) -> BatchSizes | None:
        try:
            found = cast(bytes | None, self._client.get(key))
        except redis.RedisError as error:
            logger.warning("Redis does not give the batch sizes that are known: %s", error)
            return None
        return _parse(found or b"")

    def _write(self, key: str, sizes: BatchSizes) -> None:
        value = f"{sizes.batch_size} {sizes.chunk_size} {sizes.large}"
        try:
            self._client.set(key, value, ex=_KEPT_S)
        except redis.RedisError as error:
            logger.warning("Redis does not keep the batch sizes: %s", error)


def _parse(value: bytes) -> BatchSizes | None:
    """None where it is nothing that a measurement gives."""
    try:
        batch_size, chunk_size, large = map(int, value.split())
    except ValueError:
        return None
    if batch_size in SIZES and chunk_size in SIZES and 1 <= large <= SIZES[-1] + 1:
        return BatchSizes(batch_size, chunk_size, large)
    return None


def setting(model: Model) -> str:
    """Names all that decides what a measurement finds: a hexadecimal SHA-256."""
    run = model.inference
    parts = (
        model.name,
        records.weights(model.version, model.digest),
        str(model.input_shape),
        f"{run.memory_format} {run.autocast} {run.compiled} {run.network is model.module}",
        torch.__version__,
        _machine(model),
        code_digest(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _machine(model: Model) -> str:
    match model.device.type:
        case "cuda":
            return torch.cuda.get_device_name(model.device)
        case "cpu":
            return f"{_processor()}, {model.cores} of {len(os.sched_getaffinity(0))} cores"
        case other:
            return other


def _processor() -> str:
    """As Linux names it."""
    lines = _PROCESSORS.read_text().splitlines() if _PROCESSORS.is_file() else []
    return ", ".join(
        sorted({line for line in lines if line.startswith(("model name", "CPU part"))})
    )
