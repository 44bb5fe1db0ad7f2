"""MatchingService. What it has no method for is declared and not built."""

import asyncio
import time
from typing import Protocol, TypeAlias, TypeVar

from rolecall.v1 import matching_pb2 as pb

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.tasks.embed import EmbedInput, EmbedOutput
from rolecall_server.tasks.match import MatchInput, MatchOutput
from rolecall_server.transport.calls import Call, MessageStream, settle
from rolecall_server.transport.convert_fields import echoed
from rolecall_server.transport.convert_requests import embedding_format_of, to_embed_input, to_match_input
from rolecall_server.transport.convert_responses import to_embed_response, to_match_response
from rolecall_server.transport.hooks import RequestGate
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.transport.status import status_of
from rolecall_server.types import RequestContext

InputT = TypeVar("InputT", contravariant=True)
OutputT = TypeVar("OutputT", covariant=True)

MatchMessages: TypeAlias = MessageStream[pb.MatchStreamRequest, pb.MatchStreamResponse]


class Task(Protocol[InputT, OutputT]):
    """A task as transport sees it."""

    async def run(self, request: InputT, context: RequestContext) -> OutputT: ...


class MatchingServicer:
    def __init__(
        self,
        match: Task[MatchInput, MatchOutput],
        embed: Task[EmbedInput, EmbedOutput],
        *,
        limits: ServerLimits,
        gate: RequestGate,
    ) -> None:
        self._match = match
        self._embed = embed
        self._limits = limits
        self._gate = gate

    async def Match(self, request: pb.MatchRequest, context: RequestContext) -> pb.MatchResponse:  # noqa: N802
        started = time.perf_counter()
        output = await self._match.run(await to_match_input(request, self._limits), context)
        seconds = time.perf_counter() - started
        return await to_match_response(output, request, request_id=context.request_id, total_seconds=seconds)

    async def Embed(self, request: pb.EmbedRequest, context: RequestContext) -> pb.EmbedResponse:  # noqa: N802
        started = time.perf_counter()
        vector_format = embedding_format_of(request)
        output = await self._embed.run(await to_embed_input(request, self._limits), context)
        seconds = time.perf_counter() - started
        return await to_embed_response(output, vector_format, request_id=context.request_id, total_seconds=seconds)

    async def MatchStream(self, stream: MatchMessages) -> None:  # noqa: N802
        """Answers in the order of completion. When no more can be read (the client's last message, a malformed one,
        a drain), what was read is answered before the stream ends."""
        places = asyncio.Semaphore(self._limits.max_stream_inflight)
        ended_by: RolecallError | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                try:
                    message = await stream.receive()
                except RolecallError as error:
                    ended_by = error
                    break
                if message is None:
                    break
                group.create_task(self._answer(message, stream, places))
        if ended_by is not None:
            raise ended_by

    async def _answer(self, message: pb.MatchStreamRequest, stream: MatchMessages, places: asyncio.Semaphore) -> None:
        """Answer one Match. Its place is free once the answer is on its way, not before."""
        answer = pb.MatchStreamResponse(request_id=echoed(message.request.request_id))
        with stream.message() as call:
            try:
                answer.response.CopyFrom(await self._match_message(message, call))
            except Exception as error:  # noqa: BLE001  a failing Match is answered by its status, whatever failed
                status = status_of(error)
                call.code = status.code.name
                answer.status.CopyFrom(status.to_proto())
        answer.request_id = call.request_id or answer.request_id
        await stream.send(answer)
        places.release()

    async def _match_message(self, message: pb.MatchStreamRequest, call: Call) -> pb.MatchResponse:
        if not message.HasField("request"):
            raise InvalidInputError("request", "is not set")
        context = call.context_for(message.request)
        with self._gate.enter():
            return await settle(self.Match(message.request, context), context.deadline)
