"""Whether the service is ready, asked as any client asks: by gRPC."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from expound.v1 import model_service_pb2, model_service_pb2_grpc

SERVICE = "expound.v1.ExplanationService"
_TIMEOUT_S = 2.0
# A proxy of the environment must not come between two processes of one machine.
_OPTIONS = (("grpc.enable_http_proxy", 0),)


def connect(address: str) -> grpc.Channel:
    """A channel to the server at HOST:PORT; to be closed."""
    return grpc.insecure_channel(address, options=_OPTIONS)


def is_serving(address: str) -> bool:
    """Whether the health service at HOST:PORT says that explanations can be made."""
    with connect(address) as channel:
        # The types of this package know no methods of its stub.
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        try:
            answer = health.Check(request, timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def model_names(address: str) -> list[str] | None:
    """Names of the models of the server at HOST:PORT; None where it tells them not to anybody."""
    with connect(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        try:
            answer = stub.ListModels(model_service_pb2.ListModelsRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return [model.name.removeprefix("models/") for model in answer.models]
