"""DeepLIFT's rules add up for every function, and follow the networks that people write."""

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from expound_worker.methods.method import MethodError
from expound_worker.propagation.deep_lift.propagate import Differences, propagate
from expound_worker.propagation.functions import in_place, named, opened

Function = Callable[[Tensor], Tensor]

F = functional


class Between(nn.Module):
    """A function between two random linear layers: (N, 3, 8, 8) to (N, 2)."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.function(self.first(inputs)).flatten(1)
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(2, found.shape[1], generator=generator, dtype=found.dtype)
        return functional.linear(found, weight)


def noise(seed: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator, dtype=torch.float64)


def frozen(module: nn.Module) -> nn.Module:
    return module.double().eval().requires_grad_(False)


def through(function: Function, baselines: Tensor | None = None) -> tuple[Differences, nn.Module]:
    torch.manual_seed(0)
    module = frozen(Between(function))
    inputs = noise(1)
    baselines = noise(2) * 0.5 if baselines is None else baselines
    return propagate(module, inputs, baselines, torch.tensor([0, 1])), module


def assert_exact(found: Differences, tolerance: float = 1e-12) -> None:
    differences = found.outputs - found.baseline_outputs
    sums = found.attributions.sum((1, 2, 3))
    assert (differences.abs() > 1e-6).all()
    assert torch.allclose(sums, differences, rtol=tolerance, atol=0)


def squeezed(x: Tensor) -> Tensor:
    """What attention sees: (N, 64, 4), the batch first."""
    return x.flatten(2).transpose(1, 2)


def inplace_relu_on_the_side(x: Tensor) -> Tensor:
    y = x * 2
    functional.relu(y, inplace=True)
    return y + x


def written_in_parts(x: Tensor) -> Tensor:
    parts = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    parts[:, :4] = x.tanh()
    parts[:, 4:] = x[:, :2].sigmoid()
    return parts


def in_order(x: Tensor) -> Tensor:
    """So far apart that the order is always the same."""
    return x + 10 * torch.arange(8, dtype=x.dtype)


def hooked(x: Tensor) -> Tensor:
    y = x.tanh()
    if y.requires_grad:
        y.register_hook(lambda gradient: None)
    return y


def shift(x: Tensor) -> Tensor:
    x -= x.mean((2, 3), keepdim=True)
    x /= x.std((2, 3), keepdim=True) + 0.1
    x *= x.sigmoid()
    x += 1
    return x


ELEMENTWISE: dict[str, Function] = {
    "relu": torch.relu,
    "relu method in place": lambda x: (x * 1).relu_(),
    "relu in place, result unused": inplace_relu_on_the_side,
    "relu6": lambda x: F.relu6(x * 5),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7, True),
    "hardswish": nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid(),
    "silu": nn.SiLU(inplace=True),
    "gelu": nn.GELU(),
    "gelu by tanh": nn.GELU("tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": lambda x: x.tanh(),
    "elu": nn.ELU(0.7, inplace=True),
    "celu": nn.CELU(0.5),
    "selu": nn.SELU(),
    "mish": nn.Mish(),
    "leaky relu": nn.LeakyReLU(0.2, inplace=True),
    "prelu of each channel": nn.PReLU(4),
    "softplus": nn.Softplus(2.0),
    "softsign": nn.Softsign(),
    "tanhshrink": nn.Tanhshrink(),
    "logsigmoid": nn.LogSigmoid(),
    "relu of an argument by name": lambda x: torch.relu(input=x),
    "gelu of an argument by name": lambda x: F.gelu(input=x, approximate="tanh"),
    "clamp of arguments by name": lambda x: torch.clamp(input=x, min=-0.3, max=0.4),
    "threshold": nn.Threshold(0.1, 0.0),
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "abs": torch.abs,
    "exp": torch.exp,
    "log": lambda x: (x.abs() + 0.1).log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "rsqrt": lambda x: (x.square() + 0.1).rsqrt(),
    "square": torch.square,
    "power 3": lambda x: x**3,
    "power 1/3": lambda x: x.abs() ** (1 / 3),
    "reciprocal": lambda x: 1 / (x + 3),
    "erf": torch.erf,
}
PRODUCTS: dict[str, Function] = {
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "the same twice": lambda x: x * x,
    "in place": lambda x: (x + 1).mul_(x.sigmoid()),
    "quotient": lambda x: x.tanh() / (x.square().mean((2, 3), keepdim=True) + 0.1),
    "quotient of signs": lambda x: x / (x.roll(1, 3).tanh() + 2),
    "constant over": lambda x: 2.0 / (x.square() + 1),
    "matmul": lambda x: x @ x.mT,
    "bmm": lambda x: torch.bmm(squeezed(x), squeezed(x).mT),
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x.tanh()),
    "einsum of one": lambda x: torch.einsum("bchw,cd->bdhw", x, torch.eye(4).to(x)).tanh(),
    "baddbmm": lambda x: torch.baddbmm(squeezed(x) @ squeezed(x).mT, squeezed(x), squeezed(x).mT),
    "in place all over": shift,
    "in parts": written_in_parts,
    "glu": lambda x: F.glu(x, 1),
    "cosine": lambda x: F.cosine_similarity(x, x.roll(1, 3)),
}
MAXIMA: dict[str, Function] = {
    "pool": nn.MaxPool2d(2),
    "overlapping, padded, ceil": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
    "dilated": nn.MaxPool2d(2, 1, dilation=2),
    "with indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "of torch": lambda x: torch.max_pool2d(x, 3),
    "1d": lambda x: F.max_pool1d(x.flatten(2), 5, 3),
    "3d": lambda x: F.max_pool3d(x[:, None], 2),
    "adaptive": nn.AdaptiveMaxPool2d((3, 5)),
    "adaptive with indices": lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True)[0],
    "amax": lambda x: x.amax((1, 3)),
    "max of a dimension": lambda x: x.max(2, keepdim=True).values,
    "max of all": lambda x: torch.stack([one.max() for one in x])[:, None],
    "maximum": lambda x: torch.maximum(x, x.roll(1, 2)),
    "max of two": lambda x: torch.max(x, torch.zeros((), dtype=x.dtype)),
}
COMPOSITIONS: dict[str, Function] = {
    "softmax": nn.Softmax(1),
    "softmin": nn.Softmin(1),
    "softmax of large": lambda x: (x * 300).softmax(1),
    "log_softmax": nn.LogSoftmax(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "layer norm": nn.LayerNorm((8, 8)),
    "group norm": nn.GroupNorm(2, 4),
    "instance norm": nn.InstanceNorm2d(4, affine=True),
    "batch norm": nn.BatchNorm2d(4),
    "rms norm": nn.RMSNorm(8),
    "local response norm": nn.LocalResponseNorm(2),
    "normalize": lambda x: F.normalize(x, dim=1),
    "normalize by 3": lambda x: F.normalize(x, 3.0, 1),
    "variance": lambda x: x.var((2, 3)),
    "deviation": lambda x: torch.std(x, dim=1, correction=0),
    "attention": lambda x: F.scaled_dot_product_attention(
        squeezed(x), x.flatten(2).mT, squeezed(x)
    ),
    "causal": lambda x: F.scaled_dot_product_attention(
        squeezed(x), squeezed(x), squeezed(x), is_causal=True, scale=2.0
    ),
    "masked": lambda x: F.scaled_dot_product_attention(
        squeezed(x), squeezed(x), squeezed(x), torch.eye(64, dtype=torch.bool)
    ),
}
LINEAR: dict[str, Function] = {
    "interpolate": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic").tanh(),
    "unlisted": lambda x: torch.tril(torch.rot90(x, 1, (2, 3))).tanh(),
    "fold": lambda x: F.fold(F.unfold(x, 2), (8, 8), 2).tanh(),
    "dropout": lambda x: F.dropout(x, 0.5, training=False).tanh(),
    "constants": lambda x: (x + torch.ones_like(x) + x.new_zeros(1)).tanh(),
    "where": lambda x: torch.where(torch.eye(8, dtype=torch.bool), x, x.tanh()),
    "where, of arguments by name": lambda x: torch.where(
        condition=torch.eye(8, dtype=torch.bool), input=x, other=x.tanh()
    ),
    "masked by a constant": lambda x: x.masked_fill(torch.eye(8) > 0, 0.5).tanh(),
    "shape": lambda x: x.view(x.size(0), -1).tanh() if x.dim() == 4 else x,
    "hook": hooked,
    "values and indices, in the same order": lambda x: in_order(x).topk(5).values,
    "sorted, in the same order": lambda x: in_order(x).sort(descending=True).values,
}
ALL = {
    f"{kind}: {name}": function
    for kind, table in {
        "element-wise": ELEMENTWISE,
        "products": PRODUCTS,
        "maxima": MAXIMA,
        "compositions": COMPOSITIONS,
        "linear": LINEAR,
    }.items()
    for name, function in table.items()
}


@pytest.mark.parametrize("name", ALL)
def test_values_add_up_through(name: str) -> None:
    found, module = through(ALL[name])
    assert_exact(found)
    with torch.no_grad():
        plain = module(noise(1))
    assert torch.allclose(found.outputs, plain.diagonal(), rtol=1e-12)


def test_batch_norm_by_the_statistics_of_an_input_adds_up() -> None:
    torch.manual_seed(0)
    module = frozen(Between(nn.BatchNorm2d(4, track_running_stats=False)))
    assert_exact(propagate(module, noise(1, 1), noise(2, 1), torch.tensor([0])))


NOT_DIFFERENTIABLE = {
    "products: in place all over",  # torch has lost what its own gradient needs
    "maxima: max of two",  # at the kink
    "compositions: softmax of large",
}


@pytest.mark.parametrize("name", sorted(ALL.keys() - NOT_DIFFERENTIABLE))
def test_a_baseline_very_near_the_input_gives_the_gradient(name: str) -> None:
    torch.manual_seed(0)
    module = frozen(Between(ALL[name]))
    inputs, targets = noise(1), torch.tensor([0, 1])
    baselines = inputs - 1e-9 * noise(5)
    found = propagate(module, inputs, baselines, targets)
    leaf = inputs.clone().requires_grad_()
    scores = module(leaf.clone()).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(scores, leaf)
    scale = float(gradient.abs().max())
    assert torch.allclose(
        found.attributions / (inputs - baselines), gradient, rtol=0, atol=1e-5 * scale
    )


@pytest.mark.parametrize("name", ["layer norm", "normalize", "rms norm", "group norm"])
def test_norms_of_an_empty_baseline_lose_no_digits(name: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), block)
            for block in _norms(name)
        ),
        nn.Flatten(),
        nn.Linear(192, 2),
    )
    inputs = noise(1)
    found = propagate(frozen(module), inputs, torch.zeros_like(inputs), torch.tensor([0, 1]))
    assert_exact(found, 1e-11)


def _norms(name: str) -> list[nn.Module]:
    make: dict[str, Callable[[], nn.Module]] = {
        "layer norm": lambda: nn.LayerNorm((8, 8), eps=1e-6),
        "normalize": lambda: Apply(lambda x: F.normalize(x, dim=1)),
        "rms norm": lambda: nn.RMSNorm(8, eps=1e-6),
        "group norm": lambda: nn.GroupNorm(3, 3),
    }
    return [make[name]() for _ in range(6)]


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class Transformer(nn.Module):
    """torch's own encoder on the pixels' columns, the batch first or second."""

    def __init__(self, batch_first: bool, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(24, 12)
        layer = nn.TransformerEncoderLayer(
            12, 3, 20, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 5)
        self.batch_first = batch_first

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.permute(0, 3, 1, 2).flatten(2))
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        found = self.encoder(tokens)
        logits: Tensor = self.head(found.mean(1 if self.batch_first else 0))
        return logits


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformers_of_torch_add_up_whichever_dimension_is_the_batch(
    batch_first: bool, norm_first: bool
) -> None:
    torch.manual_seed(0)
    module = frozen(Transformer(batch_first, norm_first))
    found = propagate(module, noise(1), noise(2), torch.tensor([0, 3]))
    assert_exact(found)


def test_attention_with_weights_adds_up() -> None:
    attention = frozen(nn.MultiheadAttention(4, 2, batch_first=True))

    def attend(x: Tensor) -> Tensor:
        tokens = squeezed(x)
        values, weights = attention(tokens, tokens, tokens)
        return torch.cat([values.flatten(1), weights.flatten(1)], 1)

    assert_exact(through(attend)[0])


def test_an_exported_program_adds_up() -> None:
    torch.manual_seed(0)
    module = frozen(
        nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.SiLU(),
            nn.Flatten(),
            nn.LayerNorm(54),
            nn.Linear(54, 2),
        )
    )
    program = torch.export.export(module, (noise(1),)).module()
    found = propagate(program, noise(1), noise(2), torch.tensor([0, 1]))
    assert_exact(found)
    expected = propagate(module, noise(1), noise(2), torch.tensor([0, 1]))
    assert torch.allclose(found.attributions, expected.attributions, rtol=1e-9)


class Swish(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.tanh()


def by_branch(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def by_mask(x: Tensor) -> Tensor:
    y = x * 1
    y[y < 0] = 0
    return y


@pytest.mark.parametrize(
    ("function", "named_as"),
    [
        (lambda x: x.detach() + x, "detach"),
        (lambda x: x.data + x, "data"),
        (lambda x: x + without_gradient(x), "tanh"),
        (Swish.apply, "sigmoid"),
        (lambda x: torch.cumprod(x, 1), "cumprod"),
        (lambda x: torch.atan2(x, x.roll(1, 1)), "atan2"),
        (lambda x: torch.rand_like(x) + x, "rand_like"),
        (lambda x: x * (x > 0), "mul"),
        (lambda x: torch.where(x > 0, x, 0.1 * x), "where"),
        (lambda x: x.gather(1, x.argsort(1)), "gather"),
        (lambda x: x.topk(5).values * torch.linspace(1, 2, 5), "topk"),
        (lambda x: x.sort().values * torch.linspace(1, 2, 8), "sort"),
        (lambda x: x / x.max().item(), "item"),
        (by_branch, "__bool__"),
        (by_mask, "__setitem__"),
        (lambda x: torch.dropout(x, 0.5, True), "dropout"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(function: Function, named_as: str) -> None:
    with pytest.raises(MethodError, match="use integrated_gradients or kernel_shap") as caught:
        through(function, torch.zeros(2, 3, 8, 8, dtype=torch.float64) - 1)
    assert caught.value.metadata["function"] == named_as


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_torch_script_is_refused() -> None:
    scripted = torch.jit.script(_scripted)
    with pytest.raises(MethodError, match="cannot be followed"):
        through(scripted)


def _scripted(x: Tensor) -> Tensor:
    return torch.relu(x)


def test_nothing_is_left_of_a_run_or_of_a_failed_one() -> None:
    torch.manual_seed(0)
    module = frozen(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten()))
    refused = frozen(nn.Sequential(module, Apply(lambda x: torch.cumprod(x, 1))))
    before = {name: dict(part.__dict__) for name, part in refused.named_modules()}
    inputs, baselines = noise(1), noise(2)
    kept = inputs.clone(), baselines.clone()
    propagate(module, inputs, baselines, torch.tensor([0, 1]))
    with pytest.raises(MethodError):
        propagate(refused, inputs, baselines, torch.tensor([0, 1]))
    for name, part in refused.named_modules():
        assert part.__dict__ == before[name]
        assert not part._forward_hooks and not part._backward_hooks
        assert all(parameter.grad is None for parameter in part.parameters())
    assert torch.equal(inputs, kept[0]) and torch.equal(baselines, kept[1])
    assert inputs.grad is None


def test_a_run_in_one_thread_is_not_seen_in_another() -> None:
    plain = torch.arange(-4.0, 4.0, requires_grad=True)
    seen: list[Tensor] = []

    def elsewhere() -> None:
        (gradient,) = torch.autograd.grad(torch.relu(plain).sum(), plain)
        seen.append(gradient)

    def relu_while_another_runs(x: Tensor) -> Tensor:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x.relu()

    assert_exact(through(relu_while_another_runs)[0])
    assert seen and all(torch.equal(one, (plain.detach() > 0).float()) for one in seen)


def test_names_find_every_form_of_a_function() -> None:
    found = named("relu")
    assert {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_} <= found
    assert torch.ops.aten.relu_.default in found
    assert F.relu not in found  # it is looked into
    assert opened(F.relu) is not None and opened(torch.relu) is None
    assert {in_place(function) for function in found} == {True, False}
    assert not in_place(Tensor.__index__) and in_place(Tensor.__imul__)
    assert math.isclose(float(opened(F.relu)(torch.tensor(2.0))), 2.0)  # type: ignore[misc]
