"""Chooses the layer of a network that layer methods take when none is named."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from expound_worker.models.hooks import watching
from expound_worker.models.model import Layer

_NO_GRADIENT = "have no gradient of the score at the positions of their maps"
_LEADING_TOKENS = "act on the score through their leading tokens alone"
_POOLED = "are only pooled"
_CLASS_MAPS = "have the scores of the classes for channels"
_BYPASSED = "do not carry all that the score depends on"


def choose_default(module: nn.Module, layers: Sequence[Layer], image: Tensor) -> tuple[Layer, str]:
    """Chooses the last layer through which the score depends on the image.

    The score must have a gradient at the positions of the map: in a vision transformer with a
    class token, the last block acts on the score through that token alone, and the last layer that
    counts is what its attention reads. Passed over are maps that are only pooled, as they come
    after finer ones of the same content; maps of the classes' scores, which have no features to
    weigh; and single branches of a block, as others bypass them.

    Several layers with the same output are one: the outermost names it (`layer4`, not its last
    block), unless it holds most of the network (`features`).

    Args:
        module: the network, in eval mode.
        layers: those to choose from, in the order in which they end; at least one.
        image: (1, C, H, W) an input to probe with.

    Returns:
        The layer, and why it was chosen, in words.
    """
    probe = _run_probe(module, layers, image)
    passed_over: list[tuple[Layer, str]] = []
    for last in reversed(layers):
        flaw = probe.flaw(last)
        if flaw is None:
            break
        passed_over.insert(0, (last, flaw))
    else:
        size = _describe(layers[-1])
        return layers[-1], f"the last layer with a map ({size}); none carries the score's gradient"
    same = [layer for layer in layers if probe.same_output(layer, last)]
    parts = [layer for layer in same if 2 * _count_within(layer, layers) <= len(layers)]
    chosen = min(parts or same, key=lambda layer: layer.module.count("."))
    reason = f"the last layer with a map ({_describe(chosen)}) through which the score depends on "
    reason += "the image"
    return chosen, "; ".join([reason, *_say(passed_over)])


@dataclass
class _Probe:
    """What one forward and one backward pass of the best class's score tells of the layers.

    Attributes:
        outputs: output of each layer by name, held so that no other one takes its memory.
        versions: how often that memory was changed in place before the output left the layer.
        functions: the function of the autograd graph that gave it.
        gradient_channels: in how many channels of each layer's map there is a gradient.
        class_count: number of classes.
        image_function: the function of the autograd graph that gave the image.
        score_function: that which gave the score.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    functions: dict[str, Node | None] = field(default_factory=dict)
    gradient_channels: dict[str, int] = field(default_factory=dict)
    class_count: int = 0
    image_function: Node | None = None
    score_function: Node | None = None

    def flaw(self, layer: Layer) -> str | None:
        """Why the layer is none to explain by; None where it is one."""
        gradient_channels = self.gradient_channels.get(layer.name, 0)
        if not gradient_channels:
            return _LEADING_TOKENS if layer.layout.leading_tokens else _NO_GRADIENT
        if "Pool" in type(self.functions[layer.name]).__name__:
            return _POOLED
        if gradient_channels == 1 and layer.output_shape[0] == self.class_count:
            return _CLASS_MAPS
        # A class token bypasses all that is done to the others.
        if not layer.layout.leading_tokens and self._bypassed(layer):
            return _BYPASSED
        return None

    def same_output(self, layer: Layer, other: Layer) -> bool:
        """Whether both gave the same values, be it in another layout."""
        same_memory = self.outputs[layer.name].data_ptr() == self.outputs[other.name].data_ptr()
        return same_memory and self.versions[layer.name] == self.versions[other.name]

    def _bypassed(self, layer: Layer) -> bool:
        """Whether the autograd graph has a way from the score to the image around the layer."""
        ahead = [self.score_function]
        seen = {self.functions[layer.name], None}
        while ahead:
            function = ahead.pop()
            if function is self.image_function:
                return True
            if function is not None and function not in seen:
                seen.add(function)
                ahead.extend(following for following, _ in function.next_functions)
        return False


def _run_probe(module: nn.Module, layers: Sequence[Layer], image: Tensor) -> _Probe:
    probe = _Probe()
    by_run = {(layer.module, layer.run): layer for layer in layers}

    def note(name: str, run: int, output: object) -> None:
        layer = by_run.get((name, run))
        if layer is None or not isinstance(output, Tensor):
            return
        probe.outputs[layer.name] = output
        probe.versions[layer.name] = output._version
        probe.functions[layer.name] = output.grad_fn
        if output.requires_grad:
            output.register_hook(_counter(probe.gradient_channels, layer))

    names = {layer.module for layer in layers}
    image = image.clone().requires_grad_().clone()
    probe.image_function = image.grad_fn
    try:
        with torch.enable_grad(), watching(module, names, note):
            logits = module(image)
        probe.class_count = logits.shape[1]
        score = logits.max()
        probe.score_function = score.grad_fn
        torch.autograd.grad(score, image)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # torch's way to say that something has no derivative
        probe.gradient_channels.clear()
    return probe


def _counter(counts: dict[str, int], layer: Layer) -> Callable[[Tensor], None]:
    """A hook that counts the channels of a layer's map in which there is a gradient anywhere."""

    def count(gradient: Tensor) -> None:
        channels = layer.layout.to_maps(gradient)[0].flatten(1)
        counts[layer.name] = int(channels.any(dim=1).sum())

    return count


def _count_within(layer: Layer, layers: Sequence[Layer]) -> int:
    return sum(other.module.startswith(f"{layer.module}.") for other in layers)


def _describe(layer: Layer) -> str:
    _, height, width = layer.output_shape
    return f"{height}x{width}, {layer.layout}"


def _say(passed_over: Sequence[tuple[Layer, str]]) -> Iterator[str]:
    """Names the layers passed over for each flaw, in words."""
    for flaw in (_NO_GRADIENT, _LEADING_TOKENS, _POOLED, _CLASS_MAPS, _BYPASSED):
        names = [layer.name for layer, its in passed_over if its == flaw]
        if names:
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            yield f"later ones {flaw}: {listed}"
