"""What methods can do on a model, measured on networks whose flaws are known."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import redis
import torch
from redis.backoff import NoBackoff
from redis.retry import Retry
from torch import Tensor, nn
from torch.nn import functional

from expound import records
from expound.reasons import Reason
from expound.v1.model_service_pb2 import Capability
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS, PERTURBATION_METHODS
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.capabilities import capabilities_at_load, measure_capabilities
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.prober import Prober, fingerprint
from tests.numeric.models import make_model, with_module
from tests.processes import RedisServer, free_port

SUPPORTED = Capability.SUPPORT_SUPPORTED
APPROXIMATE = Capability.SUPPORT_APPROXIMATE
UNSUPPORTED = Capability.SUPPORT_UNSUPPORTED
UNSPECIFIED = Capability.SUPPORT_UNSPECIFIED
DEADLINE_S = 60.0


class Classifier(nn.Module):
    """A convolution, something, and a linear layer."""

    def __init__(self, middle: Callable[[Tensor], Tensor], class_count: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, class_count)
        self.middle = middle

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.second(functional.relu(self.first(inputs)))
        logits: Tensor = self.last(self.middle(maps).mean(dim=(2, 3)))
        return logits


def classifier(middle: Callable[[Tensor], Tensor] = functional.relu, class_count: int = 4) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Classifier(middle, class_count)
    preprocessing = Preprocessing((3, 16, 16), None, (0.5,) * 3, (0.5,) * 3)
    return make_model(module, preprocessing, batch_size=4)


def measured(model: Model) -> dict[str, Capability]:
    return {capability.method: capability for capability in measure_capabilities(model)}


def test_every_method_of_the_catalogue_has_a_verdict_in_its_order() -> None:
    assert list(measured(classifier())) == list(METHODS)


def test_on_a_plain_network_every_method_is_supported_with_its_error() -> None:
    table = measured(classifier())
    found = {name: each.support for name, each in table.items() if name != "lrp"}
    assert found == dict.fromkeys(found, SUPPORTED), table
    for name in ("deep_lift", "deep_lift_shap", "deep_shap"):
        assert table[name].HasField("error") and table[name].error < 1e-5
    for name in ("integrated_gradients", "layer_conductance"):
        assert table[name].error < 0.05
        assert table[name].reason == "measured with 50 steps"
    assert not table["saliency"].HasField("error")
    assert not table["gradient_shap"].HasField("error")


def test_nothing_is_supported_before_it_is_measured() -> None:
    at_load = capabilities_at_load(classifier())
    assert [each.method for each in at_load] == list(METHODS)
    assert {each.support for each in at_load} == {UNSPECIFIED}


def test_what_the_network_can_never_have_is_known_at_load() -> None:
    at_load = {each.method: each for each in capabilities_at_load(classifier(functional.gelu))}
    refused = {name for name, each in at_load.items() if each.support == UNSUPPORTED}
    assert refused == {"guided_backprop", "deconvolution", "guided_grad_cam"}
    assert "gelu" in at_load["guided_backprop"].reason
    assert "instead" in at_load["guided_backprop"].reason


def test_one_class_alone_has_no_probability_to_explain() -> None:
    table = measured(classifier(class_count=1))
    refused = {name for name, each in table.items() if each.support == UNSUPPORTED}
    assert refused == set(PERTURBATION_METHODS) - {"score_cam"}
    for name in refused:
        assert "use integrated_gradients instead" in table[name].reason
        assert "two logits" in table[name].reason


def test_a_function_that_no_rule_knows_is_refused_by_the_methods_that_need_one() -> None:
    table = measured(classifier(torch.special.bessel_j0))
    assert table["deep_lift"].support == UNSUPPORTED
    assert "bessel_j0" in table["deep_lift"].reason
    assert "use integrated_gradients or kernel_shap instead" in table["deep_lift"].reason
    assert table["kernel_shap"].support == SUPPORTED


def test_a_network_without_a_gradient_leaves_the_methods_that_need_none() -> None:
    table = measured(classifier(lambda maps: maps.sign() + 0 * maps))
    for name in ("saliency", "input_x_gradient", "guided_backprop"):
        assert table[name].support == UNSUPPORTED, name
        assert "no gradient" in table[name].reason or "ReLU" in table[name].reason
    assert table["layer_activation"].support == SUPPORTED
    assert {table[name].support for name in PERTURBATION_METHODS} == {SUPPORTED}


def test_a_network_that_cannot_be_differentiated_is_told_with_what_to_use_instead() -> None:
    table = measured(classifier(lambda maps: maps.detach()))
    assert table["saliency"].support == UNSUPPORTED
    assert "use kernel_shap or rise instead" in table["saliency"].reason
    assert table["rise"].support == SUPPORTED


def test_few_steps_that_are_too_few_are_told_with_the_error() -> None:
    table = measured(classifier(lambda maps: (400 * maps).sin()))
    gradients = table["integrated_gradients"]
    assert gradients.support == APPROXIMATE
    assert gradients.error > 0.05
    assert "with 50 steps" in gradients.reason and "max_delta" in gradients.reason


def test_an_error_of_gradient_shap_that_is_no_chance_is_found() -> None:
    table = measured(classifier(lambda maps: maps + 5 * (maps > 0)))
    assert table["gradient_shap"].support == APPROXIMATE
    assert "chance" in table["gradient_shap"].reason


def test_a_random_network_is_approximate_for_every_method() -> None:
    table = measured(classifier(lambda maps: functional.dropout(maps, 0.5, training=True)))
    left = {each.support for each in table.values()}
    assert SUPPORTED not in left
    assert table["rise"].support == APPROXIMATE
    assert table["rise"].error > 0.01
    assert "random" in table["rise"].reason


def test_a_network_that_mixes_the_images_of_a_batch_is_found() -> None:
    table = measured(classifier(lambda maps: maps - maps.mean(dim=0)))
    assert table["rise"].support == APPROXIMATE
    assert "batch" in table["rise"].reason


def test_a_network_that_gives_nan_is_not_judged() -> None:
    table = measured(classifier(lambda maps: maps / 0))
    assert {each.support for each in table.values()} <= {UNSPECIFIED}
    assert all("NaN" in each.reason for each in table.values())


def test_a_method_that_fails_is_refused_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(GRADIENT_METHODS, "saliency", Saliency(ValueError("no\nmore")))
    table = measured(classifier())
    assert table["saliency"].support == UNSUPPORTED
    assert table["saliency"].reason == (
        "it fails on the probe image with ValueError: no; use kernel_shap or rise instead"
    )
    assert table["input_x_gradient"].support == SUPPORTED


def test_every_refusal_says_what_to_use_instead() -> None:
    middles: Sequence[Callable[[Tensor], Tensor]] = (
        functional.gelu,
        torch.special.bessel_j0,
        torch.sign,
        torch.detach,
    )
    for middle in middles:
        for each in measured(classifier(middle)).values():
            if each.support == UNSUPPORTED:
                assert "instead" in each.reason, each


class Saliency:
    """A method that raises what it is given at the first probes, and then gives some values."""

    name = "saliency"

    def __init__(self, *errors: Exception, value: float = 1.0) -> None:
        self.errors = list(errors)
        self.value = value

    def refusal(self, model: Model) -> str | None:
        return None

    def attribute(self, model: Model, batch: Batch, parameters: object, seed: int) -> list[Answer]:
        if self.errors:
            raise self.errors.pop(0)
        return [Answer(np.full((3, 16, 16), self.value, np.float32), LOGIT, batch.logits[0], 1)]


def not_complete() -> MethodError:
    return MethodError(
        Reason.NOT_COMPLETE, "too far off; use rise instead", completeness_error="0.25"
    )


def saliency_of(monkeypatch: pytest.MonkeyPatch, method: Saliency) -> Capability:
    """What is found of a method in the place of saliency on a plain network."""
    monkeypatch.setitem(GRADIENT_METHODS, "saliency", method)
    return measured(classifier())["saliency"]


def test_a_method_that_refuses_one_probe_alone_is_approximate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = saliency_of(monkeypatch, Saliency(not_complete()))
    assert found.support == APPROXIMATE
    assert found.reason == "refused for some images: too far off; use rise instead"
    assert found.error == 0.25


def test_a_method_that_refuses_all_probes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = saliency_of(monkeypatch, Saliency(not_complete(), not_complete()))
    assert found.support == UNSUPPORTED
    assert found.reason == "too far off; use rise instead"


def test_a_method_that_gives_nan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = saliency_of(monkeypatch, Saliency(value=float("nan")))
    assert found.support == UNSUPPORTED
    assert "NaN or infinity" in found.reason


def test_a_probe_that_does_not_fit_into_memory_says_nothing_of_the_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = saliency_of(monkeypatch, Saliency(torch.OutOfMemoryError("no room")))
    assert found.support == UNSPECIFIED
    assert found.reason == "the probe does not fit into the memory"


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with RedisServer() as server:
        yield redis.Redis.from_url(server.url)


@contextmanager
def probing(client: redis.Redis, *models: Model) -> Iterator[dict[str, Sequence[Capability]]]:
    """What a prober tells of models until it has told of all."""
    told: dict[str, Sequence[Capability]] = {}
    all_told = threading.Event()

    def publish(model: Model, capabilities: Sequence[Capability]) -> None:
        told[model.name] = capabilities
        if len(told) == len(models):
            all_told.set()

    prober = Prober(client, models, publish)
    prober.start()
    assert all_told.wait(DEADLINE_S)
    yield told
    prober.stop()


def test_what_is_measured_once_is_read_at_the_next_start(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier()
    with probing(client, model) as first:
        assert first["model"][0].support == SUPPORTED
    monkeypatch.setitem(GRADIENT_METHODS, "saliency", Saliency(ValueError("no\nmore")))
    with probing(client, model) as second:
        assert list(second["model"]) == list(first["model"])
    with probing(client, classifier(functional.gelu)) as other:
        assert other["model"][0].support == UNSUPPORTED


def test_what_could_not_be_measured_is_measured_at_the_next_start(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(functional.silu)
    monkeypatch.setitem(GRADIENT_METHODS, "saliency", Saliency(torch.OutOfMemoryError("no room")))
    with probing(client, model) as first:
        assert first["model"][0].support == UNSPECIFIED
    with probing(client, model) as second:
        assert second["model"][0].support == SUPPORTED


def test_a_prober_that_is_stopped_amid_a_model_tells_nothing_of_it(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, told = classifier(functional.softplus), list[str]()
    prober = Prober(client, [model], lambda model, _: told.append(model.name))

    class Stopping(Saliency):
        def attribute(
            self, model: Model, batch: Batch, parameters: object, seed: int
        ) -> list[Answer]:
            prober._stopping.set()
            return super().attribute(model, batch, parameters, seed)

    monkeypatch.setitem(GRADIENT_METHODS, "saliency", Stopping())
    prober.start()
    prober.stop()
    assert told == []
    assert not client.exists(records.capabilities_key(fingerprint(model)))


def test_a_prober_works_without_redis() -> None:
    client = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    with probing(client, classifier()) as told:
        assert told["model"][0].support == SUPPORTED


def test_a_model_that_breaks_does_not_keep_the_others_from_being_probed(
    client: redis.Redis,
) -> None:
    def broken(_maps: Tensor) -> Tensor:
        raise ValueError("no")

    good = classifier()
    bad = with_module(good, Classifier(broken), name="bad")
    told: list[str] = []
    all_told = threading.Event()

    def publish(model: Model, _capabilities: Sequence[Capability]) -> None:
        told.append(model.name)
        all_told.set()

    prober = Prober(client, [bad, good], publish)
    prober.start()
    assert all_told.wait(DEADLINE_S)
    prober.stop()
    assert told == ["model"]


def test_networks_of_the_same_weights_are_told_apart() -> None:
    relu, gelu = classifier(), classifier(functional.gelu)
    assert relu.digest == gelu.digest
    assert fingerprint(relu) == fingerprint(classifier())
    assert fingerprint(relu) != fingerprint(gelu)


def test_models_that_differ_in_weights_or_preprocessing_alone_are_told_apart() -> None:
    model = classifier()
    other_weights = dataclasses.replace(model, digest="1" * 64)
    darker = dataclasses.replace(model.preprocessing, mean=(0.4,) * 3)
    other_input = dataclasses.replace(model, preprocessing=darker)
    assert len({fingerprint(each) for each in (model, other_weights, other_input)}) == 3
