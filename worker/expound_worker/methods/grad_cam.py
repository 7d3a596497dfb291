"""Grad-CAM: the gradient-weighted sum of a layer's activation maps."""

import captum.attr

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.model import Layer, Model

_INTERPOLATIONS = {
    method_pb2.INTERPOLATION_BILINEAR: "bilinear",
    method_pb2.INTERPOLATION_NEAREST: "nearest",
}


class GradCam:
    """Selvaraju et al., 2017: ``ReLU(sum over k of mean(df/dA_k) * A_k)``, by Captum.

    Needs gradients and a layer whose output is a map. Cost: one forward and one backward pass.
    """

    name = "grad_cam"

    def refusal(self, model: Model) -> str | None:
        """A model without a layer whose output is a map has no Grad-CAM."""
        if model.layers:
            return None
        return (
            "no layer of the model has a spatial output (N, channels, height, width); use "
            "integrated_gradients or kernel_shap instead"
        )

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.GradCam, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        layer, reason = _choose(model, parameters.layer)
        module = model.module.get_submodule(layer.name)
        method = captum.attr.LayerGradCam(model.module, module)
        coarse = method.attribute(
            batch.inputs, target=batch.targets, relu_attributions=parameters.relu
        )
        values = captum.attr.LayerAttribution.interpolate(
            coarse, model.input_shape[1:], _INTERPOLATIONS[parameters.interpolation]
        )
        return [
            Answer(
                value[0],
                LOGIT,
                output=logit,
                evaluations=1,
                layer=layer.name,
                layer_reason=reason,
            )
            for value, logit in zip(values.detach().cpu().numpy(), batch.logits, strict=True)
        ]


def _choose(model: Model, name: str) -> tuple[Layer, str]:
    """The layer to use, and why."""
    if not name:
        layer = model.layers[-1]
        height, width = layer.output_shape[1:]
        return layer, f"the last layer whose output is a map ({height}x{width})"
    for layer in model.layers:
        if layer.name == name:
            return layer, "named in the request"
    known = ", ".join(layer.name for layer in model.layers)
    raise MethodError(
        Reason.METHOD_UNSUPPORTED,
        f"layer {name!r} has no spatial output, or there is no such layer; those are {known}",
        layer=name,
    )
