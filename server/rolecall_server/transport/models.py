"""ModelService."""

from typing import Protocol

from rolecall.v1 import model_pb2 as pb

from rolecall_server.errors import InvalidInputError
from rolecall_server.tasks.models import ListedModel
from rolecall_server.transport.convert_fields import check_id
from rolecall_server.transport.convert_responses import to_model_info, to_server_info
from rolecall_server.transport.limits import ServerFacts
from rolecall_server.types import RequestContext


class Models(Protocol):
    """ModelTask as transport sees it."""

    async def list(self) -> tuple[ListedModel, ...]: ...

    def loaded(self) -> tuple[ListedModel, ...]: ...

    async def get(self, name: str, version: str) -> ListedModel: ...

    async def load(self, name: str, version: str) -> ListedModel: ...

    async def unload(self, name: str, version: str) -> None: ...


class ModelServicer:
    def __init__(self, models: Models, facts: ServerFacts) -> None:
        self._models = models
        self._facts = facts

    async def GetServerInfo(  # noqa: N802
        self, _: pb.GetServerInfoRequest, context: RequestContext
    ) -> pb.GetServerInfoResponse:
        return to_server_info(self._facts, self._models.loaded())

    async def ListModels(self, _: pb.ListModelsRequest, context: RequestContext) -> pb.ListModelsResponse:  # noqa: N802
        return pb.ListModelsResponse(models=[to_model_info(model) for model in await self._models.list()])

    async def GetModel(self, request: pb.GetModelRequest, context: RequestContext) -> pb.GetModelResponse:  # noqa: N802
        return pb.GetModelResponse(model=to_model_info(await self._models.get(*_name_and_version(request))))

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: RequestContext
    ) -> pb.LoadModelResponse:
        return pb.LoadModelResponse(model=to_model_info(await self._models.load(*_name_and_version(request))))

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: RequestContext
    ) -> pb.UnloadModelResponse:
        await self._models.unload(*_name_and_version(request))
        return pb.UnloadModelResponse()


def _name_and_version(
    request: pb.GetModelRequest | pb.LoadModelRequest | pb.UnloadModelRequest,
) -> tuple[str, str]:
    if not request.name:
        raise InvalidInputError("name", "is empty")
    return check_id(request.name, "name"), check_id(request.version, "version")
