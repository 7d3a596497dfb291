"""What can be asked about models."""

from expound.v1 import model_service_pb2
from expound_server import names, pages
from expound_server.catalogue import Catalogue
from expound_server.validation import check_fields

_PAGE_KIND = "models"


class Models:
    """The models that live workers serve, as callers see them."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def get(self, request: model_service_pb2.GetModelRequest) -> model_service_pb2.Model:
        """Gives one model whole. Raises ModelNotFound, and NoWorker while no worker lives."""
        return await self._catalogue.model(names.model_name(request.name))

    async def list(
        self, request: model_service_pb2.ListModelsRequest
    ) -> model_service_pb2.ListModelsResponse:
        """Gives a page of models by name, without labels and layers. Raises InvalidRequest."""
        check_fields(request)
        page_size = pages.size(request.page_size, pages.LARGEST)
        after = pages.position(_PAGE_KIND, request.page_token, str) if request.page_token else ""
        models = await self._catalogue.models()
        rest = sorted(name for name in models if name > after)
        page = model_service_pb2.ListModelsResponse(
            models=[_summary(models[name]) for name in rest[:page_size]]
        )
        if len(rest) > page_size:
            page.next_page_token = pages.token(_PAGE_KIND, rest[page_size - 1])
        return page


def _summary(model: model_service_pb2.Model) -> model_service_pb2.Model:
    summary = model_service_pb2.Model()
    summary.CopyFrom(model)
    summary.ClearField("labels")
    summary.ClearField("layers")
    return summary
