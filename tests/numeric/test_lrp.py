"""LRP's rules are those of the papers, and follow the networks that people write."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.lrp import Lrp
from expound_worker.methods.method import Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.propagation.lrp import layers
from expound_worker.propagation.lrp.composites import (
    Composite,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus_flat,
)
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance
from tests.numeric.models import make_model, resolved

Function = Callable[[Tensor], Tensor]

LOW, HIGH = torch.tensor(-4.0).double(), torch.tensor(4.0).double()
COMPOSITES = [epsilon_plus_flat(1e-6), epsilon_gamma_box(1e-6, 0.25), epsilon_everywhere(1e-6)]


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def frozen(*parts: nn.Module | Function) -> nn.Sequential:
    """The parts in sequence, random and the same each time."""
    modules = [part if isinstance(part, nn.Module) else Apply(part) for part in parts]
    module = nn.Sequential(*modules)
    module.double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in module.parameters():
        tensor.normal_(std=0.5, generator=generator)
    return module


def noise(seed: int = 1, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator, dtype=torch.float64)


def explained(
    module: nn.Module, composite: Composite = COMPOSITES[2], inputs: Tensor | None = None
) -> Tensor:
    inputs = noise() if inputs is None else inputs
    targets = torch.arange(len(inputs))
    values, scores = relevance(module, inputs, targets, composite, Bounds(LOW, HIGH))
    assert torch.allclose(scores, module(inputs.clone()), rtol=1e-9)
    return values


def through(function: Function, output_relevance: Tensor, x: Tensor) -> Tensor:
    """What a function gives its input ``x`` (N, ...) of a relevance of its output."""

    def scores(inputs: Tensor) -> Tensor:
        return function(inputs).flatten(1)

    # The relevance of a score is the score: scaling the output brings any other one to it.
    factors = (output_relevance / function(x)).flatten(1)
    values, _ = relevance(
        Apply(lambda inputs: (scores(inputs) * factors).sum(1, keepdim=True)),
        x,
        torch.zeros(len(x), dtype=torch.int64),
        epsilon_everywhere(1e-12),
        Bounds(LOW, HIGH),
    )
    return values


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equality up to what stabilizers change where a denominator is near zero."""
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def literal(rule: str, x: Tensor, weight: Tensor, bias: Tensor, relevances: Tensor) -> Tensor:
    """One dense layer by the papers' formulas, sum by sum: x (I,), weight (O, I), bias (O,)."""
    total = torch.zeros_like(x)
    for w, b, r in zip(weight, bias, relevances, strict=True):
        match rule:
            case "epsilon":
                shares, constant = x * w, b
            case "z_plus":
                shares, constant = (x * w).clamp(min=0), b.clamp(min=0)
            case "gamma":
                sign = torch.sign(x @ w + b)
                shares, constant = x * w, b
                shares = shares + 0.3 * shares * (shares.sign() == sign)
                constant = constant + 0.3 * constant * (constant.sign() == sign)
            case "flat":
                shares, constant = torch.ones_like(x), torch.zeros(())
            case "z_box":
                shares = x * w - LOW * w.clamp(min=0) - HIGH * w.clamp(max=0)
                constant = torch.zeros(())
        z = shares.sum() + constant
        total += r * shares / (z + 1e-6 * (1 if z >= 0 else -1))
    return total


@pytest.mark.parametrize("rule", ["epsilon", "z_plus", "gamma", "flat", "z_box"])
def test_layer_rules_are_those_of_the_papers(rule: str) -> None:
    generator = torch.Generator().manual_seed(2)
    x, bias, relevances, weight = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((7,), (5,), (5,), (5, 7))
    )
    rules = {
        "epsilon": layers.epsilon(1e-6),
        "z_plus": layers.z_plus,
        "gamma": layers.gamma(0.3),
        "flat": layers.flat,
        "z_box": layers.z_box(Bounds(LOW.expand(1, 7), HIGH.expand(1, 7))),
    }
    layer = layers.Layer(functional.linear, weight, bias, (), {})
    found = rules[rule](layer, x[None], relevances[None])[0]
    assert torch.allclose(found, literal(rule, x, weight, bias, relevances), rtol=1e-9)


