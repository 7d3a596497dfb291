"""The methods of explanation and their shared parts, one class for each message of the contract.

Made by `client/generate_methods.py` from `expound/v1/method.proto`; not to be edited by hand.

Every class is a frozen dataclass with keyword arguments, and checks the ranges given below when it
is made: InvalidArgumentError names the field. None, or an empty value, means absent. "Model input
units" are those of the tensor that enters the network, after preprocessing; "evaluations" are
forward passes of one image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from numpy.typing import NDArray

from expound.v1 import method_pb2
from expound_client.method import Method, Parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class ZeroBaseline(Parameters):
    """Zeros in model input units."""

    _message = method_pb2.ZeroBaseline


@dataclass(frozen=True, kw_only=True, eq=False)
class ColorBaseline(Parameters):
    """One colour everywhere, before normalisation.

    Attributes:
        red: Red, 0 to 1. On a model with one channel the first component alone is used. From 0
            to 1.
        green: Green, 0 to 1. From 0 to 1.
        blue: Blue, 0 to 1. From 0 to 1.
    """

    _message = method_pb2.ColorBaseline

    red: float = 0.0
    green: float = 0.0
    blue: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class BlurBaseline(Parameters):
    """The image itself under a Gaussian blur.

    Attributes:
        sigma: Standard deviation of the blur. Above 0 to 100 pixels.
    """

    _message = method_pb2.BlurBaseline

    sigma: float = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseBaseline(Parameters):
    """Gaussian noise around zero, the same for every evaluation of one method.

    A noise tunnel draws another.

    Attributes:
        stdev: Standard deviation of the noise. Above 0 to 100 model input units.
    """

    _message = method_pb2.NoiseBaseline

    stdev: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentMeanBaseline(Parameters):
    """Every segment filled with its own mean colour."""

    _message = method_pb2.SegmentMeanBaseline


@dataclass(frozen=True, kw_only=True, eq=False)
class GridSegmentation(Parameters):
    """Rectangles, equal as far as whole pixels go.

    Pixel y is in row floor(y * rows / height), and pixel x in column floor(x * columns / width).

    Attributes:
        rows: Number of rows; at most the height of the input. From 1 to 512.
        columns: Number of columns; at most the width of the input. From 1 to 512.
    """

    _message = method_pb2.GridSegmentation

    rows: int = 7
    columns: int = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class SlicSegmentation(Parameters):
    """SLIC superpixels.

    Where it finds fewer than half of `n_segments`, or than 4, it is tried again with ten times the
    compactness, until that is 1000 or more.

    Attributes:
        n_segments: Approximate number of segments. From 4 to 2000.
        compactness: Balance of nearness in space against nearness in colour; higher is squarer.
            Above 0 to 1000.
        sigma: Standard deviation of the blur before it. From 0 to 20 pixels.
    """

    _message = method_pb2.SlicSegmentation

    n_segments: int = 30
    compactness: float = 10.0
    sigma: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class QuickshiftSegmentation(Parameters):
    """Quickshift mode seeking; lime's own default.

    On small images it may find one segment only, which is refused.

    Attributes:
        kernel_size: Width of the density kernel. Above 0 to 50 pixels.
        max_distance: Cut-off of the distance between modes; higher gives fewer segments. Above
            0 to 10000.
        ratio: Balance of nearness in colour against nearness in space. From 0 to 1.
    """

    _message = method_pb2.QuickshiftSegmentation

    kernel_size: float = 4.0
    max_distance: float = 200.0
    ratio: float = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class FelzenszwalbSegmentation(Parameters):
    """Felzenszwalb's graph-based segmentation.

    Attributes:
        scale: Observation level; higher gives larger segments. Above 0 to 100000.
        sigma: Standard deviation of the blur before it. From 0 to 20 pixels.
        min_size: Smallest segment. From 1 to 100000 pixels.
    """

    _message = method_pb2.FelzenszwalbSegmentation

    scale: float = 100.0
    sigma: float = 0.8
    min_size: int = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseTunnel(Parameters):
    """Noise tunnel: a gradient method run on several noisy copies of the input.

    Smilkov et al. 2017 (SmoothGrad), Adebayo et al. 2018 (VarGrad). Every input gets the same
    noise, drawn from the seed. The maps that come out promise no completeness. Costs `n_samples`
    times the method, and a forward pass a copy for its score, which `evaluations` leaves out.

    Attributes:
        type: How the samples are put together: "smoothgrad" (mean of the attributions),
            "smoothgrad_sq" (mean of the squared attributions), "vargrad" (variance of the
            attributions).
        n_samples: Number of noisy copies. From 2 to 1000.
        stdev: Standard deviation of the Gaussian noise. Above 0 to 100 model input units.
    """

    _message = method_pb2.NoiseTunnel

    type: Literal["smoothgrad", "smoothgrad_sq", "vargrad"] = "smoothgrad"
    n_samples: int = 16
    stdev: float = 0.15


Baseline: TypeAlias = (
    ZeroBaseline | ColorBaseline | BlurBaseline | NoiseBaseline | SegmentMeanBaseline | NDArray[Any]
)
"""What stands in for a part of the image that is taken away.

