"""Noise tunnels: a gradient method run on several noisy copies of the input."""

from typing import Any

import captum.attr
import torch
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.method import Batch
from expound_worker.models.model import Model

_TYPES = {
    method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD: "smoothgrad",
    method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD_SQ: "smoothgrad_sq",
    method_pb2.NoiseTunnel.TYPE_VARGRAD: "vargrad",
}


def through_noise(
    method: Any,
    tunnel: method_pb2.NoiseTunnel,
    model: Model,
    batch: Batch,
    seed: int,
    **arguments: Any,
) -> Tensor:
    """Runs a Captum method under Captum's NoiseTunnel (Smilkov et al. 2017, Adebayo et al. 2018).

    Every input gets the same noise, drawn from the seed, so that an answer does not depend on what
    else is in the batch.

    Args:
        method: the Captum attribution object.
        tunnel: type, number of samples and standard deviation (model input units).
        model: the model, for its batch size and device.
        batch: N inputs and their targets.
        seed: seed of the noise.
        **arguments: passed to the method.

    Returns:
        (N, C, H, W) attributions.
    """
    noisy = captum.attr.NoiseTunnel(method)
    values = []
    for index in range(len(batch.logits)):
        one = batch.one(index)
        with torch.random.fork_rng(devices=_cuda_devices(model.device)):
            torch.manual_seed(seed)
            values.append(
                noisy.attribute(
                    one.inputs,
                    nt_type=_TYPES[tunnel.type],
                    nt_samples=tunnel.n_samples,
                    nt_samples_batch_size=min(model.batch_size, tunnel.n_samples),
                    stdevs=tunnel.stdev,
                    target=one.targets,
                    **arguments,
                )
            )
    return torch.cat(values)


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