def test_composites_give_each_layer_its_rule() -> None:
    """Against the layers one by one: convolution, convolution, dense."""
    module = frozen(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten())
    head = frozen(nn.Linear(64, 2))
    x = noise(count=1)
    maps = [module[:count](x) for count in (2, 5)]
    bounds = Bounds(LOW.expand_as(x), HIGH.expand_as(x))
    rules = {
        0: (layers.flat, layers.z_plus, layers.epsilon(1e-6)),
        1: (layers.z_box(bounds), layers.gamma(0.25), layers.epsilon(1e-6)),
        2: (layers.epsilon(1e-6),) * 3,
    }

    def layer(part: Any, function: Callable[..., Any]) -> layers.Layer:
        return layers.Layer(function, part.weight, part.bias, (), {})

    for index, (first, middle, dense) in rules.items():
        r = head(maps[1]) * torch.tensor([[1.0, 0.0]])
        r = dense(layer(head[0], functional.linear), maps[1], r).view(1, 4, 4, 4)
        r = middle(layer(module[2], functional.conv2d), maps[0], r)
        r = first(layer(module[0], functional.conv2d), x, r)
        found = explained(nn.Sequential(module, head), COMPOSITES[index], x)
        assert torch.allclose(found, r, rtol=1e-9)


def test_softmax_has_the_rule_of_attnlrp() -> None:
    x, r = noise(1, 1).flatten(1), noise(2, 1).flatten(1)
    s = x.softmax(-1)
    found = through(lambda x: x.softmax(-1), r, x)
    assert_near(found, x * (r - s * r.sum()))


def test_matrix_products_have_the_rule_of_attnlrp() -> None:
    x, r = noise(1, 1)[0, :2], noise(2, 1)[0, :1]
    a, v = x[None, :1], x[None, 1:]
    o = a @ v
    share = r[None] / (2 * o)
    expected = torch.cat([a * (share @ v.mT), v * (a.mT @ share)], 1)
    found = through(lambda x: x[:, :1] @ x[:, 1:], r[None], x[None])
    assert_near(found, expected)


def test_layer_norm_has_the_rule_of_attnlrp() -> None:
    """Its standard deviation is constant, so that it is linear: the epsilon rule."""
    x, r = noise(1, 1).flatten(1), noise(2, 1).flatten(1)
    size = x.shape[1]
    weight, bias = noise(3, 2).flatten(1)
    jacobian = (torch.eye(size) - 1 / size) / x.std(correction=0) * weight[:, None]
    z = functional.layer_norm(x, (size,), weight, bias, 0.0)
    expected = x * ((r / z) @ jacobian)
    found = through(lambda x: functional.layer_norm(x, (size,), weight, bias, 0.0), r, x)
    assert_near(found, expected)


@pytest.mark.parametrize(
    ("function", "shares"),
    [
        (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), "all"),
        (lambda x: x.sigmoid() * x.tanh(), "all"),
        (lambda x: x.tanh() * x, "all"),
        (lambda x: x / x.square().mean(1, keepdim=True).sqrt(), "all"),
        (lambda x: 3 * x, "all"),
        (lambda x: x.relu() + x, "all"),
        (lambda x: x**2, "all"),
        (lambda x: x + 1, "less"),
        (lambda x: 1 - x, "less"),
        (lambda x: x.detach() + x, "less"),
    ],
)
def test_gates_pass_all_and_constants_keep_their_share(function: Function, shares: str) -> None:
    module = frozen(nn.Conv2d(3, 3, 1, bias=False), function, nn.Flatten(), head())
    values = explained(module, epsilon_everywhere(1e-12)).sum((1, 2, 3))
    scores = module(noise()).diagonal()
    assert torch.allclose(values, scores, rtol=1e-4) == (shares == "all")


