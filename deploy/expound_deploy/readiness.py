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


def serving_models(address: str) -> list[str] | None:
    """Names of the models that the server at HOST:PORT explains; None while it is not ready."""
    try:
        with connect(address) as channel:
            # The types of this package know no methods of its stub.
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=_TIMEOUT_S
            )
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                return None
            models = model_service_pb2_grpc.ModelServiceStub(channel).ListModels(
                model_service_pb2.ListModelsRequest(), timeout=_TIMEOUT_S
            )
    except grpc.RpcError:
        return None
    return [model.name.removeprefix("models/") for model in models.models]
