"""What a worker makes its answers of, and by what."""

from importlib.metadata import version

import torch

from expound.v1 import explanation_pb2
from expound_worker.images import digest
from expound_worker.models.model import Model
from expound_worker.unit import Unit

_LIBRARIES = ("captum", "lime", "numpy", "pillow", "scikit-image", "shap", "torch", "torchvision")


def provenance(
    unit: Unit, request: explanation_pb2.ExplainRequest, model: Model
) -> explanation_pb2.Provenance:
    """What this worker makes of a request, it makes of this and by this."""
    device = str(model.device)
    if model.device.type == "cuda":
        device += f" {torch.cuda.get_device_name(model.device)}"
    return explanation_pb2.Provenance(
        model=model.name,
        model_version=model.version,
        model_digest=model.digest,
        input_digests=[digest(source) for source in request.inputs],
        seed=request.seed,
        library_versions=_LIBRARY_VERSIONS,
        device=device,
        worker=unit.store.worker,
    )


_LIBRARY_VERSIONS = {name: version(name) for name in ("expound", *_LIBRARIES)}
