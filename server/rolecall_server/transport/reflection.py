"""Server reflection: clients without our stubs learn services and messages from the server."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from grpc_reflection.v1alpha import reflection, reflection_pb2

from rolecall_server.transport.calls import MessageStream

ReflectionMessages: TypeAlias = MessageStream[
    reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
]


class ReflectionServicer:
    """grpcio-reflection's servicer behind our wrapper. Services of the names given must be in the descriptor pool."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer(services)

    async def ServerReflectionInfo(self, stream: ReflectionMessages) -> None:  # noqa: N802
        # Its published types call this asynchronous generator a coroutine.
        responses: Any = self._servicer.ServerReflectionInfo(stream.messages(), None)
        async for response in responses:
            await stream.send(response)
