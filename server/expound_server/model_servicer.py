"""`ModelService` on the wire."""

from typing import Any

from grpc.aio import ServicerContext

from expound.v1 import model_service_pb2
from expound.v1.model_service_pb2_grpc import ModelServiceServicer
from expound_server.models import Models


class ModelServicer(ModelServiceServicer):
    """Hands every call to the core; what the calls do is written in the contract."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: ServicerContext[Any, Any]
    ) -> model_service_pb2.ListModelsResponse:
        """Lists the models."""
        return await self._models.list(request)

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: ServicerContext[Any, Any]
    ) -> model_service_pb2.Model:
        """Gives one model."""
        return await self._models.get(request)
