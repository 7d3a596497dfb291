"""Models whose numbers go wrong: a clear end or a warning, never an empty map called success."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from expound.reasons import Reason
from expound_client import Client, ExplanationResult, State, Support
from expound_client.errors import ExplanationFailedError, MethodUnsupportedError
from tests import photos
from tests.processes import wait_until
from tests.service import Service

MODELS = Path(__file__).parent / "models" / "oddities.toml"
PHOTO = np.asarray(Image.fromarray(photos.chelsea()).resize((32, 32)))
WHITE = np.full((32, 32, 3), 255, np.uint8)
MAX_STEP_S = 5.0
EMPTY = "the map is zero everywhere"

# What of a constant model is not zero: the features of a layer, which need no score, and RISE,
# which is an average of scores.
NOT_ZERO = {"layer_activation", "eigen_cam", "rise"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a service with the odd models alone, which soon takes a step for hung."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EXPOUND_MAX_STEP_S", str(MAX_STEP_S))
        service = Service(MODELS)
    with service, Client(service.address) as connected:
        yield connected


def _wait_until_refused(client: Client, method: str, model: str) -> None:
    """Waits until the worker has found out by its probe."""
    wait_until(
        lambda: client.model(model).capabilities[method].support is Support.UNSUPPORTED,
        f"the probe of {model}",
    )


def _supported(client: Client, model: str) -> list[str]:
    return [
        capability.method
        for capability in client.model(model).capabilities.values()
        if capability.support is not Support.UNSUPPORTED
    ]


def _failed(
    client: Client, model: str, image: NDArray[np.uint8], *methods: str
) -> ExplanationFailedError:
    with pytest.raises(ExplanationFailedError) as raised:
        client.explain(image, model=model, methods=list(methods)).result(60)
    return raised.value


def _reasons(result: ExplanationResult | None) -> dict[str, Reason | None]:
    assert result is not None
    return {key: each.error.reason if each.error else None for key, each in result.methods.items()}


def test_what_a_constant_model_gives_is_refused_or_says_that_it_is_empty(client: Client) -> None:
    _wait_until_refused(client, "saliency", "constant")
    supported = _supported(client, "constant")
    assert {"lime", "kernel_shap", "occlusion"} <= set(supported)
    with pytest.raises(MethodUnsupportedError, match="no gradient"):
        client.explain(PHOTO, model="constant", methods=["saliency"])
    result = client.explain(PHOTO, model="constant", methods=supported).result(120)
    for key in supported:
        attribution = result[key]
        assert np.isfinite(attribution.values).all()
        if key not in NOT_ZERO:
            assert not attribution.values.any(), key
            assert any(warning.startswith(EMPTY) for warning in attribution.warnings), key


def test_a_map_of_zeros_says_so_in_words_picture_and_report(client: Client, tmp_path: Path) -> None:
    methods = ["saliency", "input_x_gradient"]
    result = client.explain(WHITE, model="saturated", methods=methods).result(60)
    page = tmp_path / "report.html"
    result.save_html(page)
    assert page.read_text().count(EMPTY) == len(methods)
    for key in methods:
        attribution = result[key]
        assert not attribution.values.any()
        assert any(warning.startswith(EMPTY) for warning in attribution.warnings)
        for picture in (attribution.heatmap(), attribution.overlay()):
            # Labelled, and not one colour all over.
            assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1


def test_a_network_without_gradients_is_explained_by_what_needs_none(client: Client) -> None:
    _wait_until_refused(client, "saliency", "stepped")
    result = client.explain(PHOTO, model="stepped", methods=["lime", "occlusion"]).result(60)
    assert result["lime"].values.any()


def test_nan_of_a_model_fails_that_explanation_alone(client: Client) -> None:
    together = [
        client.explain(image, model="not_a_number", methods=["saliency", "lime"])
        for image in (PHOTO, WHITE, PHOTO, PHOTO)
    ]
    with pytest.raises(ExplanationFailedError) as raised:
        together[1].result(60)
    assert raised.value.reason is Reason.NOT_FINITE
    alone = client.explain(PHOTO, model="not_a_number", methods=["saliency", "lime"]).result(60)
    for explanation in (together[0], together[2], together[3]):
        result = explanation.result(60)
        for key in ("saliency", "lime"):
            np.testing.assert_allclose(result[key].values, alone[key].values, rtol=1e-5, atol=1e-9)


def test_infinity_of_perturbed_images_fails_what_perturbs(client: Client) -> None:
    error = _failed(client, "infinite", WHITE, "saliency", "lime", "kernel_shap", "occlusion")
    assert _reasons(error.result) == {
        "saliency": None,
        **dict.fromkeys(("lime", "kernel_shap", "occlusion"), Reason.NOT_FINITE),
    }


def test_an_infinite_gradient_fails_what_needs_the_gradient(client: Client) -> None:
    error = _failed(client, "steep", WHITE, "saliency", "lime")
    assert _reasons(error.result) == {"saliency": Reason.NOT_FINITE, "lime": None}


def test_a_map_that_is_the_same_everywhere_says_so(client: Client) -> None:
    result = client.explain(WHITE, model="constant", methods=["eigen_cam"]).result(60)
    assert "the same everywhere" in " ".join(result["eigen_cam"].warnings)


def test_logits_of_another_shape_fail_that_explanation_alone(client: Client) -> None:
    together = [
        client.explain(image, model="of_another_shape", methods=["saliency"])
        for image in (PHOTO, WHITE, PHOTO)
    ]
    with pytest.raises(ExplanationFailedError) as raised:
        together[1].result(60)
    assert raised.value.reason is Reason.MODEL_ERROR
    assert "(1, 11) instead of logits (1, 10)" in str(raised.value)
    for explanation in (together[0], together[2]):
        assert explanation.result(60).state is State.SUCCEEDED


def test_a_model_that_hangs_fails_at_its_timeout_and_the_device_is_freed(client: Client) -> None:
    explanation = client.explain(WHITE, model="hanging", methods=["saliency"], timeout_s=3)
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(30)
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    after = client.explain(PHOTO, model="constant", methods=["lime"])
    assert after.result(120).state is State.SUCCEEDED
