"""The rules of single functions, which need to know nothing else of the model.

Each is called as ``rule(function, *args, **kwargs)`` in place of the function.
"""

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from expound.reasons import Reason
from expound_worker.methods.method import MethodError
from expound_worker.propagation.functions import Function, name_of
from expound_worker.propagation.lrp.graph import Copy, attach, carriers, carries

STABILIZER = 1e-6
"""By how much denominators are moved away from zero."""


def stabilize(denominator: Tensor, epsilon: float = STABILIZER) -> Tensor:
    """The denominator moved away from zero by `epsilon`; zero becomes `epsilon`."""
    return torch.where(denominator < 0, denominator - epsilon, denominator + epsilon)


def passed(function: Function, *args: Any, **kwargs: Any) -> Tensor:
    """``R_x = R``: for element-wise functions of one input, and for products with a constant.

    An input that is broadcast gets the sum of what its copies have.
    """
    inputs = carriers(args, kwargs)
    if len(inputs) != 1:
        unsupported(function)
    args, kwargs = pytree.tree_map(
        lambda value: value.detach() if carries(value) else value, (args, kwargs)
    )
    shape = inputs[0].shape
    return attach(
        function(*args, **kwargs), inputs, lambda relevances: [relevances[0].sum_to_size(shape)]
    )


def moved(function: Function, *args: Any, **kwargs: Any) -> Any:
    """Relevance goes back to where each value came from: for functions that move or choose."""
    copy = Copy(function, *args, **kwargs)
    return copy.attach(copy.pull_back)


def proportional(function: Function, *args: Any, **kwargs: Any) -> Tensor:
    """``R_x = x * J^T (R / f(x))``, the epsilon rule: for functions linear in all inputs together.

    Each term of a sum gets its share; what is constant keeps its own, as a bias does.
    """
    return _proportional(Copy(function, *args, **kwargs), part=1.0)


def uniform(function: Function, *args: Any, **kwargs: Any) -> Tensor:
    """An equal part to each input, there as `proportional`: for functions linear in each input.

    The rule of AttnLRP for products.
    """
    copy = Copy(function, *args, **kwargs)
    return _proportional(copy, part=1 / len(copy.inputs))


def _proportional(copy: Copy, part: float) -> Tensor:
    (output,) = copy.outputs

    def propagate(relevances: tuple[Tensor, ...]) -> list[Tensor]:
        share = part * relevances[0] / stabilize(output.detach())
        return copy.inputs_times(copy.pull_back([share]))

    attached: Tensor = copy.attach(propagate)
    return attached


def softmax(function: Function, *args: Any, **kwargs: Any) -> Tensor:
    """``R_x = x * (R - s * sum(R))``: softmax ``s`` by its Taylor expansion, the rule of AttnLRP.

    What the expansion's constant term holds is lost.
    """
    copy = Copy(function, *args, **kwargs)
    (output,) = copy.outputs

    def propagate(relevances: tuple[Tensor, ...]) -> list[Tensor]:
        possible = output.detach() > 0
        share = torch.where(possible, relevances[0] / output.detach(), 0)
        return copy.inputs_times(copy.pull_back([share]))

    attached: Tensor = copy.attach(propagate)
    return attached


def unknown(function: Function, *args: Any, **kwargs: Any) -> Any:
    """For functions without a rule: an error, but only when relevance comes to the output.

    None comes to the shape of a tensor, to a comparison, to what only opens a gate.
    """
    return Copy(function, *args, **kwargs).attach(lambda relevances: unsupported(function))


def unsupported(function: Function) -> NoReturn:
    """Raises the MethodError of a function through which relevance cannot go."""
    name = name_of(function)
    raise MethodError(
        Reason.METHOD_UNSUPPORTED,
        f"LRP has no rule for {name} as the model calls it; use integrated_gradients or deep_lift "
        "instead",
        function=name,
    )
