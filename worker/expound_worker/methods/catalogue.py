"""The list of the methods."""

from expound.parameters import method_names
from expound_worker.methods.deconvolution import Deconvolution
from expound_worker.methods.deep_lift import DeepLift
from expound_worker.methods.deep_lift_shap import DeepLiftShap
from expound_worker.methods.deep_shap import DeepShap
from expound_worker.methods.eigen_cam import EigenCam
from expound_worker.methods.feature_ablation import FeatureAblation
from expound_worker.methods.grad_cam import GradCam
from expound_worker.methods.grad_cam_plus_plus import GradCamPlusPlus
from expound_worker.methods.gradient_shap import GradientShap
from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.methods.guided_grad_cam import GuidedGradCam
from expound_worker.methods.input_x_gradient import InputXGradient
from expound_worker.methods.integrated_gradients import IntegratedGradients
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.layer_activation import LayerActivation
from expound_worker.methods.layer_cam import LayerCam
from expound_worker.methods.layer_conductance import LayerConductance
from expound_worker.methods.lime import Lime
from expound_worker.methods.lrp import Lrp
from expound_worker.methods.method import GradientMethod, Method, PerturbationMethod
from expound_worker.methods.noise_tunnel import NoiseTunnel
from expound_worker.methods.occlusion import Occlusion
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.methods.rise import Rise
from expound_worker.methods.saliency import Saliency
from expound_worker.methods.score_cam import ScoreCam

_GRADIENT: tuple[GradientMethod, ...] = (
    Saliency(),
    InputXGradient(),
    IntegratedGradients(),
    GradientShap(),
    DeepLift(),
    DeepLiftShap(),
    DeepShap(),
    GuidedBackprop(),
    Deconvolution(),
    GradCam(),
    GuidedGradCam(),
    LayerActivation(),
    LayerConductance(),
    GradCamPlusPlus(),
    LayerCam(),
    EigenCam(),
    Lrp(),
)
_PERTURBATION: tuple[PerturbationMethod, ...] = (
    Occlusion(),
    FeatureAblation(),
    Lime(),
    KernelShap(),
    PartitionShap(),
    PermutationShap(),
    Rise(),
    ScoreCam(),
)

GRADIENT_METHODS: dict[str, GradientMethod] = {
    method.name: NoiseTunnel(method) for method in _GRADIENT
}
"""Gradient methods by name; each runs through a noise tunnel where its parameters ask for one."""
PERTURBATION_METHODS: dict[str, PerturbationMethod] = {
    method.name: method for method in _PERTURBATION
}
_ALL: dict[str, Method] = {**GRADIENT_METHODS, **PERTURBATION_METHODS}
METHODS: dict[str, Method] = {name: _ALL[name] for name in method_names() if name in _ALL}
"""All methods by name, in the contract's order, in which model cards list them."""
