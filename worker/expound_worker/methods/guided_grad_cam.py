"""Guided Grad-CAM: guided backpropagation, weighted by Grad-CAM."""

from dataclasses import replace

from expound.v1 import method_pb2
from expound_worker.methods.grad_cam import GradCam
from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class GuidedGradCam(GradientMethod):
    """Selvaraju et al., 2017: guided backpropagation times Grad-CAM, pixel by pixel.

    Grad-CAM is cut at zero and enlarged to the input's size before, as Captum's GuidedGradCam does.

    Values (C, H, W). They do not add up to anything. Needs what both methods need. Cost: both.
    """

    name = "guided_grad_cam"

    def __init__(self) -> None:
        self._grad_cam = GradCam()
        self._guided_backprop = GuidedBackprop()

    def refusal(self, model: Model) -> str | None:
        """What either method refuses."""
        return self._grad_cam.refusal(model) or self._guided_backprop.refusal(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.GuidedGradCam, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        where = method_pb2.GradCam(
            layer=parameters.layer, relu=True, interpolation=parameters.interpolation
        )
        cams = self._grad_cam.attribute(model, batch, where, seed)
        guided = self._guided_backprop.attribute(model, batch, method_pb2.GuidedBackprop(), seed)
        return [
            replace(
                cam,
                values=gradient.values * cam.values,
                evaluations=gradient.evaluations + cam.evaluations,
                warnings=[*gradient.warnings, *cam.warnings],
            )
            for gradient, cam in zip(guided, cams, strict=True)
        ]
