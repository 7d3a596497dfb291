"""What methods can do on the models of a running service, as callers are told."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import redis

from expound import records
from expound.v1 import explanation_pb2, explanation_service_pb2_grpc
from expound_client import Client, Support
from expound_client.cli import run
from expound_client.errors import MethodUnsupportedError
from tests import photos
from tests.processes import wait_until
from tests.service import Service


@pytest.fixture(scope="module")
def probed(service: Service) -> Iterator[Client]:
    """A client, when all models are probed."""

    with Client(service.address) as client:

        def known() -> bool:
            tables = [model.capabilities.values() for model in client.models()]
            return all(each.support != Support.UNSPECIFIED for table in tables for each in table)

        wait_until(known, "the probe of all models", 180)
        yield client


def test_a_model_tells_the_measured_error_of_each_method(probed: Client) -> None:
    table = probed.model("efficientnet_lite0").capabilities
    assert table["deep_lift"].support == Support.SUPPORTED
    assert table["deep_lift"].error is not None and table["deep_lift"].error < 1e-3
    assert table["integrated_gradients"].error is not None
    assert table["lime"].support == Support.SUPPORTED
    assert table["lime"].error is None


@pytest.mark.parametrize("validate_only", [True, False])
def test_an_unsupported_method_is_refused_before_it_is_queued(
    service: Service, validate_only: bool
) -> None:
    request = explanation_pb2.ExplainRequest(model="perceptron", validate_only=validate_only)
    request.inputs.add().image = photos.encoded("cifar")
    request.methods.add().saliency.SetInParent()
    request.methods.add().grad_cam.SetInParent()
    with grpc.insecure_channel(service.address) as channel:
        stub: Any = explanation_service_pb2_grpc.ExplanationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Explain(request, timeout=20)
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_the_sdk_names_the_field_the_reason_and_what_to_use_instead(client: Client) -> None:
    with pytest.raises(MethodUnsupportedError) as raised:
        client.explain(photos.chelsea(), model="perceptron", methods=["saliency", "grad_cam"])
    (violation,) = raised.value.violations
    assert violation.field == "methods[1].grad_cam"
    assert "no layer of the model has a spatial output" in violation.description
    assert "use integrated_gradients or kernel_shap instead" in violation.description


def test_the_command_line_prints_the_table_within_80_columns(
    probed: Client,
    service: Service,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["methods", "--model", "perceptron", "--server", service.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (refused,) = (line for line in lines if "│ grad_cam " in line)
    assert "unsupported" in refused
    assert any("no layer of the model has a spatial output" in line for line in lines)


def test_a_card_tells_how_its_worker_runs_the_model(client: Client) -> None:
    execution = client.model("efficientnet_lite0").execution
    assert execution is not None
    assert execution.memory_format in ("contiguous", "channels_last")
    assert (execution.precision, execution.compiled) == ("float32", False)
    assert 0.0 <= execution.error < 1e-4
    assert execution.batch_size >= 1 and execution.chunk_size >= 1 and execution.threads >= 1


def test_the_batch_sizes_that_a_worker_has_measured_are_kept(
    service: Service, client: Client
) -> None:
    with redis.Redis.from_url(service.redis.url, decode_responses=True) as store:
        kept = [store.get(key) for key in store.keys(records.batch_sizes_key("*"))]
    known = [model.execution for model in client.models()]
    told = [f"{each.batch_size} {each.chunk_size}" for each in known if each]
    assert sorted(value.rpartition(" ")[0] for value in kept) == sorted(told)
