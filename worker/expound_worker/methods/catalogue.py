"""The list of the methods."""

from expound_worker.methods.grad_cam import GradCam
from expound_worker.methods.integrated_gradients import IntegratedGradients
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.lime import Lime
from expound_worker.methods.method import GradientMethod, Method, PerturbationMethod
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.methods.saliency import Saliency

_GRADIENT: tuple[GradientMethod, ...] = (Saliency(), IntegratedGradients(), GradCam())
_PERTURBATION: tuple[PerturbationMethod, ...] = (Lime(), KernelShap(), PartitionShap())

GRADIENT_METHODS: dict[str, GradientMethod] = {method.name: method for method in _GRADIENT}
PERTURBATION_METHODS: dict[str, PerturbationMethod] = {
    method.name: method for method in _PERTURBATION
}
METHODS: dict[str, Method] = {**GRADIENT_METHODS, **PERTURBATION_METHODS}
"""All methods by name, in the order in which model cards list them."""
