"""Hooks that watch what the submodules of a network give, in one thread and for a while."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Note = Callable[[str, int, Any], Tensor | None]
"""Called with the name of a module, how often it has run by now, and its output; gives what stands
in for the output, if anything."""

NoteInputs = Callable[[tuple[Any, ...]], None]
"""Called with what a module is given."""


@contextmanager
def watching(
    network: nn.Module, names: Iterable[str], note: Note, note_inputs: NoteInputs | None = None
) -> Iterator[Counter[str]]:
    """Calls `note` whenever a submodule has run, until the block is left in whatever way.

    Runs in other threads go by unseen and unchanged: all threads meet a hook of a network that they
    share, and these tell them apart.

    Args:
        network: the network.
        names: dotted names of the submodules to watch.
        note: called with each output.
        note_inputs: called with what they are given, before they run.

    Yields:
        How often each of them has run.
    """
    watcher = threading.get_ident()
    runs: Counter[str] = Counter()

    def hook_for(name: str) -> Callable[..., Tensor | None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
            if threading.get_ident() != watcher:
                return None
            runs[name] += 1
            return note(name, runs[name], output)

        return hook

    def pre_hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if note_inputs is not None and threading.get_ident() == watcher:
            note_inputs(inputs)

    with ExitStack() as hooks:
        for name in names:
            module = network.get_submodule(name)
            if note_inputs is not None:
                hooks.callback(module.register_forward_pre_hook(pre_hook).remove)
            hooks.callback(module.register_forward_hook(hook_for(name)).remove)
        yield runs
