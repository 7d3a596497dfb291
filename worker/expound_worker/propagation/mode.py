"""Runs a model with other rules for some of the torch functions that it calls."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
"""A torch function or tensor method, as `TorchFunctionMode` meets it."""

Rule = Callable[..., Any]
"""Called as ``rule(function, *args, **kwargs)`` in place of the function."""


class RuleMode(TorchFunctionMode):
    """Calls a rule in place of every torch function that has one.

    Functional and module activations, reused modules and in-place calls all come down to the same
    torch functions, so that the model needs no hook, no copy and no edit. The mode holds for the
    thread that entered it alone. Within a rule it is off: a rule may call the function itself.
    """

    def __init__(self, rules: Mapping[Function, Rule]) -> None:
        """Makes a mode of a table of rules by function; see `by_function`."""
        super().__init__()
        self._rules = rules

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        rule = self._rules.get(func)
        if rule is None:
            return func(*args, **(kwargs or {}))
        return rule(func, *args, **(kwargs or {}))


def by_function(*table: tuple[Iterable[Function], Rule]) -> dict[Function, Rule]:
    """A table of rules, each given with all the functions that it stands in for."""
    return {function: rule for functions, rule in table for function in functions}