An array: A tensor of the model's input shape (C, H, W), FLOAT32 or FLOAT64, in model input units.
"""

Segmentation: TypeAlias = (
    GridSegmentation
    | SlicSegmentation
    | QuickshiftSegmentation
    | FelzenszwalbSegmentation
    | NDArray[Any]
)
"""How the image, as the model sees it, is cut into segments.

Fewer than 4 segments explain nothing and are refused (TOO_FEW_SEGMENTS). An array: Your own label
map: INT32 of the model's input height and width (H, W); every different value is a segment. Applied
to every input of the request.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Saliency(Method):
    """Saliency: gradient of the target's score by the input.

    Simonyan et al., 2013. Values (C, H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        absolute: Whether to return the magnitude of the gradient, as the paper does, or its
            sign too.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.Saliency
    name: ClassVar[str] = "saliency"

    absolute: bool = True
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class InputXGradient(Method):
    """Input times gradient.

    Shrikumar et al., 2016. Values (C, H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.InputXGradient
    name: ClassVar[str] = "input_x_gradient"

    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegratedGradients(Method):
    """Integrated gradients.

    Sundararajan et al., 2017. Captum. Values (C, H, W) sum to the score minus the baseline's score,
    up to `convergence_delta`. Cost: `n_steps` forward and backward passes, and one forward pass for
    the baseline.

    Attributes:
        n_steps: Number of points on the path. From 2 to 2000.
        quadrature: Rule by which the integral becomes a sum: "gauss_legendre" (gauss-Legendre
            quadrature), "riemann_right" (right Riemann sum), "riemann_left" (left Riemann sum),
            "riemann_middle" (middle Riemann sum), "riemann_trapezoid" (trapezoidal Riemann sum,
            with weights that sum to 1; Captum's sum to (n - 1) / n).
        baseline: Where the path begins.
        noise_tunnel: Runs it under noise; no convergence delta is given then. Absent: no noise.
        max_delta: Largest completeness error, relative to the score minus the baseline's score:
            the number of points doubles from `n_steps` until it is reached, or `max_steps` are.
            Absent: `n_steps` are run. Not together with a noise tunnel. Above 0 to 1.
        max_steps: Largest number of points for `max_delta`, at least `n_steps`; a map that has
            not reached it then carries a warning. From 2 to 10000.
    """

    _message = method_pb2.IntegratedGradients
    name: ClassVar[str] = "integrated_gradients"

    n_steps: int = 50
    quadrature: Literal[
        "gauss_legendre", "riemann_right", "riemann_left", "riemann_middle", "riemann_trapezoid"
    ] = "gauss_legendre"
    baseline: Baseline = ZeroBaseline()
    noise_tunnel: NoiseTunnel | None = None
    max_delta: float | None = None
    max_steps: int = 1600


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientShap(Method):
    """Expected gradients between random baselines and noisy inputs.

    Erion et al., 2019; Lundberg's GradientSHAP. Values (C, H, W) sum to the score minus the
    baselines' score, of the noisy inputs and the baselines drawn, within a few `standard_error`.
    Cost: `n_samples` forward and backward passes, and for those scores a forward pass a noisy input
    and a baseline.

    Attributes:
        n_samples: Number of random points. From 2 to 2000.
        stdev: Standard deviation of the noise added to the input. From 0 to 100 model input
            units.
        baselines: Baselines to draw from. Absent: `zero` alone. Up to 64 elements.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.GradientShap
    name: ClassVar[str] = "gradient_shap"

    n_samples: int = 50
    stdev: float = 0.09
    baselines: tuple[Baseline, ...] = ()
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepLift(Method):
    """DeepLIFT with the rescale rule.

    Shrikumar et al., 2017. Values (C, H, W) sum to the score minus the baseline's score. Cost: 1
    forward and 1 backward pass of a batch of two.

    Attributes:
        baseline: Reference input.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.DeepLift
    name: ClassVar[str] = "deep_lift"

    baseline: Baseline = ZeroBaseline()
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepLiftShap(Method):
    """DeepLIFT averaged over baselines.

    Lundberg and Lee, 2017. Values (C, H, W). Cost: one DeepLIFT a baseline.

    Attributes:
        baselines: Reference inputs. Absent: `zero` alone. Up to 64 elements.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.DeepLiftShap
    name: ClassVar[str] = "deep_lift_shap"

    baselines: tuple[Baseline, ...] = ()
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class GuidedBackprop(Method):
    """Guided backpropagation.

    Springenberg et al., 2014. Values (C, H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.GuidedBackprop
    name: ClassVar[str] = "guided_backprop"

    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Deconvolution(Method):
    """Deconvolution.

    Zeiler and Fergus, 2014. Values (C, H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.Deconvolution
    name: ClassVar[str] = "deconvolution"

    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class GradCam(Method):
    """Grad-CAM, brought to the input's size.

    Selvaraju et al., 2017. Values (H, W). Cost: 1 forward and 1 backward pass. Refused on a model
    that has no layer with a spatial output.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        relu: Whether negative evidence is cut to zero, as in the paper.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.GradCam
    name: ClassVar[str] = "grad_cam"

    layer: str = ""
    relu: bool = True
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class GuidedGradCam(Method):
    """Guided backpropagation times Grad-CAM.

    Selvaraju et al., 2017. Values (C, H, W). Cost: both.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.GuidedGradCam
    name: ClassVar[str] = "guided_grad_cam"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerActivation(Method):
    """Activation of a layer, averaged over its channels.

    Values (H, W). Cost: 1 forward pass.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.LayerActivation
    name: ClassVar[str] = "layer_activation"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerConductance(Method):
    """Layer conductance, summed over channels.

    Dhamdhere et al., 2018. Values (H, W): each cell of the layer is shared out among its pixels, so
    that they sum to the score minus the baseline's score, up to `convergence_delta`. Cost:
    `n_steps` + 1 forward and backward passes, and one forward pass for the baseline.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        n_steps: Number of points on the path. From 2 to 2000.
        baseline: Where the path begins.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.LayerConductance
    name: ClassVar[str] = "layer_conductance"

    layer: str = ""
    n_steps: int = 50
    baseline: Baseline = ZeroBaseline()
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Lrp(Method):
    """Layer-wise relevance propagation.

    Bach et al., 2015. Values (C, H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        composite: Which rule stands at which layer: "epsilon_plus_flat" (epsilon at dense
            layers, z-plus at convolutions, flat at the first), "epsilon_gamma_box" (epsilon at
            dense layers, gamma at convolutions, z-box at the first), "epsilon" (epsilon
            everywhere).
        epsilon: Stabiliser of the epsilon rule. Above 0 to 1.
        gamma: Weight of positive contributions in the gamma rule. From 0 to 100.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.Lrp
    name: ClassVar[str] = "lrp"

    composite: Literal["epsilon_plus_flat", "epsilon_gamma_box", "epsilon"] = "epsilon_plus_flat"
    epsilon: float = 1e-06
    gamma: float = 0.25
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Occlusion(Method):
    """Occlusion by a sliding window.

    Zeiler and Fergus, 2014. Values (H, W): the score lost, averaged over the windows that cover a
    pixel; the segments are the cells that the windows' edges make. Windows at the far edges are cut
    off there. Cost: one evaluation a window, and one for the image.

    Attributes:
        window_height: Height of the window, at most the input's. Absent: an eighth of the
            input's height, at least 1. From 1 to 4096 pixels.
        window_width: Width of the window, at most the input's. Absent: an eighth of the input's
            width, at least 1. From 1 to 4096 pixels.
        stride_height: Vertical step, at most the window's height. Absent: half of that, at
            least 1. From 1 to 4096 pixels.
        stride_width: Horizontal step, at most the window's width. Absent: half of that, at
            least 1. From 1 to 4096 pixels.
        baseline: What the window shows instead of the image.
    """

    _message = method_pb2.Occlusion
    name: ClassVar[str] = "occlusion"

    window_height: int | None = None
    window_width: int | None = None
    stride_height: int | None = None
    stride_width: int | None = None
    baseline: Baseline = ZeroBaseline()


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureAblation(Method):
    """Score lost when one segment is replaced.

    Values (H, W). Cost: one evaluation a segment, and one for the image.

    Attributes:
        segmentation: How the image is cut.
        baseline: What a missing segment shows.
    """

    _message = method_pb2.FeatureAblation
    name: ClassVar[str] = "feature_ablation"

    segmentation: Segmentation = SlicSegmentation()
    baseline: Baseline = ZeroBaseline()


@dataclass(frozen=True, kw_only=True, eq=False)
class Lime(Method):
    """LIME for images.

    Ribeiro et al., 2016. Values (H, W): each pixel has its segment's weight. Cost: `n_samples`
    evaluations, and up to two for image and baseline.

    Attributes:
        n_samples: Number of random compositions of segments; one less where it is odd and they
            come in pairs. From 10 to 100000 evaluations.
        segmentation: How the image is cut, into at most 5792 segments.
        baseline: What a missing segment shows.
        kernel_width: Width of the exponential kernel on the cosine distance between
            compositions. Above 0 to 100.
        n_features: Number of segments that keep a weight, the most influential; the others get
            0. 0: all. From 0 to 10000.
        max_standard_error: Stops when the largest standard error of a weight is at most this.
            Absent: `n_samples` are run. In units of the explained probability. Above 0 to 1.
        max_seconds: Stops when an input has taken so long and has a map; a warning then says
            so. Absent: there is no such limit. Above 0 to 86400 seconds.
        sampling: How compositions of segments are drawn, and fitted: "orthogonal" (compositions
            with their complements, in orthogonal arrays, and the weights that the fit would
            have over all compositions: about as good as the library's with 1.6 to 2 times as
            many), "lime" (as the lime library draws and fits them: its own weights).
    """

    _message = method_pb2.Lime
    name: ClassVar[str] = "lime"

    n_samples: int = 1000
    segmentation: Segmentation = SlicSegmentation()
    baseline: Baseline = ZeroBaseline()
    kernel_width: float = 0.25
    n_features: int = 0
    max_standard_error: float | None = None
    max_seconds: float | None = None
    sampling: Literal["orthogonal", "lime"] = "orthogonal"


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelShap(Method):
    """KernelSHAP.

    Lundberg and Lee, 2017. Values (H, W): each pixel has its segment's Shapley value; the segments'
    values sum to the score minus the baseline's score. Cost: `n_samples` evaluations, and two for
    the ends.

    Attributes:
        n_samples: Number of coalitions of segments; one less where it is odd and they come in
            pairs. More than 2^segments - 2 are not needed, and not run. From 10 to 100000
            evaluations.
        segmentation: How the image is cut, into at most 5792 segments.
        baseline: What a missing segment shows.
        max_standard_error: Stops when the largest standard error of a value is at most this.
            Absent: `n_samples` are run. In units of the explained probability. Above 0 to 1.
        max_seconds: Stops when an input has taken so long and has a map; a warning then says
            so. Absent: there is no such limit. Above 0 to 86400 seconds.
        sampling: How coalitions of segments are drawn, and what is made of them: "leverage"
            (coalitions with their complements, in orthogonal arrays and then by leverage
            scores: as good as the library's with twice as many), "shap" (as the shap library
            draws and fits them: its own values).
    """

    _message = method_pb2.KernelShap
    name: ClassVar[str] = "kernel_shap"

    n_samples: int = 512
    segmentation: Segmentation = SlicSegmentation()
    baseline: Baseline = ZeroBaseline()
    max_standard_error: float | None = None
    max_seconds: float | None = None
    sampling: Literal["leverage", "shap"] = "leverage"


@dataclass(frozen=True, kw_only=True, eq=False)
class PartitionShap(Method):
    """Owen values over a hierarchy of segments (as shap's PartitionExplainer).

    The hierarchy halves the segments along their longer side, and evaluations are spent where the
    score changes most. Nothing in it is drawn at random: its standard errors are those of groups
    that are not divided yet. Values (H, W). Cost: up to `n_samples` evaluations.

    Attributes:
        n_samples: Limit of evaluations. From 10 to 100000 evaluations.
        segmentation: The finest parts. Absent: a grid of up to 32x32.
        baseline: What a missing part shows.
        max_standard_error: Stops when the largest standard error of a value is at most this.
            Absent: `n_samples` are run. In units of the explained probability. Above 0 to 1.
        max_seconds: Stops when an input has taken so long and has a map; a warning then says
            so. Absent: there is no such limit. Above 0 to 86400 seconds.
    """

    _message = method_pb2.PartitionShap
    name: ClassVar[str] = "partition_shap"

    n_samples: int = 500
    segmentation: Segmentation | None = None
    baseline: Baseline = ZeroBaseline()
    max_standard_error: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutationShap(Method):
    """Shapley values by antithetic permutations of segments (shap's PermutationExplainer).

    Values (H, W): each pixel has its segment's value; the segments' values sum to the score minus
    the baseline's score. Cost: up to `n_samples` evaluations.

    Attributes:
        n_samples: Limit of evaluations; at least twice the number of segments plus 1 are
            needed. From 10 to 100000 evaluations.
        segmentation: How the image is cut.
        baseline: What a missing segment shows.
        max_standard_error: Stops when the largest standard error of a value is at most this.
            Absent: as many permutations are run as `n_samples` allows. In units of the
            explained probability. Above 0 to 1.
        max_seconds: Stops when an input has taken so long and has a map; a warning then says
            so. Absent: there is no such limit. Above 0 to 86400 seconds.
    """

    _message = method_pb2.PermutationShap
    name: ClassVar[str] = "permutation_shap"

    n_samples: int = 610
    segmentation: Segmentation = SlicSegmentation()
    baseline: Baseline = ZeroBaseline()
    max_standard_error: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Rise(Method):
    """RISE: mean score under random smooth masks, by pixel.

    Petsiuk et al., 2018. Values (H, W): about the mean score where a pixel does not matter, more
    where it speaks for the target. Cost: `n_samples` evaluations, and one for the image.

    Attributes:
        n_samples: Number of masks. From 10 to 100000 evaluations.
        grid_size: Cells of the coarse mask along each side. From 2 to 64.
        keep_probability: Probability that a cell is kept. From 0.01 to 0.99.
        baseline: What a masked pixel shows.
    """

    _message = method_pb2.Rise
    name: ClassVar[str] = "rise"

    n_samples: int = 4000
    grid_size: int = 7
    keep_probability: float = 0.5
    baseline: Baseline = ZeroBaseline()


@dataclass(frozen=True, kw_only=True, eq=False)
class GradCamPlusPlus(Method):
    """Grad-CAM++.

    Chattopadhay et al., 2018. Grad-CAM whose weights are made of the positive gradients, by their
    second and third powers. Values (H, W). Cost: 1 forward and 1 backward pass.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.GradCamPlusPlus
    name: ClassVar[str] = "grad_cam_plus_plus"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCam(Method):
    """LayerCAM.

    Jiang et al., 2021. Activations weighted by their own positive gradients. Values (H, W). Cost: 1
    forward and 1 backward pass.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.LayerCam
    name: ClassVar[str] = "layer_cam"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreCam(Method):
    """Score-CAM.

    Wang et al., 2020. Activation maps weighted by the softmax over channels of the score that the
    image keeps under each of them as a mask. Values (H, W). Cost: one evaluation a channel that is
    not the same everywhere, and two for the image.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the maps are enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        baseline: What a masked pixel shows.
    """

    _message = method_pb2.ScoreCam
    name: ClassVar[str] = "score_cam"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    baseline: Baseline = ZeroBaseline()


@dataclass(frozen=True, kw_only=True, eq=False)
class EigenCam(Method):
    """Eigen-CAM.

    Muhammad and Yeasin, 2020. Projection of the activations on their first principal component; the
    same for every target. Values (H, W). Cost: 1 forward pass.

    Attributes:
        layer: Layer by its name in the model card. Absent: the one that the model card marks.
            Up to 256 characters.
        interpolation: How the map is enlarged: "bilinear" (bilinear, corners not aligned),
            "nearest" (nearest neighbour).
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.EigenCam
    name: ClassVar[str] = "eigen_cam"

    layer: str = ""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    noise_tunnel: NoiseTunnel | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepShap(Method):
    """shap's DeepExplainer: DeepLIFT averaged over baselines.

    Lundberg and Lee, 2017. Refused where the values do not add up as shap's own check of additivity
    asks (an error of at most 0.01 in units of the score). Values (C, H, W). Cost: one DeepLIFT a
    baseline.

    Attributes:
        baselines: Reference inputs. Absent: `zero` alone. Up to 64 elements.
        noise_tunnel: Runs it under noise. Absent: no noise.
    """

    _message = method_pb2.DeepShap
    name: ClassVar[str] = "deep_shap"

    baselines: tuple[Baseline, ...] = ()
    noise_tunnel: NoiseTunnel | None = None


METHODS: dict[str, type[Method]] = {
    Saliency.name: Saliency,
    InputXGradient.name: InputXGradient,
    IntegratedGradients.name: IntegratedGradients,
    GradientShap.name: GradientShap,
    DeepLift.name: DeepLift,
    DeepLiftShap.name: DeepLiftShap,
    GuidedBackprop.name: GuidedBackprop,
    Deconvolution.name: Deconvolution,
    GradCam.name: GradCam,
    GuidedGradCam.name: GuidedGradCam,
    LayerActivation.name: LayerActivation,
    LayerConductance.name: LayerConductance,
    Lrp.name: Lrp,
    Occlusion.name: Occlusion,
    FeatureAblation.name: FeatureAblation,
    Lime.name: Lime,
    KernelShap.name: KernelShap,
    PartitionShap.name: PartitionShap,
    PermutationShap.name: PermutationShap,
    Rise.name: Rise,
    GradCamPlusPlus.name: GradCamPlusPlus,
    LayerCam.name: LayerCam,
    ScoreCam.name: ScoreCam,
    EigenCam.name: EigenCam,
    DeepShap.name: DeepShap,
}
"""Every method of the contract by its name, in the contract's order."""
