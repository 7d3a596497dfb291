"""Runs a model with other rules for some of the torch functions that it calls."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

from expound_worker.propagation.functions import Function, opened

Rule = Callable[..., Any]
"""Called as ``rule(function, *args, **kwargs)`` in place of the function."""


class RuleMode(TorchFunctionMode):
    """Calls a rule in place of every torch function that has one.

    Functional and module activations, reused modules and in-place calls all come down to the same
    torch functions, so that the model needs no hook, no copy and no edit. The mode holds for the
    thread that entered it alone; each run makes its own. Within a rule it is off: a rule may call
    the function itself.

    A function that is written in Python and has no rule is looked into: the mode meets the
    compiled functions that it calls. Rules for those are enough.
    """

    def __init__(self, rules: Mapping[Function, Rule]) -> None:
        """Makes a mode of a table of rules by function; see `by_function`."""
        super().__init__()
        self._rules = rules
        self._opened: list[Function] = []

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        rule = self._rules.get(func)
        if rule is not None:
            return _call(rule, func, args, kwargs or {})
        inside = opened(func)
        # A compiled method that has a Python one of its name comes under that one's name.
        if inside is None or func in self._opened:
            return self.without_rule(func, *args, **(kwargs or {}))
        self._opened.append(func)
        try:
            with self:
                return inside(*args, **(kwargs or {}))
        finally:
            self._opened.pop()

    def without_rule(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """What a function without a rule does: what it always does."""
        return function(*args, **kwargs)


def _call(rule: Rule, function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Calls a rule as functions are mostly called: with their first argument by its place.

    By name it is `input`, in all of them but `torch.where`, whose first is `condition`.
    """
    if args or "input" not in kwargs or "condition" in kwargs:
        return rule(function, *args, **kwargs)
    others = {name: value for name, value in kwargs.items() if name != "input"}
    return rule(function, kwargs["input"], **others)


def by_function(*table: tuple[Iterable[Function], Rule]) -> dict[Function, Rule]:
    """A table of rules, each given with all the functions that it stands in for."""
    return {function: rule for functions, rule in table for function in functions}