def head() -> Function:
    weight = torch.randn(2, 192, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return lambda x: functional.linear(x, weight)


class ByModules(nn.Module):
    """A residual network of modules that are each used once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relus = nn.ModuleList([nn.ReLU() for _ in range(3)])
        self.pools = nn.ModuleList([nn.MaxPool2d(2) for _ in range(2)])
        self.dense = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.pools[0](self.relus[0](self.norm(self.conv1(x))))
        maps = self.relus[1](torch.add(self.conv2(maps), maps))
        logits: Tensor = self.dense(torch.flatten(self.relus[2](self.pools[1](maps)), 1))
        return logits


class ByFunctions(ByModules):
    """The same, of functions, one module used again and again, and in-place calls."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.pools[0](functional.relu(self.norm(self.conv1(x)), inplace=True))
        kept = maps
        maps = self.conv2(maps)
        maps += kept
        maps = self.pools[0](self.relus[0](maps))
        maps.relu_()
        logits: Tensor = self.dense(maps.view(len(x), -1))
        return logits


@pytest.mark.parametrize("composite", COMPOSITES)
def test_functions_reused_modules_and_in_place_calls_are_the_same_as_modules(
    composite: Composite,
) -> None:
    plain, other = frozen(ByModules()), frozen(ByFunctions())
    expected = explained(plain, composite)
    assert float(expected.abs().max()) > 0
    assert torch.allclose(explained(other, composite), expected, rtol=1e-12)
    program = torch.export.export(plain, (noise(),)).module()
    assert torch.allclose(explained(program, composite), expected, rtol=1e-9)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batch_norm_counts_as_part_of_the_layer_before_it(composite: Composite) -> None:
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    dense, last = nn.Linear(144, 6), nn.BatchNorm1d(6)
    module = frozen(conv, norm, nn.ReLU(), nn.Flatten(), dense, last)
    for layer in (norm, last):
        for tensor in (layer.running_mean, layer.running_var):
            assert tensor is not None
            tensor.copy_(noise(layer.num_features).flatten()[: len(tensor)].abs() + 0.5)
    first, second = (
        nn.utils.fuse_conv_bn_eval(conv, norm),
        nn.utils.fuse_linear_bn_eval(dense, last),
    )
    merged = nn.Sequential(first, nn.ReLU(), nn.Flatten(), second).requires_grad_(False)
    assert torch.allclose(explained(module, composite), explained(merged, composite), rtol=1e-9)


def test_z_box_knows_the_bounds_behind_a_normalisation_of_the_models_own() -> None:
    mean, std = torch.tensor([0.1, -0.2, 0.3]).double(), torch.tensor([0.5, -2.0, 1.0]).double()
    mean, std = mean.view(3, 1, 1), std.view(3, 1, 1)
    plain = frozen(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    module = nn.Sequential(Apply(lambda x: (x - mean) / std), plain)
    normed = (noise() - mean) / std
    ends = [(end - mean) / std for end in (LOW, HIGH)]
    bounds = Bounds(ends[0].minimum(ends[1]), ends[0].maximum(ends[1]))
    expected, _ = relevance(plain, normed, torch.arange(2), COMPOSITES[1], bounds)
    assert torch.allclose(explained(module, COMPOSITES[1]), expected, rtol=1e-9)


def test_each_input_of_a_batch_is_explained_as_if_it_were_alone() -> None:
    module = frozen(ByFunctions())
    for composite in COMPOSITES:
        together = explained(module, composite)
        alone, _ = relevance(module, noise()[1:], torch.tensor([1]), composite, Bounds(LOW, HIGH))
        assert torch.allclose(together[1:], alone, rtol=1e-9)


class Swish(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@pytest.mark.parametrize(
    ("function", "named_as"),
    [
        (Swish.apply, "SwishBackward"),
        (lambda x: torch.cumprod(x, 1), "cumprod"),
        (lambda x: 1 / (x + 5), "reciprocal"),
        (lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True) + x, "linalg_vector_norm"),
        (lambda x: x.detach() + 1, "detach"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(function: Function, named_as: str) -> None:
    with pytest.raises(MethodError, match="use integrated_gradients or") as caught:
        explained(frozen(function, nn.Flatten(), head()))
    assert caught.value.reason is Reason.METHOD_UNSUPPORTED
    assert caught.value.metadata["function"] == named_as


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_torch_script_is_refused() -> None:
    scripted = torch.jit.script(_scripted)
    with pytest.raises(MethodError, match="cannot see into"):
        explained(frozen(scripted, nn.Flatten(), head()))


def _scripted(x: Tensor) -> Tensor:
    return torch.relu(x)


def model_of(function: Function) -> Model:
    preprocessing = Preprocessing((3, 8, 8), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
    module = frozen(nn.Conv2d(3, 3, 3, padding=1), function, nn.Flatten(), nn.Linear(192, 4))
    return make_model(module.float(), preprocessing, batch_size=4)


def batch_of(model: Model, targets: list[int]) -> Batch:
    inputs = noise().float()
    logits = model.logits(inputs)
    return Batch(
        inputs, torch.tensor(targets), [float(logits[i, t]) for i, t in enumerate(targets)]
    )


def test_scores_that_change_under_the_rules_are_refused() -> None:
    def writes_into_a_view(x: Tensor) -> Tensor:
        y = x * 1
        y[:, :2].mul_(30)
        return y

    model = model_of(writes_into_a_view)
    parameters = resolved(m.Method(lrp=m.Lrp())).lrp
    with pytest.raises(MethodError, match="scores change when LRP looks on") as caught:
        Lrp().attribute(model, batch_of(model, [0, 1]), parameters, seed=0)
    assert caught.value.reason is Reason.METHOD_UNSUPPORTED


def test_relevance_that_is_far_from_the_score_is_refused_with_the_figure() -> None:
    model = model_of(lambda x: x)
    bias = model.module.get_parameter("3.bias")
    logits = model.logits(noise().float())
    bias[0] -= logits[0, 0] - 0.01  # what is left of the score is far less than its parts
    parameters = resolved(m.Method(lrp=m.Lrp(composite=m.Lrp.COMPOSITE_EPSILON))).lrp
    with pytest.raises(MethodError, match=r"that of the score is 0\.01") as caught:
        Lrp().attribute(model, batch_of(model, [0, 0]), parameters, seed=0)
    assert caught.value.reason is Reason.NOT_COMPLETE
    assert float(caught.value.metadata["completeness_error"]) > 1
    # Where the card refuses the method, that is so with every composite.
    assert caught.value.message.endswith("use integrated_gradients or kernel_shap instead")


@pytest.mark.parametrize(
    ("parameters", "composite"),
    [
        (m.Lrp(), epsilon_plus_flat(1e-6)),
        (m.Lrp(epsilon=0.1), epsilon_plus_flat(0.1)),
        (
            m.Lrp(composite=m.Lrp.COMPOSITE_EPSILON_GAMMA_BOX, gamma=2),
            epsilon_gamma_box(1e-6, 2),
        ),
        (m.Lrp(composite=m.Lrp.COMPOSITE_EPSILON, epsilon=0.01), epsilon_everywhere(0.01)),
    ],
)
def test_parameters_choose_the_rules(
    parameters: m.Lrp, composite: Composite, cifar: Model, thumbnail: Tensor
) -> None:
    inputs = thumbnail[None]
    logits = cifar.logits(inputs)
    targets = logits.argmax(1)
    black, white = (cifar.preprocessing.normalize_color((level,) * 3) for level in (0.0, 1.0))
    expected, _ = relevance(cifar.module, inputs, targets, composite, Bounds(black, white))
    batch = Batch(inputs, targets, logits.amax(1).tolist())
    given = resolved(m.Method(lrp=parameters)).lrp
    (answer,) = GRADIENT_METHODS["lrp"].attribute(cifar, batch, given, seed=0)
    assert torch.allclose(torch.from_numpy(answer.values), expected[0], rtol=1e-5)
    assert answer.evaluations == 1


def test_nothing_is_left_of_a_run_or_of_a_failed_one() -> None:
    module = frozen(ByFunctions())
    refused = frozen(module, lambda x: torch.cumprod(x, 1))
    before = {name: dict(part.__dict__) for name, part in refused.named_modules()}
    state = {key: tensor.clone() for key, tensor in refused.state_dict().items()}
    inputs = noise()
    kept = inputs.clone()
    explained(module, inputs=inputs)
    with pytest.raises(MethodError):
        explained(refused, inputs=inputs)
    for name, part in refused.named_modules():
        assert part.__dict__ == before[name]
        assert not part._forward_hooks and not part._backward_hooks
    assert all(torch.equal(tensor, state[key]) for key, tensor in refused.state_dict().items())
    assert torch.equal(inputs, kept) and inputs.grad is None and not inputs.requires_grad


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

    explained(frozen(relu_while_another_runs, nn.Flatten(), head()))
    assert seen and all(torch.equal(one, (plain.detach() > 0).float()) for one in seen)
