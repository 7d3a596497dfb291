"""The relevance of a network's input."""

import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound_worker.methods.method import MethodError
from expound_worker.propagation.lrp.composites import Composite
from expound_worker.propagation.lrp.graph import foreign_node
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.mode import RelevanceMode


def relevance(
    module: nn.Module, inputs: Tensor, targets: Tensor, composite: Composite, bounds: Bounds
) -> tuple[Tensor, Tensor]:
    """Hands the score of each input's target down to the input.

    Args:
        module: the network, in eval mode, its parameters frozen.
        inputs: (N, C, H, W).
        targets: (N,) int64, class of each input whose score is handed down.
        composite: the rules of the layers.
        bounds: lowest and highest value of the inputs, of shapes that broadcast to theirs.

    Returns:
        The relevance, of the inputs' shape, and the scores (N, classes) that the rules gave.

    Raises:
        MethodError: METHOD_UNSUPPORTED if relevance would go through a function without a rule.
    """
    inputs = inputs.detach().clone().requires_grad_()
    mode = RelevanceMode(composite, inputs, bounds)
    with torch.enable_grad(), mode:
        output = module(inputs)
    output = mode.latest(output)
    foreign = foreign_node(output) if output.requires_grad else "detach"
    if foreign is not None:
        raise MethodError(
            Reason.METHOD_UNSUPPORTED,
            f"the model runs a function of its own or a script ({foreign}) that LRP cannot see "
            "into; use integrated_gradients or kernel_shap instead",
            function=foreign,
        )
    scores = output.detach()
    target_scores = torch.zeros_like(scores).scatter(
        1, targets[:, None], scores.gather(1, targets[:, None])
    )
    (values,) = torch.autograd.grad(output, inputs, target_scores)
    return values, scores
