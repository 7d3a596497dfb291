"""Eigen-CAM: a layer's activations, projected on their first principal component."""

import torch
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.layer_answers import explain_by_activations
from expound_worker.methods.layer_maps import refusal_without_layers
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class EigenCam(GradientMethod):
    """Muhammad and Yeasin, 2020: ``A v``, with ``A = U S V'`` and ``v`` the first column of ``V``.

    ``A`` (positions, channels) holds the activations of a layer; as in the paper their mean is not
    taken off. The sign of ``v``, which the decomposition leaves open, is that for which the map has
    a positive sum; activations that are nowhere negative give a map that is not either.

    Values (H, W): the coarse map, enlarged; the same for every target, as no score enters it. They
    do not add up to anything. Needs a layer whose output is a map, and no gradients. Cost: one
    forward pass.
    """

    name = "eigen_cam"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.EigenCam, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        return explain_by_activations(model, batch, parameters, _project)


def _project(activations: Tensor) -> Tensor:
    by_position = activations.flatten(2).transpose(1, 2).double()
    _, _, components = torch.linalg.svd(by_position, full_matrices=False)
    projection = (by_position @ components[:, :1].transpose(1, 2))[:, :, 0]
    negative = projection.sum(dim=1, keepdim=True) < 0
    signed = torch.where(negative, -projection, projection)
    return signed.view(len(activations), *activations.shape[2:])
