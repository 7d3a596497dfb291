"""The functions of torch, as a mode meets them: by name, in place or not, and from the inside."""

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn import functional

Function = Callable[..., Any]
"""A torch function or tensor method, as `TorchFunctionMode` meets it."""

_HOMES = (
    torch,
    torch.Tensor,
    torch._C.TensorBase,
    functional,
    torch._C._nn,  # where `torch.nn.functional` has its compiled functions from
    torch.linalg,
    torch.special,
)
_IN_PLACE_OPERATORS = {
    "__iadd__",
    "__isub__",
    "__imul__",
    "__itruediv__",
    "__ipow__",
    "__setitem__",
}


def named(names: str) -> set[Function]:
    """All functions of torch of some names, with their in-place forms: "relu" is ``relu_`` too.

    Also those of `torch.ops.aten`, which exported programs call. Left out is what
    `torch.nn.functional` has written in Python, with arguments of its own: `opened` shows what that
    calls.
    """
    forms = [form for name in names.split() for form in (name, f"{name}_")]
    found = {getattr(home, form) for form in forms for home in _HOMES if hasattr(home, form)}
    packets = [getattr(torch.ops.aten, form) for form in forms if hasattr(torch.ops.aten, form)]
    found.update(getattr(packet, name) for packet in packets for name in packet.overloads())
    return {function for function in found if callable(function) and not _is_wrapper(function)}


def name_of(function: Function) -> str:
    """The plain name of a function: "relu_" for the method, the function and ``relu_.default``.

    Reading an attribute of a tensor is a function of the attribute's name.
    """
    named = getattr(function, "__self__", function) if function.__name__ == "__get__" else function
    name: str = named.__name__
    return name.partition(".")[0]


def in_place(function: Function) -> bool:
    """Whether the function writes into its first argument, by the naming rule of torch."""
    name = name_of(function)
    return name in _IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__"))


@cache
def opened(function: Function) -> Function | None:
    """The inside of a torch function that is written in Python; None for a compiled one.

    Such a function (`torch.nn.functional.relu`, `multi_head_attention_forward`) first asks whether
    a mode is on, and hands itself over to the mode if so. The one returned has the same code, but
    is told that there is none: run under a mode, it shows the mode the compiled functions that it
    calls.
    """
    if not isinstance(function, types.FunctionType):
        return None
    names = set(function.__code__.co_names) & function.__globals__.keys()
    questions = [name for name in names if name.startswith("has_torch_function")]
    if not questions:
        return None
    scope = {**function.__globals__, **dict.fromkeys(questions, _no)}
    inside = types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    inside.__kwdefaults__ = function.__kwdefaults__
    return inside


def _is_wrapper(function: Function) -> bool:
    return opened(function) is not None and function.__module__ == functional.__name__


def _no(*_: Any) -> bool:
    return False
