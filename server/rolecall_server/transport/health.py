"""grpc.health.v1 for the server as a whole (the empty name) and for each service. None serves while the server as a
whole does not; single ones may be down beside it.

The servicer that comes with grpcio-health-checking is not used: when one of two watchers of a service leaves, it
forgets the other one, which then never hears of a change again; and it is set from coroutines only.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias

from grpc_health.v1 import health_pb2 as pb

from rolecall_server.transport.calls import MessageStream
from rolecall_server.transport.status import UnknownServiceError
from rolecall_server.types import RequestContext

HealthMessages: TypeAlias = MessageStream[pb.HealthCheckRequest, pb.HealthCheckResponse]


class HealthServicer:
    """NOT_SERVING until told otherwise. Owned by the event loop."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset({"", *services})
        self._serving = False
        self._down: frozenset[str] = frozenset()
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool, down: Iterable[str] = ()) -> None:
        """down: services that do not serve even so."""
        self._serving = serving
        self._down = frozenset(down)
        self._announce()

    def close(self) -> None:
        """NOT_SERVING for good; those who watch are told, and their RPCs end."""
        self._serving = False
        self._closed = True
        self._announce()

    async def Check(self, request: pb.HealthCheckRequest, _: RequestContext) -> pb.HealthCheckResponse:  # noqa: N802
        """UnknownServiceError."""
        if request.service not in self._services:
            raise UnknownServiceError
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802
        self, request: pb.HealthCheckRequest, _: RequestContext, stream: HealthMessages
    ) -> None:
        """The status now and after each change; of changes in quick succession the last. SERVICE_UNKNOWN for a
        service that is not here, as the protocol wants it."""
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                await stream.send(pb.HealthCheckResponse(status=status))
                told = status
            if self._closed:
                return
            await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        serving = self._serving and service not in self._down
        return pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
