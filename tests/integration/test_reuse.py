"""Reuse with a real worker: what was answered before is not worked on, and what was not is."""

from collections.abc import Iterator

import numpy as np
import pytest

from expound_client import Client, ExplanationResult, State
from expound_client import methods as m
from expound_client.method import Method
from tests import photos
from tests.processes import wait_until
from tests.service import Server, Service


@pytest.fixture(scope="module")
def reusing(service: Service) -> Iterator[Client]:
    """A client of a server that gives answers again."""
    with Server(service.redis.url, max_reuse_age_s=3600.0) as server:
        wait_until(server.serving, "the server that reuses", 60)
        with Client(server.address) as connected:
            yield connected


BEFORE: list[str | Method] = ["saliency", m.IntegratedGradients(n_steps=20), m.Lime(n_samples=100)]


@pytest.mark.parametrize("seed", range(3), ids=["goes_on", "lasts", "job"])
def test_who_adds_methods_to_a_request_waits_for_these_alone(reusing: Client, seed: int) -> None:
    """Whether the one from before goes on from the prediction, takes own passes, or is a job."""

    def ask(*methods: str | Method) -> ExplanationResult:
        image = photos.chelsea()
        return reusing.explain(image, model="cifar", methods=methods, seed=seed).result(60)

    before = BEFORE[seed]
    first = ask(before)
    (name,) = first
    result = ask("input_x_gradient", before, m.Occlusion(), "grad_cam")
    assert (result.state, result.reused) == (State.SUCCEEDED, False)
    assert [key for key, method in result.methods.items() if method.reused] == [name]
    np.testing.assert_array_equal(result[name].values, first[name].values)
    assert result.methods[name].start_time == first.methods[name].start_time
    assert ask("grad_cam", m.Occlusion(), before).reused
