"""Watches what the submodules of a network give, in one thread and for a while."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Note = Callable[[str, Any], Tensor | None]
"""Called with the name of a module and its output; gives what stands in for it, if anything."""


@contextmanager
def watching(modules: Mapping[str, nn.Module], note: Note) -> Iterator[None]:
    """Calls `note` whenever one of the modules has run, until the block is left in whatever way.

    Runs of the same modules in other threads go by unseen and unchanged: a hook is seen by all
    threads, and this one tells them apart.

    Args:
        modules: the modules by the name that `note` gets.
        note: called with each output.
    """
    watcher = threading.get_ident()

    def hook_for(name: str) -> Callable[..., Tensor | None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
            return note(name, output) if threading.get_ident() == watcher else None

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(hook_for(name)).remove)
        yield
